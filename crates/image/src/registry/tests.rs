//! Stories of the client with registries that behave, and with such that do not.

use super::{
    blob::BlobReader,
    client::Repository,
    fake::{Fake, Reply, sha},
    *,
};
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `alice` with `s3cret`.
const ALICE: &str = "Basic YWxpY2U6czNjcmV0";

fn alice() -> RegistryAuth {
    RegistryAuth { username: "alice".into(), password: "s3cret".into(), ..RegistryAuth::default() }
}

/// The repository `app` of a registry, spoken with without TLS.
async fn open(fake: &Fake, auth: Option<&RegistryAuth>) -> Result<Repository, RegistryError> {
    let config = RegistryConfig::default();
    let endpoint = config.endpoints(&fake.host(), true).await.pop().unwrap();
    Repository::open(&config, endpoint, "app", auth, "pull").await
}

async fn read(
    repository: &Repository,
    digest: &minke_model::id::Digest,
    size: usize,
) -> Result<Vec<u8>, RegistryError> {
    let mut reader = BlobReader::new(repository, digest.clone(), size as u64, 5);
    let mut whole = Vec::new();
    while let Some(piece) = reader.next(&|_| {}).await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// A sentence of dockerd's, and after it where it happened.
#[track_caller]
fn assert_told(error: &str, sentence: &str, place: &str) {
    assert!(error.starts_with(&format!("{sentence} ({place}")), "{error}");
}

fn text<T>(result: Result<T, impl std::fmt::Display>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_else(|| "no error".into())
}

#[tokio::test]
async fn a_token_is_fetched_once_with_the_password_and_used_for_all() {
    let fake = Fake::start().await;
    fake.want_token(&format!("http://{}/token", fake.host()));
    fake.manifest("app", "v1", "text/plain", "{}");
    let repository = open(&fake, Some(&alice())).await.unwrap();
    for _ in 0..3 {
        assert_eq!(repository.manifest("v1").await.unwrap().raw, "{}");
    }
    let tokens: Vec<_> = fake.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].path, "/token?account=alice&scope=repository%3Aapp%3Apull&service=fake.example");
    assert_eq!(tokens[0].header("authorization"), Some(ALICE));
}

#[tokio::test]
async fn a_token_server_that_is_busy_is_asked_again() {
    let fake = Fake::start().await;
    let mut answers =
        vec![Reply::new(503, "text/plain", "x"), Reply::new(429, "text/plain", "x").with("retry-after", "0")];
    fake.rule(move |seen| seen.path.starts_with("/token").then(|| answers.pop()).flatten());
    fake.want_token(&format!("http://{}/token", fake.host()));
    fake.manifest("app", "v1", "text/plain", "{}");
    open(&fake, Some(&alice())).await.unwrap().manifest("v1").await.unwrap();
    assert_eq!(fake.count("/token"), 3);
}

#[tokio::test]
async fn an_identity_token_is_posted_and_no_password_is_sent() {
    let fake = Fake::start().await;
    fake.want_token(&format!("http://{}/token", fake.host()));
    fake.manifest("app", "v1", "text/plain", "{}");
    let auth = RegistryAuth { identity_token: "1d".into(), ..alice() };
    open(&fake, Some(&auth)).await.unwrap().manifest("v1").await.unwrap();
    let post = fake.seen().into_iter().find(|seen| seen.path == "/token").unwrap();
    assert_eq!(post.method, Method::POST);
    assert_eq!(
        String::from_utf8_lossy(&post.body),
        "client_id=docker&grant_type=refresh_token&refresh_token=1d&scope=repository%3Aapp%3Apull&service=fake.example"
    );
    assert_eq!(post.header("authorization"), None);
}

