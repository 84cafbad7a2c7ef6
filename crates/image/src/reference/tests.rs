//! The forms of a name, as Docker 28.5.2 takes, shows and refuses them.

use super::*;

const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn error(text: &str) -> String {
    match Reference::parse(text) {
        Ok(good) => panic!("{text} became {}", good.full()),
        Err(e) => e.to_string(),
    }
}

#[test]
fn short_names_are_docker_hubs() {
    for (text, full, familiar) in [
        ("nginx", "docker.io/library/nginx", "nginx"),
        ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
        ("docker.io/nginx", "docker.io/library/nginx", "nginx"),
        ("index.docker.io/nginx:a", "docker.io/library/nginx:a", "nginx:a"),
        ("bitnami/redis", "docker.io/bitnami/redis", "bitnami/redis"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"),
        ("[fd00::1]:5000/x", "[fd00::1]:5000/x", "[fd00::1]:5000/x"),
        ("quay.io/a__b/c--d.e_f", "quay.io/a__b/c--d.e_f", "quay.io/a__b/c--d.e_f"),
        ("Host/x", "Host/x", "Host/x"),
        ("my_host.x/app", "my_host.x/app", "my_host.x/app"),
    ] {
        let reference = parse(text);
        assert_eq!((reference.full().as_str(), reference.familiar().as_str()), (full, familiar), "{text}");
        assert_eq!(parse(&reference.full()), reference, "the full form of {text} parses to the same");
        assert_eq!(parse(&reference.familiar()), reference, "the short form of {text} parses to the same");
    }
}

#[test]
fn a_tag_and_a_digest_may_both_be_there() {
    let reference = parse(&format!("quay.io/a:b@{SHA}"));
    assert_eq!((reference.domain(), reference.path(), reference.tag()), ("quay.io", "a", Some("b")));
    assert_eq!(reference.digest().map(Digest::as_str), Some(SHA));
    assert_eq!(reference.repository().full(), "quay.io/a");
}

#[test]
fn latest_is_added_only_to_a_bare_name() {
    assert_eq!(parse("a").or_latest().familiar(), "a:latest");
    assert_eq!(parse("a:b").or_latest().familiar(), "a:b");
    assert_eq!(parse(&format!("a@{SHA}")).or_latest().familiar(), format!("a@{SHA}"));
}

#[test]
fn what_is_refused_is_refused_in_dockers_words() {
    assert_eq!(error("BAD"), "invalid reference format: repository name (library/BAD) must be lowercase");
    assert_eq!(error("quay.io/Bad:x"), "invalid reference format: repository name (Bad) must be lowercase");
    assert_eq!(error("BAD_host/x"), "repository name must be lowercase");
    assert_eq!(
        error(&"a".repeat(64)),
        format!("invalid repository name ({}), cannot specify 64-byte hexadecimal strings", "a".repeat(64))
    );
    assert_eq!(
        error(&format!("quay.io/{}", "a".repeat(256))),
        "repository name must not be more than 255 characters"
    );
    assert_eq!(error(&format!("a@{}", &SHA[..60])), "invalid checksum digest length");
    assert_eq!(error(&format!("a@{}", SHA.replace("e3b0", "E3B0"))), "invalid checksum digest format");
    assert_eq!(error(&format!("a@md5:{}", "a".repeat(32))), "unsupported digest algorithm");
    for text in [
        "",
        ":",
        "a:",
        "a:b:c",
        "a@",
        "a@sha256:",
        "a@sha256:abc",
        "/a",
        "a/",
        "a//b",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a b",
        "a/b c",
        "ä",
        "a:-x",
        "a:ä",
        "http://a/b",
        "a.b:x/c",
        "a.b:/c",
        "[::g]/a",
        "[]/a",
        "[::1/a",
    ] {
        assert_eq!(error(text), "invalid reference format", "{text:?}");
    }
    assert_eq!(error(&format!("a:{}", "x".repeat(129))), "invalid reference format");
    assert_eq!(parse("a").with_tag("-x"), Err(ReferenceError::Tag));
}

#[test]
fn a_record_holds_the_full_form() {
    let json = serde_json::to_string(&parse("nginx:1")).unwrap();
    assert_eq!(json, "\"docker.io/library/nginx:1\"");
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), parse("nginx:1"));
    assert!(serde_json::from_str::<Reference>("\"A\"").is_err());
}

/// Found by the fuzzer: the short form would name an image of another registry.
#[test]
fn a_short_form_never_means_another_registry() {
    let hex = "a".repeat(64);
    for name in ["docker.io/nginx.io/nginx", "docker.io/localhost/x", &format!("docker.io/library/{hex}")] {
        let reference = Reference::parse(name).unwrap();
        assert_eq!((reference.familiar().as_str(), reference.domain()), (name, "docker.io"));
    }
    assert_eq!(Reference::parse("docker.io/library/nginx").unwrap().familiar(), "nginx");
}
