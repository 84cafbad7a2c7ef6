//! A real etcd, alone and as three members.

use super::{lab::*, proto::TxnRequest, *};
use crate::{Key, StoreError};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// A store under a root of its own.
fn fresh_root() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}/", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn open(endpoints: &Endpoints, root: &str) -> Etcd {
    Etcd::open_under(endpoints.clone(), root, Remember::MACHINE, clock()).await.unwrap()
}

crate::suite::suite!(etcd, (open(&shared().await, &fresh_root()).await, ()));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_managers_see_each_others_commits_at_once() {
    let (endpoints, root) = (shared().await, fresh_root());
    let (one, two) = (open(&endpoints, &root).await, open(&endpoints, &root).await);
    for n in 0..50u32 {
        let written = one.commit(Txn::new().put_bytes("a/1", 1, n.to_le_bytes())).await.unwrap();
        let seen = two.read("a/").await.unwrap();
        assert_eq!(seen.revision_of(&Key::new("a/1")), written);
        let again = two.commit(Txn::new().guard_at("a/1", written).put_bytes("a/2", 1, *b"x")).await;
        assert!(again.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_store_is_read_in_pages_at_one_revision() {
    let (endpoints, root) = (shared().await, fresh_root());
    let store = open(&endpoints, &root).await;
    for n in 0..40 {
        let keys = (0..64).map(|m| format!("k/{:04}", n * 64 + m));
        let txn = keys.fold(Txn::new(), |txn, key| txn.put_bytes(key.as_str(), 1, *b"x"));
        store.commit(txn).await.unwrap();
    }
    let fresh = Raw::open(Client::new(endpoints), &root).await.unwrap();
    assert_eq!(fresh.read("k/").await.unwrap().iter().count(), 2560);
    assert_eq!(fresh.read(["k/0", "k/20"]).await.unwrap().iter().count(), 1100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_ends_an_old_watch_and_harms_no_new_one() {
    let (endpoints, root) = (shared().await, fresh_root());
    let raw = Raw::open(Client::new(endpoints.clone()), &root).await.unwrap();
    let first = raw.commit(Txn::new().put_bytes("a/1", 1, *b"x")).await.unwrap();
    let last = raw.commit(Txn::new().put_bytes("a/1", 1, *b"y")).await.unwrap();
    Admin::new(endpoints).compact(last.number as i64).await.unwrap();
    let mut old = raw.watch("a/", Revision { number: first.number - 1, ..first });
    assert!(matches!(old.next().await, Err(StoreError::Compacted { .. })));
    let mut new = raw.watch("a/", last);
    let next = raw.commit(Txn::new().delete("a/1")).await.unwrap();
    let changes = new.next().await.unwrap();
    assert_eq!((changes.revision, changes.changes.len()), (next, 1));
    assert!(changes.changes[0].record.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_any_member_loses_nothing() {
    let (mut servers, endpoints) = three().await;
    let store = open(&endpoints, "minke/").await;
    let admin = store.admin();
    assert_eq!(admin.members().await.unwrap().len(), 3);
    let mut watch = store.watch("n/", store.read("n/").await.unwrap().revision());

    // The leader dies while a counter is written by who looks again.
    let leader = admin.status(&servers[0].client_url).await.unwrap().leader;
    let mut dies = None;
    for (at, server) in servers.iter().enumerate() {
        if admin.status(&server.client_url).await.unwrap().member == leader {
            dies = Some(at);
        }
    }
    let mut n = 0u64;
    while n < 200 {
        if n == 50 {
            dies.take().map(|at| servers[at].kill()).unwrap_or_default();
        }
        let key = format!("n/{n}");
        match store.commit(Txn::new().guard_absent(key.as_str()).put_bytes(key.as_str(), 1, *b"x")).await {
            Ok(_) => n += 1,
            // It was written, and the answer was lost.
            Err(StoreError::Refused(_)) => n += 1,
            Err(StoreError::OutcomeUnknown { .. } | StoreError::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    // Reads wait for an election too.
    let deadline = std::time::Instant::now() + Duration::from_secs(300);
    let seen = loop {
        match store.read("n/").await {
            Ok(seen) => break seen,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(seen.iter().count(), 200);
    let mut told = 0;
    while told < 200 {
        told += watch.next().await.unwrap().changes.len();
    }
    assert_eq!(told, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_show_certificates() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let directory = std::env::temp_dir().join(format!("minke-etcd-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let authority = |name: &str| {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        (Issuer::new(parameters, key), certificate)
    };
    let ((ours, certificate), (theirs, other)) = (authority("ours"), authority("theirs"));
    let signed = |by: &Issuer<'static, KeyPair>| {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, by).unwrap(), key)
    };
    let (server_certificate, server_key) = signed(&ours);
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut server = Server::prepare("only");
    server.use_tls(&[
        ("--cert-file", &file("cert.pem", server_certificate.pem())),
        ("--key-file", &file("key.pem", server_key.serialize_pem())),
        ("--trusted-ca-file", &file("ca.pem", certificate.pem())),
        ("--client-cert-auth=true", "--log-level=panic"),
    ]);
    server.start(&["--initial-cluster", &format!("only={}", server.peer_url)]);
    let config = |by: &Issuer<'static, KeyPair>, trusted: &rcgen::Certificate| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.der().clone()).unwrap();
        let (certificate, key) = signed(by);
        let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        Arc::new(config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap())
    };
    let with = |tls| Endpoints { urls: vec![server.client_url.clone()], tls };
    let good = with(Some(config(&ours, &certificate)));
    up(&good).await;
    let store = open(&good, "minke/").await;
    let written = store.commit(Txn::new().put_bytes("a/1", 1, *b"x")).await.unwrap();
    assert_eq!(store.read("a/").await.unwrap().revision(), written);
    // Neither a stranger's certificate nor a stranger's server is taken.
    for bad in [config(&theirs, &certificate), config(&ours, &other)] {
        let error = Admin::new(with(Some(bad))).members().await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
    assert!(Admin::new(with(None)).members().await.is_err());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_another_life_no_commit_of_the_last_one_is_taken() {
    let (endpoints, root) = (shared().await, fresh_root());
    let store = open(&endpoints, &root).await;
    let old = store.commit(Txn::new().put_bytes("a/1", 1, *b"x")).await.unwrap();
    let mut watch = store.watch("a/", old);
    // As a restore does it.
    let again = TxnRequest {
        compare: Vec::new(),
        success: vec![
            raw::put(store.raw.named("epoch"), b"2".to_vec()),
            raw::put(store.raw.named("last"), Vec::new()),
        ],
        failure: Vec::new(),
    };
    let _: proto::TxnResponse = store.raw.call(raw::TXN, again).await.unwrap();
    assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })));
    let late = store.commit(Txn::new().guard_at("a/1", old).put_bytes("a/1", 1, *b"y")).await;
    assert!(matches!(late, Err(StoreError::Refused(_) | StoreError::Moving)), "{late:?}");
    let seen = store.read("a/").await.unwrap();
    assert_eq!(seen.revision().epoch, 2);
    let guard = seen.revision_of(&Key::new("a/1"));
    store.commit(Txn::new().guard_at("a/1", guard).put_bytes("a/1", 1, *b"y")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_answers_nobody_holds_up_nobody_for_long() {
    let (servers, endpoints) = three().await;
    let store = open(&endpoints, "minke/").await;
    let first = store.commit(Txn::new().put_bytes("a/1", 1, *b"x")).await.unwrap();
    let mut watch = store.watch("a/", first);
    // The one that is spoken to.
    servers[0].signal("STOP");
    let start = std::time::Instant::now();
    let deadline = start + Duration::from_secs(300);
    let mut attempts = 0;
    let seen = loop {
        attempts += 1;
        let key = format!("a/{attempts}x");
        if store.commit(Txn::new().put_bytes(key.as_str(), 1, *b"y")).await.is_ok()
            && let Ok(seen) = store.read("a/").await
        {
            break seen;
        }
        assert!(std::time::Instant::now() < deadline, "no other member is asked");
    };
    println!("reads and commits again after {:?}", start.elapsed());
    assert!(seen.get(&Key::new(&format!("a/{attempts}x"))).is_some());
    assert!(!watch.next().await.unwrap().changes.is_empty());
    servers[0].signal("CONT");
}
