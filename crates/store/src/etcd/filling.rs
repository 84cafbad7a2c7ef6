//! An etcd on its way to be a store: it is filled, compared, and only then opened.
//!
//! As long as `minke/epoch` says "filling", nobody opens it, and whoever begins to fill it anew takes all away first.

use super::{
    Client, Endpoints, Etcd, ROOT,
    proto::{Compare, DeleteRangeRequest, Op, RangeResponse, TxnRequest, TxnResponse},
    raw::{FILLING, Raw, absent, after_all, at, encode, op, put, range},
};
use crate::{Clock, Prefix, Remember, Result, Snapshot, Store, StoreError, dump::digest};
use futures_util::{StreamExt, TryStreamExt};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Writes in one transaction.
const MOST: usize = 64;
/// Bytes of values in one transaction, unless one alone is larger.
const BYTES: usize = 512 << 10;
/// Transactions under way at once.
const AT_ONCE: usize = 8;

/// Fills an etcd.
pub(crate) struct Filling {
    raw: Raw,
    /// When the word "filling" was written: nobody else's is trusted.
    since: AtomicU64,
}

impl Etcd {
    /// Begins to fill the etcd at `endpoints`, which no store may be in.
    pub(crate) async fn begin_filling(endpoints: Endpoints) -> Result<Filling> {
        Self::begin_filling_under(endpoints, ROOT).await
    }

    pub(super) async fn begin_filling_under(endpoints: Endpoints, root: &str) -> Result<Filling> {
        let raw = Raw::unopened(Client::new(endpoints), root);
        let found: RangeResponse = raw.call(super::raw::RANGE, range(raw.named("epoch"))).await?;
        let condition = match found.kvs.first() {
            None => absent(raw.named("epoch")),
            Some(kv) if kv.value.starts_with(FILLING.as_bytes()) => {
                at(raw.named("epoch"), kv.mod_revision as u64)
            }
            Some(_) => return Err(StoreError::Occupied { place: format!("etcd:{root}") }),
        };
        let all = raw.named("r/");
        let clear = op(Op::Delete(DeleteRangeRequest { range_end: after_all(&all), key: all }));
        let begin = vec![put(raw.named("epoch"), FILLING.into()), put(raw.named("last"), Vec::new()), clear];
        let filling = Filling { raw, since: AtomicU64::new(0) };
        filling.write(condition, begin).await?;
        Ok(filling)
    }

    /// Opens an etcd whose filling was promised to be whole; also one that was opened already.
    pub(crate) async fn finish_filling(
        endpoints: Endpoints,
        digest: &str,
        epoch: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let raw = Raw::unopened(Client::new(endpoints.clone()), ROOT);
        let found: RangeResponse = raw.call(super::raw::RANGE, range(raw.named("epoch"))).await?;
        let promised = found.kvs.first().filter(|kv| kv.value == promise(digest, epoch).into_bytes());
        if let Some(kv) = promised {
            let filling = Filling { raw, since: AtomicU64::new(0) };
            let begin = vec![
                put(filling.raw.named("epoch"), epoch.to_string().into()),
                put(filling.raw.named("last"), Vec::new()),
            ];
            filling.write(at(filling.raw.named("epoch"), kv.mod_revision as u64), begin).await?;
        }
        let etcd = Self::open_under(endpoints, ROOT, Remember::CLUSTER, clock).await?;
        // An older one would be another store.
        if etcd.raw.learn_epoch().await? < epoch {
            return Err(StoreError::Occupied { place: format!("etcd:{ROOT}") });
        }
        Ok(etcd)
    }
}

impl Filling {
    /// Makes what is `before` into what is `after`.
    pub(crate) async fn copy(&self, before: &Snapshot, after: &Snapshot) -> Result<()> {
        let mut txns = vec![(0, Vec::new())];
        for difference in after.changes_since(before) {
            let key = self.raw.key(difference.key.as_str());
            let (size, write) = match &difference.after {
                Some(record) => (record.bytes().len(), put(key, encode(record.schema(), record.bytes()))),
                None => (0, op(Op::Delete(DeleteRangeRequest { key, range_end: Vec::new() }))),
            };
            match txns.last_mut() {
                Some((bytes, writes))
                    if writes.len() < MOST && (writes.is_empty() || *bytes + size <= BYTES) =>
                {
                    *bytes += size;
                    writes.push(write);
                }
                _ => txns.push((size, vec![write])),
            }
        }
        let condition = || at(self.raw.named("epoch"), self.since.load(Ordering::SeqCst));
        let writing = txns.into_iter().filter(|(_, writes)| !writes.is_empty()).map(|(_, success)| async {
            let txn = TxnRequest { compare: vec![condition()], success, failure: Vec::new() };
            self.holds(self.raw.call::<TxnRequest, TxnResponse>(super::raw::TXN, txn).await?).map(drop)
        });
        futures_util::stream::iter(writing).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Whether what etcd now holds is what was to be copied.
    pub(crate) async fn compare(&self, wanted: &str) -> Result<()> {
        let found = digest(&self.raw.read(Prefix::all()).await?);
        if found == wanted {
            return Ok(());
        }
        let (path, detail) =
            (format!("etcd:{}", self.raw.root), "it does not hold what was copied into it".to_owned());
        Err(StoreError::Damaged { path: path.into(), detail })
    }

    /// Says what is whole now, and may be opened by who knows it.
    pub(crate) async fn promise(&self, digest: &str, epoch: u64) -> Result<()> {
        let condition = at(self.raw.named("epoch"), self.since.load(Ordering::SeqCst));
        self.write(condition, vec![put(self.raw.named("epoch"), promise(digest, epoch).into())]).await
    }

    /// Writes the word, if nobody else has.
    async fn write(&self, condition: Compare, success: Vec<super::proto::RequestOp>) -> Result<()> {
        let txn = TxnRequest { compare: vec![condition], success, failure: Vec::new() };
        let revision = self.holds(self.raw.call(super::raw::TXN, txn).await?)?;
        self.since.store(revision, Ordering::SeqCst);
        Ok(())
    }

    fn holds(&self, answer: TxnResponse) -> Result<u64> {
        if !answer.succeeded {
            return Err(StoreError::Occupied { place: format!("etcd:{}", self.raw.root) });
        }
        Ok(answer.header.map_or(0, |header| header.revision.max(0) as u64))
    }
}

fn promise(digest: &str, epoch: u64) -> String {
    format!("{FILLING} {digest} {epoch}")
}
