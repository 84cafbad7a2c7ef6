//! Instructions as people write them, and what comes of them.

use super::*;

fn after(instructions: &[&str]) -> ImageDefaults {
    let lines: Vec<String> = instructions.iter().map(|l| (*l).to_owned()).collect();
    apply(ImageDefaults::default(), &lines).unwrap()
}

fn refusal(instruction: &str) -> String {
    apply(ImageDefaults::default(), &[instruction.to_owned()]).unwrap_err().to_string()
}

#[test]
fn commands_are_lists_or_lines_for_a_shell() {
    let image = after(&[r#"CMD ["echo", "a b"]"#, "ENTRYPOINT exec top -b"]);
    assert_eq!(image.cmd.unwrap(), ["echo", "a b"], "a CMD that was given stays");
    assert_eq!(image.entrypoint.unwrap(), ["/bin/sh", "-c", "exec top -b"]);

    let old = ImageDefaults { cmd: Some(vec!["old".into()]), ..ImageDefaults::default() };
    let image = apply(old, &["ENTRYPOINT [\"/e\"]".into()]).unwrap();
    assert_eq!(image.cmd, None, "a new ENTRYPOINT takes the old CMD away");
}

#[test]
fn variables_quotes_and_old_forms() {
    let image = after(&[
        "ENV A=1 B=\"two words\" C='$A'",
        "ENV D the rest of $A",
        "ENV A=3",
        "LABEL x=${A} y=${NONE:-z} \"q r\"=s",
        "USER $A",
        "WORKDIR /a/../b",
        "WORKDIR c",
    ]);
    assert_eq!(image.env, ["A=3", "B=two words", "C=$A", "D=the rest of 1"]);
    assert_eq!(image.labels["x"], "3");
    assert_eq!(image.labels["y"], "z");
    assert_eq!(image.labels["q r"], "s");
    assert_eq!(image.user, "3");
    assert_eq!(image.working_dir, "/b/c");
}

#[test]
fn ports_volumes_signals_and_triggers() {
    let image = after(&[
        "EXPOSE 80 53/udp 8000-8001",
        "VOLUME /a /b",
        "VOLUME [\"/c d\"]",
        "STOPSIGNAL SIGINT",
        "ONBUILD RUN x",
    ]);
    let ports: Vec<String> = image.exposed_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
    assert_eq!(image.volumes.iter().map(String::as_str).collect::<Vec<_>>(), ["/a", "/b", "/c d"]);
    assert_eq!(image.stop_signal.unwrap(), "SIGINT");
    assert_eq!(image.on_build, ["RUN x"]);
}

#[test]
fn a_health_check_has_its_options() {
    let spec =
        after(&["HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost"]).healthcheck.unwrap();
    assert_eq!((spec.interval, spec.retries), (90_000_000_000, 2));
    assert_eq!(spec.test.unwrap(), ["CMD-SHELL", "curl -f localhost"]);
    assert_eq!(after(&["HEALTHCHECK NONE"]).healthcheck.unwrap().test.unwrap(), ["NONE"]);
}

#[test]
fn other_instructions_are_refused_in_dockers_words() {
    assert_eq!(refusal("RUN x"), "RUN is not a valid change command");
    assert_eq!(refusal("ENV a"), "ENV must have two arguments");
    assert_eq!(refusal("EXPOSE x"), "invalid containerPort: x");
    assert_eq!(refusal("CMD"), "CMD requires at least one argument");
}
