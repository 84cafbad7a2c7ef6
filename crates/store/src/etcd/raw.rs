//! The store's verbs as etcd's calls, without a copy in memory.
//!
//! | key | what |
//! |---|---|
//! | `minke/r/<key>` | a record: its schema version in decimal, a space, its bytes |
//! | `minke/epoch` | which life of the store this is |
//! | `minke/last` | put by every commit: when it was is the revision of the whole store, though etcd may hold more |

use super::{
    client::{Client, Failed, next},
    proto::{
        Compare, CompareResult, CompareTarget, Compared, DeleteRangeRequest, EventType, KeyValue, Op,
        OpResponse, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
        WatchCreateRequest, WatchRequest, WatchResponse,
    },
};
use crate::{
    Change, Changes, Follow, Guard, Key, Prefix, Prefixes, Record, Result, Revision, Snapshot, Store,
    StoreError, Txn, Watch, map::Map,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;
use tonic::Code;

/// Records in one page of a read.
const PAGE: i64 = 1000;
/// How long a call may take.
const PATIENCE: Duration = crate::patience(3_000);
/// How long a commit may take. One that was on its way to a leader that died is lost with it, but etcd itself says so
/// only after 7 s.
const COMMITTING: Duration = crate::patience(1_500);
/// How long one member may take to say how far the store is, and how many are asked: one that is cut off must not keep
/// us from the others.
const ASKING: Duration = crate::patience(1_000);
const ASKED: usize = 5;
/// Pauses between attempts to watch, doubled from the first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// Commits on their way from etcd to the reader of a watch.
const WAITING: usize = 256;

/// What `minke/epoch` begins with as long as nobody may open the store.
pub(super) const FILLING: &str = "filling";

pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// A store in etcd. Clones share a connection.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) client: Client,
    pub(super) root: Arc<str>,
    life: Arc<Life>,
}

/// Which life of the store is known here.
#[derive(Default)]
struct Life {
    epoch: AtomicU64,
    /// When it began: in another life every commit is refused.
    began: AtomicU64,
}

impl Raw {
    /// The store under `root`, which is begun in epoch 1 where there is none.
    pub(super) async fn open(client: Client, root: &str) -> Result<Self> {
        let raw = Raw::unopened(client, root);
        let begin = TxnRequest {
            compare: vec![absent(raw.named("epoch"))],
            success: vec![put(raw.named("epoch"), b"1".to_vec()), put(raw.named("last"), Vec::new())],
            failure: Vec::new(),
        };
        raw.call::<TxnRequest, TxnResponse>(TXN, begin).await?;
        raw.learn_epoch().await?;
        Ok(raw)
    }

    /// What may or may not be a store.
    pub(super) fn unopened(client: Client, root: &str) -> Self {
        Raw { client, root: root.into(), life: Arc::default() }
    }

    /// Reads which life the store is in.
    pub(super) async fn learn_epoch(&self) -> Result<u64> {
        let found: RangeResponse = self.call(RANGE, range(self.named("epoch"))).await?;
        let kv = found.kvs.first().ok_or_else(|| damaged(&self.root, "epoch"))?;
        if kv.value.starts_with(FILLING.as_bytes()) {
            let (tried, detail) =
                (format!("open the store in etcd:{}", self.root), "it is being filled".to_owned());
            return Err(StoreError::Unavailable { tried, detail });
        }
        let text = std::str::from_utf8(&kv.value).ok();
        let epoch: u64 =
            text.and_then(|text| text.parse().ok()).ok_or_else(|| damaged(&self.root, "epoch"))?;
        self.life.began.store(kv.mod_revision.max(0) as u64, Ordering::SeqCst);
        self.life.epoch.store(epoch, Ordering::SeqCst);
        Ok(epoch)
    }

    /// Up to where the store has come, as the majority of its members knows.
    pub(super) async fn latest(&self) -> Result<Revision> {
        let mut asked = 1;
        let found: RangeResponse = loop {
            match self.client.call(RANGE, range(self.named("last")), ASKING).await {
                Err(failed) if failed.maybe_done && asked < ASKED => asked += 1,
                done => break done.map_err(|failed| failed.error)?,
            }
        };
        let kv = found.kvs.first().ok_or_else(|| damaged(&self.root, "last"))?;
        Ok(self.at(kv.mod_revision))
    }

