//! Configurations as builders of all ages write them.

use super::*;
use minke_model::Labels;

#[test]
fn null_absent_and_unknown_do_no_harm() {
    let raw = br#"{
        "created": "2026-01-02T03:04:05.678Z", "author": null, "os": "linux", "architecture": "arm64", "variant": "v8",
        "container": "ffff", "container_config": {"Cmd": ["old"]}, "moby.buildkit.cache.v0": {"x": 1},
        "config": {
            "User": null, "ExposedPorts": {"80/tcp": {}, "53/udp": null, "what": {}}, "Env": null, "Cmd": "sh",
            "Entrypoint": null, "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": null, "StopSignal": "",
            "Healthcheck": {"Test": ["NONE"], "Interval": 5, "Retries": null}, "OnBuild": null, "Hostname": "x"
        },
        "history": [{"created_by": "a"}, {"empty_layer": true, "comment": null}],
        "rootfs": {"type": "layers", "diff_ids": null}
    }"#;
    let config = ImageConfig::parse(raw).unwrap();
    assert_eq!(config.created.unwrap().to_string(), "2026-01-02T03:04:05.678Z");
    assert_eq!(&config.raw[..], raw);
    assert_eq!(config.id(), digest(raw));
    let defaults = &config.defaults;
    assert_eq!(defaults.cmd.as_deref(), Some(&["sh".to_owned()][..]), "a single text is a list of one");
    assert_eq!((&defaults.entrypoint, &defaults.stop_signal), (&None, &None));
    assert_eq!(
        defaults.exposed_ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["53/udp", "80/tcp"]
    );
    assert_eq!(defaults.healthcheck.as_ref().unwrap().interval, 5);
    assert!(config.history[1].empty_layer && !config.history[0].empty_layer);
    assert_eq!(config.diff_ids, []);
    assert!(ImageConfig::parse(br#"{"config": null, "rootfs": {}}"#).is_ok());
}

#[test]
fn what_cannot_be_an_image_is_refused() {
    let many =
        format!(r#"{{"rootfs": {{"diff_ids": [{}]}}}}"#, vec![format!("{:?}", EMPTY_LAYER); 401].join(","));
    for (raw, why) in [
        ("", "EOF"),
        ("[]", "no rootfs"),
        ("7", "expected struct"),
        ("{}", "no rootfs"),
        (r#"{"rootfs": {"diff_ids": ["sha256:short"]}}"#, "invalid digest"),
        (r#"{"rootfs": {"diff_ids": ["sha512:ab"]}}"#, "invalid digest"),
        (&many, "401 layers"),
    ] {
        let error = ImageConfig::parse(raw.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{raw}: {error}");
    }
}

#[test]
fn what_is_written_is_read() {
    let config = ImageConfig {
        created: Timestamp::parse("2026-01-02T03:04:05.678Z"),
        author: "me".into(),
        comment: "c".into(),
        architecture: "amd64".into(),
        os: "linux".into(),
        variant: String::new(),
        os_version: String::new(),
        docker_version: String::new(),
        defaults: ImageDefaults {
            user: "1:2".into(),
            exposed_ports: ["80/tcp".parse().unwrap()].into(),
            env: vec!["A=1".into()],
            entrypoint: Some(vec![]),
            cmd: None,
            volumes: ["/v".to_owned()].into(),
            working_dir: "/w".into(),
            labels: Labels::from([("l".into(), "1".into())]),
            stop_signal: Some("SIGINT".into()),
            stop_timeout: Some(3),
            healthcheck: Some(HealthSpec {
                test: Some(vec!["CMD".into(), "x".into()]),
                retries: 2,
                ..Default::default()
            }),
            shell: Some(vec!["/bin/bash".into()]),
            on_build: vec!["RUN x".into()],
            args_escaped: true,
        },
        history: vec![History { created_by: "x".into(), empty_layer: true, ..History::default() }],
        diff_ids: vec![digest(b"layer")],
        raw: Vec::new().into(),
    };
    let raw = config.write().unwrap();
    let read = ImageConfig::parse(&raw).unwrap();
    assert_eq!(read, ImageConfig { raw: raw.into(), ..config });
}

#[test]
fn chain_ids_are_the_specifications() {
    let [a, b, c] = ["a", "b", "c"].map(|layer| digest(layer.as_bytes()));
    let chain = chain_ids(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!(chain[0], a);
    assert_eq!(chain[1], digest(format!("{a} {b}").as_bytes()));
    assert_eq!(chain[2], digest(format!("{} {c}", chain[1]).as_bytes()));
    assert_eq!(digest(&[0; 1024]).as_str(), EMPTY_LAYER);
}
