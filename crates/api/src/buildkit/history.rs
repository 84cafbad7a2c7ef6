//! Builds of the past, as `docker buildx history` shows them: the last ones, and those that a user pinned.
//!
//! Records are in memory, and with what was said in their builds on disk, where the next start of the daemon finds them.

use super::{
    journal::Journal,
    proto::{RpcStatus, control},
    provenance,
};
use bytes::Bytes;
use minke_engine::build::PastBuilds;
use minke_model::id::Digest;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::broadcast;
use tonic::Status;

/// Builds that are kept besides pinned ones (BuildKit's own default).
const MOST: usize = 50;
/// Builds that may be pinned.
const MOST_PINNED: usize = 200;
/// Bytes of output of all that are in memory together; the oldest's go first.
const MOST_SAID: usize = 64 << 20;
/// Events that a slow listener may be behind.
const BEHIND: usize = 256;
/// What a whole error is (BuildKit `solver/llbsolver/history.go`).
const ERROR_TYPE: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// A build's record as it is kept on disk.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    record: Option<control::BuildHistoryRecord>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    blobs: Vec<Bytes>,
}

/// One build that ended.
pub(crate) struct Past {
    record: Mutex<control::BuildHistoryRecord>,
    /// What happened in it, until that is on disk.
    journal: Mutex<Option<Arc<Journal>>>,
    /// Whether it was forgotten; held while its files are written or removed.
    forgotten: Mutex<bool>,
    /// What the record names by digest: the error with its details, or what the build was made from.
    blobs: Vec<(Digest, Bytes)>,
}

impl Past {
    /// From a record; `error` is the whole of what its short form stands in, `provenance` what the build was made from.
    pub(crate) fn new(
        mut record: control::BuildHistoryRecord,
        error: Option<RpcStatus>,
        provenance: Option<Vec<u8>>,
        journal: Arc<Journal>,
    ) -> Self {
        let mut blobs = Vec::new();
        let mut keep = |bytes: Vec<u8>, media_type: &str, annotations: BTreeMap<String, String>| {
            let (digest, size) = (Digest::from_sha256(&Sha256::digest(&bytes)), bytes.len() as i64);
            blobs.push((digest.clone(), bytes.into()));
            control::Descriptor {
                media_type: media_type.into(),
                digest: digest.to_string(),
                size,
                annotations,
            }
        };
        record.external_error = error.map(|error| keep(error.encode_to_vec(), ERROR_TYPE, BTreeMap::new()));
        record.result = provenance.map(|statement| {
            let about =
                BTreeMap::from([("in-toto.io/predicate-type".to_owned(), provenance::PREDICATE.to_owned())]);
            let attestations = vec![keep(statement, provenance::MEDIA_TYPE, about)];
            control::BuildResultInfo { attestations }
        });
        Self {
            record: Mutex::new(record),
            journal: Mutex::new(Some(journal)),
            forgotten: Mutex::default(),
            blobs,
        }
    }

    /// From disk; `None` where the bytes are none.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let Kept { record, blobs } = Kept::decode(bytes).ok()?;
        let blobs =
            blobs.into_iter().map(|blob| (Digest::from_sha256(&Sha256::digest(&blob)), blob)).collect();
        let (journal, forgotten) = (Mutex::default(), Mutex::default());
        Some(Self { record: Mutex::new(record?), journal, forgotten, blobs })
    }

    fn encode(&self) -> Vec<u8> {
        let blobs = self.blobs.iter().map(|(_, blob)| blob.clone()).collect();
        Kept { record: Some(self.record().clone()), blobs }.encode_to_vec()
    }

    fn journal(&self) -> MutexGuard<'_, Option<Arc<Journal>>> {
        self.journal.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Writes it down. What happened in it need not be in memory after that.
    fn keep(&self, files: &PastBuilds) {
        let forgotten = self.forgotten.lock().unwrap_or_else(|e| e.into_inner());
        if *forgotten {
            return;
        }
        let journal = self.journal().clone();
        let log = journal.map(|journal| journal.encode());
        let name = self.record().reference.clone();
        match files.keep(&name, &self.encode(), log.as_deref()) {
            Ok(()) => *self.journal() = None,
            Err(error) => tracing::warn!(%error, build = name, "a build's record is kept in memory only"),
        }
    }

    /// Removes what was written down.
    fn forget(&self, files: &PastBuilds) {
        let mut forgotten = self.forgotten.lock().unwrap_or_else(|e| e.into_inner());
        *forgotten = true;
        files.forget(&self.record().reference);
    }

    fn record(&self) -> MutexGuard<'_, control::BuildHistoryRecord> {
        self.record.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// All builds of the past that are kept, and who listens.
pub(crate) struct History {
    /// The oldest first.
    past: Mutex<VecDeque<Arc<Past>>>,
    news: broadcast::Sender<control::BuildHistoryEvent>,
    /// Where they are written down; in tests nowhere.
    files: Option<PastBuilds>,
}

impl Default for History {
    fn default() -> Self {
        Self { past: Mutex::default(), news: broadcast::Sender::new(BEHIND), files: None }
    }
}