    /// The whole call or an error that says that nothing was written.
    pub(super) async fn call<I, O>(&self, path: &'static str, request: I) -> Result<O>
    where
        I: prost::Message + Default + Send + Sync + 'static,
        O: prost::Message + Default + Send + Sync + 'static,
    {
        self.client.call(path, request, PATIENCE).await.map_err(|failed| failed.error)
    }

    pub(super) fn named(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.root).into_bytes()
    }

    pub(super) fn key(&self, key: &str) -> Vec<u8> {
        format!("{}r/{key}", self.root).into_bytes()
    }

    fn at(&self, number: i64) -> Revision {
        Revision { epoch: self.life.epoch.load(Ordering::SeqCst), number: number.max(0) as u64 }
    }

    fn record(&self, kv: KeyValue) -> Result<(Key, Arc<Record>)> {
        let name = std::str::from_utf8(&kv.key)
            .ok()
            .and_then(|key| key.strip_prefix(&*self.root)?.strip_prefix("r/"));
        let name = name.ok_or_else(|| damaged(&self.root, &String::from_utf8_lossy(&kv.key)))?;
        let (schema, bytes) = decode(&kv.value).ok_or_else(|| damaged(&self.root, name))?;
        Ok((Key::new(name), Arc::new(Record::new(self.at(kv.mod_revision), schema, bytes.into()))))
    }

    async fn read_at(&self, prefix: &Prefix, revision: i64, map: &mut Map) -> Result<(), Failed> {
        let mut from = self.key(prefix.as_str());
        let end = after_all(&from);
        loop {
            let request =
                RangeRequest { key: from, range_end: end.clone(), limit: PAGE, revision, keys_only: false };
            let page: RangeResponse = self.client.call(RANGE, request, PATIENCE).await?;
            let last = page.kvs.last().map(|kv| kv.key.clone());
            for kv in page.kvs {
                let (key, record) = self.record(kv).map_err(|error| Failed {
                    maybe_done: false,
                    code: Code::DataLoss,
                    error,
                })?;
                map.insert(key, record);
            }
            match last.filter(|_| page.more) {
                // The least key after it.
                Some(mut last) => {
                    last.push(0);
                    from = last;
                }
                None => return Ok(()),
            }
        }
    }
}