#[tokio::test]
async fn a_token_that_ended_early_is_renewed_once() {
    let fake = Fake::start().await;
    fake.want_token(&format!("http://{}/token", fake.host()));
    fake.manifest("app", "v1", "text/plain", "{}");
    let mut left = 1;
    fake.rule(move |seen| {
        if !seen.path.contains("/manifests/") || left == 0 {
            return None;
        }
        left -= 1;
        Some(Reply::json(401, "{}").with("www-authenticate", "Bearer realm=\"x\",error=\"invalid_token\""))
    });
    open(&fake, None).await.unwrap().manifest("v1").await.unwrap();
    assert_eq!(fake.count("/token"), 2);
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let fake = Fake::start().await;
    fake.want_token("http://127.0.0.1:1/never-asked");
    fake.manifest("app", "v1", "text/plain", "{}");
    let auth = RegistryAuth { registry_token: "t0ken".into(), ..alice() };
    open(&fake, Some(&auth)).await.unwrap().manifest("v1").await.unwrap();
}

#[tokio::test]
async fn without_a_password_a_registry_that_wants_one_is_not_asked_twice() {
    let fake = Fake::start().await;
    fake.want_basic(ALICE);
    fake.manifest("app", "v1", "text/plain", "{}");
    let error = text(open(&fake, None).await.unwrap().head("v1").await);
    let host = fake.host();
    let sentence = format!("Head \"http://{host}/v2/app/manifests/v1\": no basic auth credentials");
    let place = format!("registry {host}, asking for manifest v1; to log in: docker login {host})");
    assert_told(&error, &sentence, &place);
    let wrong = RegistryAuth { password: "wrong".into(), ..alice() };
    let error = text(open(&fake, Some(&wrong)).await.unwrap().manifest("v1").await);
    assert_told(&error, "unauthorized: authentication required", "registry ");
    open(&fake, Some(&alice())).await.unwrap().manifest("v1").await.unwrap();
}

/// The class of CVE-2020-15157: whoever is redirected to must not learn the credentials.
#[tokio::test]
async fn credentials_do_not_follow_a_redirection_to_another_host() {
    for (name, basic) in [("basic", true), ("token", false)] {
        let (fake, other) = (Fake::start().await, Fake::start().await);
        if basic {
            fake.want_basic(ALICE);
        } else {
            fake.want_token(&format!("http://{}/token", fake.host()));
        }
        let blob = other.blob("content");
        let elsewhere = format!("http://{}/v2/app/blobs/{blob}", other.host());
        fake.rule(move |seen| seen.path.contains("/blobs/").then(|| Reply::redirect(&elsewhere)));
        let repository = open(&fake, Some(&alice())).await.unwrap();
        assert_eq!(read(&repository, &blob, 7).await.unwrap(), b"content", "{name}");
        let seen = other.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("authorization"), None, "{name}");
        let asked = fake.seen().into_iter().find(|seen| seen.path.contains("/blobs/")).unwrap();
        assert!(asked.header("authorization").is_some(), "the registry itself does get them");
    }
}

#[tokio::test]
async fn credentials_come_along_on_the_same_host_and_loops_end() {
    let fake = Fake::start().await;
    fake.want_basic(ALICE);
    let blob = fake.blob("content");
    let moved = format!("/v2/moved/blobs/{blob}");
    let target = moved.clone();
    fake.rule(move |seen| seen.path.contains("/app/blobs/").then(|| Reply::redirect(&target)));
    let repository = open(&fake, Some(&alice())).await.unwrap();
    assert_eq!(read(&repository, &blob, 7).await.unwrap(), b"content");
    fake.rule(move |seen| {
        seen.path.contains("/manifests/").then(|| Reply::redirect("/v2/app/manifests/round"))
    });
    assert!(text(repository.manifest("v1").await).contains("stopped after 10 redirects"));
}