/// Does what waits for the disk, off the threads that serve sockets.
fn aside(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

impl History {
    /// With what was kept by daemons before. Blocks.
    pub(crate) fn open(files: PastBuilds) -> Self {
        let mut past: Vec<Past> = files.records().iter().filter_map(|bytes| Past::decode(bytes)).collect();
        let created = |past: &Past| past.record().created_at.map(|time| (time.seconds, time.nanos));
        past.sort_by_key(created);
        let past = past.into_iter().map(Arc::new).collect();
        Self { past: Mutex::new(past), files: Some(files), ..Self::default() }
    }

    fn past(&self) -> MutexGuard<'_, VecDeque<Arc<Past>>> {
        self.past.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Tells listeners.
    pub(crate) fn tell(&self, kind: i32, record: control::BuildHistoryRecord) {
        // That nobody listens is no error.
        let _ = self.news.send(control::BuildHistoryEvent { kind, record: Some(record) });
    }

    /// Keeps a build that ended; the oldest that nobody pinned goes.
    pub(crate) fn add(&self, past: Past) {
        let record = past.record().clone();
        let mut all = self.past();
        all.retain(|known| known.record().reference != record.reference);
        all.push_back(Arc::new(past));
        while all.iter().filter(|past| !past.record().pinned).count() > MOST {
            let oldest = all.iter().position(|past| !past.record().pinned);
            let Some(gone) = oldest.and_then(|oldest| all.remove(oldest)) else { break };
            self.forget(&gone);
        }
        let mut said = 0;
        for past in all.iter().rev() {
            let Some(journal) = past.journal().clone() else { continue };
            said += journal.said();
            if said > MOST_SAID {
                journal.forget_logs();
            }
        }
        let newest = all.back().cloned();
        drop(all);
        if let (Some(files), Some(newest)) = (self.files.clone(), newest) {
            aside(move || newest.keep(&files));
        }
        self.tell(control::COMPLETE, record);
    }

    fn forget(&self, gone: &Arc<Past>) {
        if let Some(files) = self.files.clone() {
            let gone = gone.clone();
            aside(move || gone.forget(&files));
        }
        self.tell(control::DELETED, gone.record().clone());
    }

    /// A build by its name.
    pub(crate) fn find(&self, reference: &str) -> Option<Arc<Past>> {
        self.past().iter().find(|past| past.record().reference == reference).cloned()
    }

    /// What happened in a build of the past.
    pub(crate) async fn journal(&self, reference: &str) -> Option<Arc<Journal>> {
        let past = self.find(reference)?;
        if let Some(journal) = past.journal().clone() {
            return Some(journal);
        }
        let (files, name) = (self.files.clone()?, reference.to_owned());
        let read = tokio::task::spawn_blocking(move || files.log(&name)).await;
        // A log that is gone says nothing; the record stands.
        let bytes = read.ok().flatten().unwrap_or_default();
        Some(Arc::new(Journal::decode(&bytes)))
    }

    /// Records of all, or of one; and what comes from now on.
    pub(crate) fn list(
        &self,
        reference: &str,
    ) -> (Vec<control::BuildHistoryRecord>, broadcast::Receiver<control::BuildHistoryEvent>) {
        let past = self.past();
        let records = past.iter().map(|past| past.record().clone());
        let fitting = records.filter(|record| reference.is_empty() || record.reference == reference);
        (fitting.collect(), self.news.subscribe())
    }

    /// Changes a record.
    pub(crate) fn update(&self, request: &control::UpdateBuildHistoryRequest) -> Result<(), Status> {
        let missing = || Status::not_found(format!("build record {} not found", request.reference));
        let mut all = self.past();
        let at = all.iter().position(|past| past.record().reference == request.reference);
        let at = at.ok_or_else(missing)?;
        if request.delete {
            let gone = all.remove(at).ok_or_else(missing)?;
            drop(all);
            self.forget(&gone);
            return Ok(());
        }
        // There is nothing left to do for a record here.
        if request.finalize {
            return Ok(());
        }
        if request.pinned && all.iter().filter(|past| past.record().pinned).count() >= MOST_PINNED {
            return Err(Status::resource_exhausted(format!("{MOST_PINNED} builds are pinned already")));
        }
        let past = all[at].clone();
        drop(all);
        past.record().pinned = request.pinned;
        if let Some(files) = self.files.clone() {
            aside(move || past.keep(&files));
        }
        Ok(())
    }

    /// A blob that some record names.
    pub(crate) fn blob(&self, digest: &str) -> Option<Bytes> {
        let past = self.past();
        let mut blobs = past.iter().flat_map(|past| &past.blobs);
        blobs.find(|(known, _)| known.as_str() == digest).map(|(_, bytes)| bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(history: &History, reference: &str) {
        let record = control::BuildHistoryRecord { reference: reference.into(), ..Default::default() };
        history.add(Past::new(record, None, None, Arc::default()));
    }

    #[test]
    fn the_oldest_goes_unless_it_is_pinned() {
        let history = History::default();
        add(&history, "first");
        let pin = |pinned| control::UpdateBuildHistoryRequest {
            reference: "first".into(),
            pinned,
            ..Default::default()
        };
        history.update(&pin(true)).unwrap();
        for n in 0..=MOST {
            add(&history, &n.to_string());
        }
        assert!(history.find("first").is_some());
        assert!(history.find("0").is_none() && history.find("1").is_some());
        let gone = control::UpdateBuildHistoryRequest { delete: true, ..pin(false) };
        history.update(&gone).unwrap();
        assert!(history.update(&gone).is_err());
    }

    #[test]
    fn a_record_names_its_whole_error() {
        let history = History::default();
        let error = RpcStatus { code: 2, message: "no".into(), details: Vec::new() };
        let record = control::BuildHistoryRecord { reference: "r".into(), ..Default::default() };
        history.add(Past::new(record, Some(error.clone()), None, Arc::default()));
        let (records, _) = history.list("r");
        let named = records[0].external_error.clone().unwrap();
        let blob = history.blob(&named.digest).unwrap();
        assert_eq!(blob.len() as i64, named.size);
        assert_eq!(RpcStatus::decode(blob), Ok(error));
    }
}
