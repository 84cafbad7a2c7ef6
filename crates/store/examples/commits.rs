//! Measures placements a second: a task's record is written again, and its node's guard record touched.
//!
//! usage: commits memory | embedded DIRECTORY | etcd URL…
//!
//! Started by `script/bench store`. Many committers, one placement a commit; then one committer, 31 placements a
//! commit, as a scheduler's plan does it.

use minke_store::{
    AnyStore, Embedded, Endpoints, Etcd, Key, Memory, Prefix, Remember, Store, Table, Txn, WallClock,
};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// About 300 bytes as JSON.
#[derive(Clone, Serialize, Deserialize)]
struct Task {
    id: String,
    service: String,
    version: u64,
    slot: u32,
    node: Option<String>,
    state: String,
    address: String,
    since: String,
}

const TASKS: Table<Task> = Table::new("task", 1).guarded_by(|old, new| {
    let nodes = old.into_iter().chain(new).filter_map(|task| task.node.as_deref());
    nodes.map(|node| Key::new(&format!("guard/node/{node}"))).collect()
});
const NODES: usize = 1_000;
const COMMITTERS: usize = 64;

fn task(n: usize) -> Task {
    Task {
        id: format!("{n:064x}"),
        service: format!("{:064x}", n / 200),
        version: 1,
        slot: (n % 200) as u32,
        node: None,
        state: "pending".to_owned(),
        address: "10.0.1.7/24".to_owned(),
        since: "2026-11-24T10:00:00.123456789Z".to_owned(),
    }
}

fn placed(n: usize, node: usize) -> Task {
    Task { node: Some(format!("node-{node}")), state: "assigned".to_owned(), ..task(n) }
}

/// Writes `count` pending tasks.
async fn fill(store: &AnyStore, count: usize) {
    for start in (0..count).step_by(50) {
        let txn = (start..count.min(start + 50)).fold(Txn::new(), |txn, n| {
            let bytes = serde_json::to_vec(&task(n)).expect("json");
            txn.put_bytes(TASKS.key(&task(n).id), 1, bytes)
        });
        store.commit(txn).await.expect("a commit");
    }
}

/// Each committer places its own tasks on its own nodes, one a commit.
async fn one_each(store: &AnyStore, count: usize) -> f64 {
    let start = Instant::now();
    let committers: Vec<_> = (0..COMMITTERS)
        .map(|me| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in (me..count).step_by(COMMITTERS) {
                    let node = n % (NODES / COMMITTERS) * COMMITTERS + me;
                    let seen = store.read(["task/", "guard/node/"]).await.expect("a snapshot");
                    let txn = Txn::on(&seen).put(&TASKS, &task(n).id, placed(n, node));
                    store.commit(txn).await.expect("a commit");
                }
            })
        })
        .collect();
    for committer in committers {
        committer.await.expect("a committer");
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// One committer, 31 placements a commit.
async fn in_batches(store: &AnyStore, from: usize, count: usize) -> f64 {
    let start = Instant::now();
    for first in (from..from + count).step_by(31) {
        let seen = store.read(["task/", "guard/node/"]).await.expect("a snapshot");
        let batch = first..(from + count).min(first + 31);
        let txn = batch.fold(Txn::on(&seen), |txn, n| txn.put(&TASKS, &task(n).id, placed(n, n % NODES)));
        store.commit(txn).await.expect("a commit");
    }
    count as f64 / start.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, store) = match words[..] {
        ["memory"] => ("memory", AnyStore::new(Memory::remembering(Remember::CLUSTER))),
        ["embedded", directory] => {
            ("embedded", AnyStore::new(Embedded::open_cluster(Path::new(directory)).expect("a store")))
        }
        ["etcd", ref urls @ ..] if !urls.is_empty() => {
            let endpoints = Endpoints { urls: urls.iter().map(|url| url.to_string()).collect(), tls: None };
            // Its members may have been started just now.
            let mut attempts = 0;
            let etcd = loop {
                match Etcd::open(endpoints.clone(), Arc::new(WallClock::new())).await {
                    Err(_) if attempts < 100 => attempts += 1,
                    opened => break opened.expect("a store"),
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            ("etcd", AnyStore::new(etcd))
        }
        _ => {
            eprintln!("usage: commits memory | embedded DIRECTORY | etcd URL…");
            std::process::exit(2);
        }
    };
    let count = if name == "etcd" { 10_000 } else { 40_000 };
    fill(&store, 2 * count).await;
    let one = one_each(&store, count).await;
    let many = in_batches(&store, count, count).await;
    let records = store.read(Prefix::all()).await.expect("a snapshot").iter().count();
    println!(
        "{name}: {one:.0} placements/s by {COMMITTERS} committers, {many:.0} placements/s in batches of 31 ({records} records)"
    );
}