#[tokio::test]
async fn a_mirror_does_not_get_the_credentials_of_docker_hub() {
    let mirror = Fake::start().await;
    mirror.want_basic(ALICE);
    let options =
        RegistryOptions { mirrors: vec![format!("http://{}", mirror.host())], ..RegistryOptions::default() };
    let config = RegistryConfig::with_hub(options, "http://127.0.0.1:1").unwrap();
    let endpoint = config.endpoints("docker.io", true).await.remove(0);
    let repository = Repository::open(&config, endpoint, "library/x", Some(&alice()), "pull").await.unwrap();
    assert!(text(repository.manifest("v1").await).contains("no basic auth credentials"));
    assert!(mirror.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn a_token_server_without_tls_does_not_get_the_password_of_a_registry_with_tls() {
    let fake = Fake::start().await;
    let config = RegistryConfig::default();
    let mut endpoint = config.endpoints(&fake.host(), true).await.pop().unwrap();
    (endpoint.scheme, endpoint.insecure) = ("https".into(), false);
    let client = Client::new(&config, endpoint).unwrap();
    let params = [("realm".to_owned(), format!("http://{}/token", fake.host()))].into();
    let challenge = auth::Challenge { scheme: "bearer".into(), params };
    let authorizer = Authorizer::new(Some(alice()), vec![challenge], vec![]);
    assert!(authorizer.authorization(&client, "").await.is_err());
    assert_eq!(fake.seen().len(), 0);
}

/// Pseudo-random bytes: what compresses well would hide a hole.
fn noise(size: usize) -> Bytes {
    let mut x = 1u32;
    let next = |_| {
        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
        (x >> 24) as u8
    };
    (0..size).map(next).collect()
}

/// Cuts the first `times` answers for blobs after `after` bytes each.
fn cut(fake: &Fake, times: usize, after: usize, blob: &Bytes, ranges: bool) {
    let (mut left, blob) = (times, blob.clone());
    fake.rule(move |seen| {
        if !seen.path.contains("/blobs/") || left == 0 {
            return None;
        }
        left -= 1;
        let range: Option<usize> =
            seen.header("range").and_then(|r| r.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
        match range.filter(|_| ranges) {
            Some(from) => Some(
                Reply::new(206, "x/y", blob.slice(from..))
                    .with("content-range", &format!("bytes {from}-{}/{}", blob.len() - 1, blob.len()))
                    .cut(after),
            ),
            None => Some(Reply::new(200, "x/y", blob.clone()).cut(after)),
        }
    });
}

#[tokio::test]
async fn a_cut_blob_goes_on_where_it_was_cut() {
    let fake = Fake::start().await;
    let blob = noise(3_000_000);
    let digest = fake.blob(blob.clone());
    cut(&fake, 2, 1_200_000, &blob, true);
    let repository = open(&fake, None).await.unwrap();
    assert!(read(&repository, &digest, blob.len()).await.unwrap() == blob);
    let seen = fake.seen();
    let ranges: Vec<_> =
        seen.iter().filter(|s| s.path.contains("/blobs/")).map(|s| s.header("range")).collect();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[0], None);
    assert!(
        ranges[1].is_some_and(|r| r.len() > "bytes=0-".len()),
        "the second answer begins in the middle: {ranges:?}"
    );
}

#[tokio::test]
async fn a_cut_blob_is_whole_even_if_the_registry_knows_no_ranges() {
    let fake = Fake::start().await;
    let blob = noise(2_000_000);
    let digest = sha(&blob);
    cut(&fake, 2, 900_000, &blob, false);
    let whole = blob.clone();
    fake.rule(move |seen| seen.path.contains("/blobs/").then(|| Reply::new(200, "x/y", whole.clone())));
    let repository = open(&fake, None).await.unwrap();
    assert!(read(&repository, &digest, blob.len()).await.unwrap() == blob);
}

#[tokio::test]
async fn a_blob_that_is_cut_again_and_again_is_given_up() {
    let fake = Fake::start().await;
    let blob = noise(100_000);
    let digest = sha(&blob);
    cut(&fake, usize::MAX, 10, &blob, true);
    let repository = open(&fake, None).await.unwrap();
    let mut reader = BlobReader::new(&repository, digest, 100_000, 3);
    let waits = AtomicUsize::new(0);
    let error = loop {
        match reader.next(&|_| _ = waits.fetch_add(1, Ordering::Relaxed)).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is not whole"),
            Err(e) => break e.to_string(),
        }
    };
    assert_eq!((fake.count("/blobs/"), error.as_str()), (3, "unexpected EOF"));
    assert!(waits.into_inner() >= 1, "the pause is told");
}

#[tokio::test]
async fn a_blob_of_another_size_is_refused() {
    let fake = Fake::start().await;
    let digest = fake.blob("content");
    let repository = open(&fake, None).await.unwrap();
    let wrong = format!("filesystem layer verification failed for digest {digest}");
    assert_eq!(text(read(&repository, &digest, 6).await), wrong);
    assert_eq!(text(read(&repository, &digest, 8).await), wrong);
    fake.lose(&digest);
    assert_eq!(text(read(&repository, &digest, 7).await), "unknown blob");
    // A registry that knows no ranges, and one that answers with an empty one.
    fake.rule(|seen| {
        let empty = Reply::new(206, "x/y", "").with("content-range", "bytes 7-6/7");
        (seen.path.contains("/blobs/") && seen.header("range").is_some()).then_some(empty)
    });
    fake.rule(|seen| seen.path.contains("/blobs/").then(|| Reply::new(200, "x/y", "content")));
    assert_eq!(text(read(&repository, &digest, 8).await), wrong);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let fake = Fake::start().await;
    fake.manifest("app", "v1", "text/plain", "{}");
    let mut first = true;
    fake.rule(move |seen| {
        (seen.path.contains("/manifests/v1") && std::mem::take(&mut first))
            .then(|| Reply::new(503, "text/html", "busy"))
    });
    let mut first = true;
    fake.rule(move |seen| {
        (seen.path.contains("/manifests/v1") && std::mem::take(&mut first))
            .then(|| Reply::new(429, "text/plain", "later").with("retry-after", "0"))
    });
    fake.rule(|seen| {
        seen.path.contains("/manifests/busy").then(|| {
            Reply::json(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#)
                .with("retry-after", "3600")
        })
    });
    let repository = open(&fake, None).await.unwrap();
    repository.manifest("v1").await.unwrap();
    assert_eq!(fake.count("/manifests/v1"), 3);
    let busy = text(repository.manifest("busy").await);
    assert_told(&busy, "toomanyrequests: You have reached your pull rate limit.", "registry ");
    assert!(busy.contains("left alone for 3600 s"), "{busy}");
    assert_eq!(fake.count("/manifests/busy"), 1, "nobody waits an hour");
}

#[tokio::test]
async fn tags_are_read_page_by_page_but_never_from_another_host() {
    let fake = Fake::start().await;
    fake.rule(|seen| match seen.path.as_str() {
        "/v2/app/tags/list" => Some(
            Reply::json(200, r#"{"tags":["a","b"]}"#)
                .with("link", "</v2/app/tags/list?last=b>; rel=\"next\""),
        ),
        "/v2/app/tags/list?last=b" => Some(
            Reply::json(200, r#"{"tags":["c"]}"#).with("link", "<http://127.0.0.1:1/v2/x>; rel=\"next\""),
        ),
        _ => None,
    });
    assert_eq!(open(&fake, None).await.unwrap().tags().await.unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn where_nobody_listens_the_error_is_gos() {
    let config = RegistryConfig::default();
    let endpoint = config.endpoints("127.0.0.1:1", true).await.pop().unwrap();
    let error = text(Repository::open(&config, endpoint, "x", None, "pull").await);
    let sentence = "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused";
    assert_told(&error, sentence, "registry 127.0.0.1:1, asking for its version");
    let fake = Fake::start().await;
    let endpoint = config.endpoints(&fake.host(), true).await.remove(0);
    let error = text(Repository::open(&config, endpoint, "x", None, "pull").await);
    let host = fake.host();
    let sentence = format!("Get \"https://{host}/v2/\": http: server gave HTTP response to HTTPS client");
    assert_told(&error, &sentence, &format!("registry {host}, "));
    assert!(error.contains("insecure-registries"), "{error}");
}

#[tokio::test]
async fn requests_go_through_a_proxy_and_tls_through_a_tunnel() {
    let proxy = Fake::start().await;
    let url = format!("http://u:p@{}", proxy.host());
    let proxies = Proxies { http: url.clone(), https: url, no: String::new() };
    let options =
        RegistryOptions { proxies, insecure: vec!["192.0.2.1:5000".into()], ..RegistryOptions::default() };
    let config = RegistryConfig::new(options).unwrap();
    let mut endpoints = config.endpoints("192.0.2.1:5000", true).await;
    let plain = endpoints.pop().unwrap();
    assert!(Repository::open(&config, plain, "x", None, "pull").await.is_ok());
    let seen = proxy.seen();
    assert_eq!(seen[0].header("host"), Some("192.0.2.1:5000"));
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic dTpw"));
    let tls = endpoints.pop().unwrap();
    let error = text(Repository::open(&config, tls, "x", None, "pull").await);
    assert!(error.contains("proxyconnect tcp: "), "{error}");
    assert_eq!(proxy.seen().last().map(|seen| seen.method.clone()), Some(Method::CONNECT));
}

#[tokio::test]
async fn a_proxy_with_https_is_spoken_to_by_tls() {
    use tokio::io::AsyncReadExt as _;
    let proxy = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://u:p@{}", proxy.local_addr().unwrap());
    let proxies = Proxies { http: url.clone(), https: url, no: String::new() };
    let options =
        RegistryOptions { proxies, insecure: vec!["192.0.2.1:5000".into()], ..RegistryOptions::default() };
    let config = RegistryConfig::new(options).unwrap();
    let plain = config.endpoints("192.0.2.1:5000", true).await.pop().unwrap();
    let asked = tokio::spawn(async move { text(Repository::open(&config, plain, "x", None, "pull").await) });
    let (mut client, _) = proxy.accept().await.unwrap();
    // A handshake's record (RFC 8446, 5.1): neither the request nor its login is seen before.
    assert_eq!(client.read_u8().await.unwrap(), 22);
    drop(client);
    let error = asked.await.unwrap();
    assert!(error.contains("proxyconnect tcp: "), "{error}");
}

#[tokio::test]
async fn a_login_succeeds_with_the_right_password_only() {
    let fake = Fake::start().await;
    fake.want_basic(ALICE);
    let config = RegistryConfig::default();
    let at = |auth: RegistryAuth| RegistryAuth { server_address: fake.host(), ..auth };
    let status = login(&at(alice()), &config).await.unwrap();
    assert_eq!((status.status.as_str(), status.identity_token.as_str()), ("Login Succeeded", ""));
    let wrong = RegistryAuth { password: "wrong".into(), ..alice() };
    let error = login(&at(wrong), &config).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("login attempt to http://{}/v2/ failed with status: 401 Unauthorized", fake.host())
    );
    let nowhere = RegistryAuth { server_address: "https://a b/".into(), ..alice() };
    assert_eq!(login(&nowhere, &config).await.err().unwrap().kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_login_at_a_token_server_brings_an_identity_token() {
    let fake = Fake::start().await;
    fake.want_token(&format!("http://{}/token", fake.host()));
    fake.rule(|seen| {
        let good = seen.header("authorization") == Some(ALICE);
        seen.path.starts_with("/token").then(|| match good {
            true => Reply::json(200, r#"{"token":"t0ken","refresh_token":"1d"}"#),
            false => Reply::json(401, r#"{"details":"incorrect username or password"}"#),
        })
    });
    let config = RegistryConfig::default();
    let auth = RegistryAuth { server_address: format!("http://{}/v1/", fake.host()), ..alice() };
    assert_eq!(login(&auth, &config).await.unwrap().identity_token, "1d");
    let asked = fake.seen().into_iter().find(|seen| seen.path.starts_with("/token")).unwrap();
    assert_eq!(asked.path, "/token?account=alice&client_id=docker&offline_token=true&service=fake.example");
    let error = login(&RegistryAuth { password: "x".into(), ..auth }, &config).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(error.to_string().ends_with("unauthorized: incorrect username or password"), "{error}");
}