impl Store for Raw {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        loop {
            let last: RangeResponse = self.call(RANGE, range(self.named("last"))).await?;
            let at = last.kvs.first().map(|kv| kv.mod_revision).ok_or_else(|| damaged(&self.root, "last"))?;
            // Etcd as a whole is at least there; this one cannot be compacted while it is the newest.
            let now = last.header.map_or(at, |header| header.revision);
            let mut map = Map::default();
            let mut compacted = false;
            for prefix in prefixes.iter() {
                match self.read_at(prefix, now, &mut map).await {
                    Ok(()) => {}
                    Err(failed) if failed.code == Code::OutOfRange => {
                        compacted = true;
                        break;
                    }
                    Err(failed) => return Err(failed.error),
                }
            }
            if !compacted {
                return Ok(Snapshot::new(map, prefixes, self.at(at)));
            }
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        txn.check()?;
        let epoch = self.life.epoch.load(Ordering::SeqCst);
        let elsewhen = |guard: &&Guard| matches!(guard, Guard::At(_, revision) if revision.epoch != epoch);
        if let Some(guard) = txn.guards.iter().find(elsewhen) {
            return Err(StoreError::Refused(guard.clone()));
        }
        let compare = txn.guards.iter().map(|guard| match guard {
            Guard::Absent(key) => absent(self.key(key.as_str())),
            Guard::At(key, revision) => at(self.key(key.as_str()), revision.number),
        });
        let writes = txn.writes.iter().map(|write| {
            let key = self.key(write.key.as_str());
            match &write.value {
                Some(value) => put(key, encode(value.schema, &value.bytes)),
                None => op(Op::Delete(DeleteRangeRequest { key, range_end: Vec::new() })),
            }
        });
        let mut success: Vec<_> = writes.collect();
        let last = self.named("last");
        success.push(if success.is_empty() { op(Op::Range(range(last))) } else { put(last, Vec::new()) });
        // To say which guard did not hold.
        let look = |guard: &Guard| {
            op(Op::Range(RangeRequest { keys_only: true, ..range(self.key(guard.key().as_str())) }))
        };
        let same_life = at(self.named("epoch"), self.life.began.load(Ordering::SeqCst));
        let look_at_epoch = op(Op::Range(RangeRequest { keys_only: true, ..range(self.named("epoch")) }));
        let failure = txn.guards.iter().map(look).chain([look_at_epoch]).collect();
        let request = TxnRequest { compare: compare.chain([same_life]).collect(), success, failure };
        let answer: TxnResponse = self.client.call(TXN, request, COMMITTING).await.map_err(|failed| {
            if failed.maybe_done {
                return StoreError::OutcomeUnknown { cause: Arc::new(failed.error) };
            }
            let bytes = txn.writes.iter().map(|w| w.value.as_ref().map_or(0, |v| v.bytes.len())).sum();
            match failed.code {
                // `--max-request-bytes`, 1.5 MiB where nobody has set it.
                Code::InvalidArgument => {
                    StoreError::TooLarge { what: "size in bytes for etcd", found: bytes, limit: 1 << 20 }
                }
                _ => failed.error,
            }
        })?;
        let mut ranges = answer.responses.into_iter().map(|response| match response.op {
            Some(OpResponse::Range(range)) => range.kvs.first().map_or(0, |kv| kv.mod_revision),
            _ => 0,
        });
        if !answer.succeeded {
            let holds = |(guard, found): &(&Guard, i64)| match guard {
                Guard::Absent(_) => *found == 0,
                Guard::At(_, revision) => *found == revision.number as i64,
            };
            let refused = txn.guards.iter().zip(ranges).find(|pair| !holds(pair));
            if let Some((guard, _)) = refused {
                return Err(StoreError::Refused(guard.clone()));
            }
            // All that it relies on may still be so, but in a life that is over.
            self.learn_epoch().await?;
            return Err(StoreError::Moving);
        }
        let number = match answer.header {
            Some(header) if !txn.writes.is_empty() => header.revision,
            _ => ranges.next_back().unwrap_or(0),
        };
        Ok(self.at(number))
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        let (sender, receiver) = mpsc::channel(WAITING);
        let follower =
            Follower { raw: self.clone(), prefixes: prefixes.into(), next: after.number + 1, sender };
        if after.epoch == self.life.epoch.load(Ordering::SeqCst) {
            tokio::spawn(follower.run());
        } else {
            // There is room for one.
            let _ = follower.sender.try_send(Err(StoreError::Compacted { after }));
        }
        Watch::new(RawWatch { receiver, after })
    }
}

/// Watches the whole store by one stream after another, each where the last one ended.
struct Follower {
    raw: Raw,
    prefixes: Prefixes,
    next: u64,
    sender: mpsc::Sender<Result<Changes>>,
}

impl Follower {
    async fn run(mut self) {
        let closed = self.sender.clone();
        tokio::select! {
            biased;
            error = self.follow() => {
                // Gone only when nobody reads.
                let _ = self.sender.send(Err(error)).await;
            }
            () = closed.closed() => {}
        }
    }

