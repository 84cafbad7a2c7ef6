//! A worker and its manager, and what lies between them.

use super::*;
use crate::{
    AnyStore, Assigned, Clock, Key, Memory, Peer, Prefixes, Result, Revision, Role, Snapshot, Store,
    StoreError, Txn, WallClock, random::Random,
};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;

fn clock() -> Arc<dyn Clock> {
    Arc::new(WallClock::new())
}

/// What a worker sees: here, a store of its own.
struct Given(Memory);

impl Assigned for Given {
    fn seen_by(&self, _: &str) -> AnyStore {
        AnyStore::new(self.0.clone())
    }
}

type Between = Arc<dyn Fn(Link, usize) -> Link + Send + Sync>;

/// A manager, and connections to it.
struct Manager {
    server: Server,
    peer: Peer,
    /// What lies between the two, for each connection.
    between: Between,
    dialled: AtomicUsize,
    connections: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Manager {
    fn of(store: &Memory, role: Role, between: Between) -> Arc<Self> {
        let given = Arc::new(Given(store.clone()));
        let server = Server::new(AnyStore::new(store.clone()), given, clock());
        let peer = Peer { node: "n1".to_owned(), role };
        Arc::new(Manager {
            server,
            peer,
            between,
            dialled: AtomicUsize::new(0),
            connections: Mutex::default(),
        })
    }

    /// Breaks all connections.
    fn cut(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

impl Dial for Manager {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Link>> + Send + '_>> {
        Box::pin(async {
            let (ours, theirs) = Link::pair();
            let (server, peer) = (self.server.clone(), self.peer.clone());
            let served = tokio::spawn(async move { server.serve(theirs, peer).await });
            self.connections.lock().unwrap().push(served.abort_handle());
            Ok((self.between)(ours, self.dialled.fetch_add(1, Ordering::Relaxed)))
        })
    }
}

fn nothing_between() -> Between {
    Arc::new(|link, _| link)
}

/// Bytes as on a network.
fn bytes_between() -> Between {
    Arc::new(|there, _| {
        let (here, far) = tokio::io::duplex(1 << 16);
        let link = Link::over(here);
        let Link { sender: to_server, receiver: mut from_server } = there;
        let Link { sender: to_client, receiver: mut from_client } = Link::over(far);
        tokio::spawn(async move { while forward(&mut from_client, &to_server).await {} });
        tokio::spawn(async move { while forward(&mut from_server, &to_client).await {} });
        link
    })
}

async fn forward(from: &mut mpsc::Receiver<Vec<u8>>, to: &mpsc::Sender<Vec<u8>>) -> bool {
    let next = tokio::select! { next = from.recv() => next, () = to.closed() => None };
    match next {
        Some(frame) => to.send(frame).await.is_ok(),
        None => false,
    }
}

/// Frames are doubled, change places, and sometimes the connection breaks.
fn disorder_between(seed: u64) -> Between {
    Arc::new(move |there, dialled| {
        let (ours, middle) = Link::pair();
        let Link { sender: to_server, receiver: from_server } = there;
        let Link { sender: to_client, receiver: from_client } = middle;
        let seed = seed.wrapping_add(dialled as u64 * 2);
        tokio::spawn(disorder(from_client, to_server, Random::new(seed)));
        tokio::spawn(disorder(from_server, to_client, Random::new(seed + 1)));
        ours
    })
}

async fn disorder(mut from: mpsc::Receiver<Vec<u8>>, to: mpsc::Sender<Vec<u8>>, mut random: Random) {
    let mut held: Option<Vec<u8>> = None;
    loop {
        let next = tokio::select! {
            biased;
            next = from.recv() => next,
            () = to.closed() => None,
            // What is held comes at last, however quiet it is.
            () = tokio::time::sleep(std::time::Duration::from_millis(2)), if held.is_some() => {
                if let Some(frame) = held.take() && to.send(frame).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(frame) = next else { return };
        let mut out = Vec::new();
        match random.below(20) {
            0..3 if held.is_none() => held = Some(frame),
            3..6 => out.extend([frame.clone(), frame]),
            6 if random.below(10) == 0 => return,
            _ => out.push(frame),
        }
        if !out.is_empty() && random.below(2) == 0 {
            out.extend(held.take());
        }
        for frame in out {
            if to.send(frame).await.is_err() {
                return;
            }
        }
    }
}

fn remote(between: Between) -> (Remote, Arc<Manager>) {
    let manager = Manager::of(&Memory::new(), Role::Manager, between);
    (Remote::new(manager.clone(), clock()), manager)
}

crate::suite::suite!(remote, remote(nothing_between()));
crate::suite::suite!(remote_over_bytes, remote(bytes_between()));

#[tokio::test]
async fn doubled_and_reordered_frames_corrupt_nothing() {
    let seed = Random::seeded().state();
    let store = Memory::new();
    let manager = Manager::of(&store, Role::Manager, disorder_between(seed));
    let remote = Remote::new(manager.clone(), clock());
    crate::suite::nothing_is_lost_or_done_twice_by_who_looks_again(&remote_that_asks_again(&remote)).await;
    assert!(manager.dialled.load(Ordering::Relaxed) >= 1);

    // A watch hands over every commit once and in order.
    let start = store.snapshot().revision();
    let mut watch = remote.watch("x/", start);
    for n in 0..300u64 {
        store.commit(Txn::new().put_bytes("x/1", 1, n.to_string().into_bytes())).await.unwrap();
    }
    let mut last = start;
    loop {
        match watch.next().await {
            Ok(changes) => {
                assert_eq!(changes.revision.number, last.number + 1, "SEED={seed}");
                last = changes.revision;
                if last.number == start.number + 300 {
                    break;
                }
            }
            Err(error) => panic!("{error}, SEED={seed}"),
        }
    }
}

/// The suite's last reader asks without looking again: this one does.
fn remote_that_asks_again(remote: &Remote) -> Patient {
    Patient(remote.clone())
}

#[derive(Clone)]
struct Patient(Remote);

impl Store for Patient {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        loop {
            match self.0.read(&prefixes).await {
                Err(StoreError::Unavailable { .. }) => {}
                other => return other,
            }
        }
    }
    async fn commit(&self, txn: Txn) -> Result<Revision> {
        loop {
            match self.0.commit(txn.clone()).await {
                // Only the first commit of the test, which does not look again, may be repeated.
                Err(StoreError::Unavailable { .. }) => {}
                Err(StoreError::OutcomeUnknown { .. }) if txn.guards().is_empty() => {}
                other => return other,
            }
        }
    }
    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> crate::Watch {
        self.0.watch(prefixes, after)
    }
}

#[tokio::test]
async fn a_watch_survives_a_broken_connection_and_a_commit_says_that_nobody_knows() {
    let store = Memory::new();
    let manager = Manager::of(&store, Role::Manager, bytes_between());
    let remote = Remote::new(manager.clone(), clock());
    let mut watch = remote.watch("a/", store.snapshot().revision());
    for n in 0..20 {
        let written = store.commit(Txn::new().put_bytes("a/1", 1, vec![n])).await.unwrap();
        if n % 3 == 0 {
            manager.cut();
        }
        assert_eq!(watch.next().await.unwrap().revision, written);
    }
    assert!(manager.dialled.load(Ordering::Relaxed) > 1);
    // Many of them at once, too.
    let start = store.snapshot().revision();
    let mut many: Vec<_> = (0..100).map(|_| remote.watch("a/", start)).collect();
    for n in 0..3 {
        manager.cut();
        let written = store.commit(Txn::new().put_bytes("a/1", 1, vec![n])).await.unwrap();
        for watch in &mut many {
            assert_eq!(watch.next().await.unwrap().revision, written);
        }
    }
    drop(many);
    // A server that takes a request and dies.
    let silent: Between = Arc::new(|_, _| {
        let (ours, mut theirs) = Link::pair();
        tokio::spawn(async move {
            theirs.receiver.recv().await;
            drop(theirs);
        });
        ours
    });
    let remote = Remote::new(Manager::of(&store, Role::Manager, silent), clock());
    let unknown = remote.commit(Txn::new().put_bytes("a/1", 1, *b"x")).await;
    assert!(matches!(unknown, Err(StoreError::OutcomeUnknown { .. })), "{unknown:?}");
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_holds_up_nobody() {
    let (remote, _manager) = remote(nothing_between());
    let start = remote.read(Prefixes::all()).await.unwrap().revision();
    let mut slow = remote.watch("a/", start);
    for n in 0..6000u32 {
        remote.commit(Txn::new().put_bytes("a/1", 1, n.to_le_bytes())).await.unwrap();
    }
    loop {
        match slow.next().await {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_stolen_worker_certificate_reaches_nothing_of_others() {
    let store = Memory::new();
    store
        .commit(Txn::new().put_bytes("assigned/n1/t1", 1, *b"mine").put_bytes("ca/key", 1, *b"sealed"))
        .await
        .unwrap();
    let remote = Remote::new(Manager::of(&store, Role::Worker, bytes_between()), clock());
    assert_eq!(remote.read("assigned/n1/").await.unwrap().iter().count(), 1);
    for prefix in ["", "assigned/", "assigned/n2/", "ca/", "status/n1/", "task/"] {
        let denied = remote.read(prefix).await;
        assert!(matches!(denied, Err(StoreError::Denied { .. })), "{prefix}: {denied:?}");
        let mut watch = remote.watch(prefix, Revision::default());
        assert!(matches!(watch.next().await, Err(StoreError::Denied { .. })), "{prefix}");
    }
    remote.commit(Txn::new().put_bytes("status/n1/t1", 1, *b"running")).await.unwrap();
    for key in ["status/n2/t1", "task/t1", "assigned/n1/t1", "node/n1"] {
        let denied = remote.commit(Txn::new().put_bytes(key, 1, *b"x")).await;
        assert!(matches!(denied, Err(StoreError::Denied { .. })), "{key}: {denied:?}");
    }
    assert!(store.snapshot().get(&Key::new("status/n1/t1")).is_some());
    assert_eq!(store.snapshot().iter().count(), 3);
}

#[tokio::test]
async fn a_large_snapshot_comes_in_pages_and_whole() {
    let store = Memory::new();
    for n in 0..20 {
        store.commit(Txn::new().put_bytes(format!("a/{n}").as_str(), 1, vec![n; 100_000])).await.unwrap();
    }
    let remote = Remote::new(Manager::of(&store, Role::Manager, bytes_between()), clock());
    let found = remote.read("a/").await.unwrap();
    assert_eq!(crate::suite::contents(&found), crate::suite::contents(&store.read("a/").await.unwrap()));
}