    /// Until no stream can go on from here.
    async fn follow(&mut self) -> StoreError {
        let mut pause = PAUSES[0];
        loop {
            let key = self.raw.root.as_bytes().to_vec();
            let create = WatchCreateRequest {
                range_end: after_all(&key),
                key,
                start_revision: self.next as i64,
                fragment: true,
            };
            match self.raw.client.stream(WATCH, WatchRequest { create: Some(create) }).await {
                Ok((mut stream, connection)) => {
                    let before = self.next;
                    if let Some(error) = self.take_all(&mut stream).await {
                        return error;
                    }
                    if self.next > before {
                        pause = PAUSES[0];
                    }
                    // The member may be cut off from the others.
                    self.raw.client.give_up(connection);
                }
                Err(failed) => tracing::debug!(error = %failed.error, "cannot watch etcd"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Takes what a stream brings; `None` when it broke.
    async fn take_all(&mut self, stream: &mut tonic::Streaming<WatchResponse>) -> Option<StoreError> {
        let mut events = Vec::new();
        loop {
            let response = match next(stream).await {
                Ok(response) => response,
                Err(status) => {
                    tracing::debug!(%status, "a watch of etcd broke");
                    return None;
                }
            };
            let compacted = StoreError::Compacted { after: self.raw.at(self.next as i64 - 1) };
            if response.compact_revision > 0 {
                return Some(compacted);
            }
            if response.canceled {
                tracing::debug!(reason = response.cancel_reason, "etcd ended a watch");
                return None;
            }
            events.extend(response.events);
            if response.fragment {
                continue;
            }
            if let Some(error) = self.take(std::mem::take(&mut events), compacted).await {
                return Some(error);
            }
        }
    }

    /// Hands over the commits in `events`: those of one revision always come together.
    async fn take(&mut self, events: Vec<super::proto::Event>, compacted: StoreError) -> Option<StoreError> {
        let mut commits: Vec<Changes> = Vec::new();
        for event in events {
            let deleted = event.kind == EventType::Delete as i32;
            let Some(kv) = event.kv else { continue };
            if kv.key == self.raw.named("epoch") {
                // Another life: nothing of what was read is true any more.
                if let Err(error) = self.raw.learn_epoch().await {
                    tracing::debug!(%error, "cannot read etcd's new epoch");
                }
                return Some(compacted);
            }
            let revision = self.raw.at(kv.mod_revision);
            if commits.last().is_none_or(|commit| commit.revision != revision) {
                commits.push(Changes { revision, changes: Vec::new() });
            }
            if kv.key == self.raw.named("last") {
                continue;
            }
            let change = if deleted {
                let name = String::from_utf8_lossy(&kv.key).into_owned();
                let name = name.strip_prefix(&*self.raw.root).and_then(|name| name.strip_prefix("r/"));
                name.map(|name| Change { key: Key::new(name), record: None })
            } else {
                match self.raw.record(kv) {
                    Ok((key, record)) => Some(Change { key, record: Some(record) }),
                    Err(error) => return Some(error),
                }
            };
            let change = change.filter(|change| self.prefixes.covers(&change.key));
            if let (Some(change), Some(commit)) = (change, commits.last_mut()) {
                commit.changes.push(change);
            }
        }
        for commit in commits {
            self.next = commit.revision.number + 1;
            // Also one that changed nothing here: the copy must come as far as the store.
            if self.sender.send(Ok(commit)).await.is_err() {
                return Some(StoreError::Closed);
            }
        }
        None
    }
}

/// The reader's end.
struct RawWatch {
    receiver: mpsc::Receiver<Result<Changes>>,
    after: Revision,
}

impl Follow for RawWatch {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Changes>> {
        loop {
            return match self.receiver.poll_recv(context) {
                Poll::Ready(Some(Ok(changes))) if changes.revision <= self.after => continue,
                Poll::Ready(Some(Ok(changes))) => {
                    self.after = changes.revision;
                    Poll::Ready(Ok(changes))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
                Poll::Ready(None) => Poll::Ready(Err(StoreError::Compacted { after: self.after })),
                Poll::Pending => Poll::Pending,
            };
        }
    }

    fn skip(&mut self, until: Revision) {
        self.after = self.after.max(until);
    }

    fn reached(&self) -> Revision {
        self.after
    }
}

pub(super) fn op(op: Op) -> RequestOp {
    RequestOp { op: Some(op) }
}

pub(super) fn put(key: Vec<u8>, value: Vec<u8>) -> RequestOp {
    op(Op::Put(PutRequest { key, value }))
}

pub(super) fn range(key: Vec<u8>) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

pub(super) fn absent(key: Vec<u8>) -> Compare {
    let (result, target) = (CompareResult::Equal as i32, CompareTarget::Version as i32);
    Compare { result, target, key, with: Some(Compared::Version(0)) }
}

pub(super) fn at(key: Vec<u8>, revision: u64) -> Compare {
    let (result, target) = (CompareResult::Equal as i32, CompareTarget::Mod as i32);
    Compare { result, target, key, with: Some(Compared::ModRevision(revision as i64)) }
}

/// The first key behind all that start with `prefix`.
pub(super) fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

pub(super) fn encode(schema: u32, bytes: &[u8]) -> Vec<u8> {
    [schema.to_string().as_bytes(), b" ", bytes].concat()
}

fn decode(value: &[u8]) -> Option<(u32, &[u8])> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let schema = std::str::from_utf8(&value[..space]).ok()?.parse().ok()?;
    Some((schema, &value[space + 1..]))
}

fn damaged(root: &str, what: &str) -> StoreError {
    StoreError::Damaged {
        path: format!("etcd:{root}").into(),
        detail: format!("{what} is not as it was written"),
    }
}
