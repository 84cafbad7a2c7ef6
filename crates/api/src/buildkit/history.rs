//! Builds of the past, as `docker buildx history` shows them: the last ones, and those that a user pinned.
//!
//! Kept in memory: a restart of the daemon forgets them.

use super::{
    journal::Journal,
    proto::{RpcStatus, control},
    provenance,
};
use bytes::Bytes;
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
/// Bytes of output of all of them together; the oldest's go first.
const MOST_SAID: usize = 64 << 20;
/// Events that a slow listener may be behind.
const BEHIND: usize = 256;
/// What a whole error is (BuildKit `solver/llbsolver/history.go`).
const ERROR_TYPE: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// One build that ended.
pub(crate) struct Past {
    record: Mutex<control::BuildHistoryRecord>,
    /// What happened in it.
    pub(crate) journal: Arc<Journal>,
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
        Self { record: Mutex::new(record), journal, blobs }
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
}

impl Default for History {
    fn default() -> Self {
        Self { past: Mutex::default(), news: broadcast::Sender::new(BEHIND) }
    }
}

impl History {
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
            self.tell(control::DELETED, gone.record().clone());
        }
        let mut said = 0;
        for past in all.iter().rev() {
            said += past.journal.said();
            if said > MOST_SAID {
                past.journal.forget_logs();
            }
        }
        drop(all);
        self.tell(control::COMPLETE, record);
    }

    /// A build by its name.
    pub(crate) fn find(&self, reference: &str) -> Option<Arc<Past>> {
        self.past().iter().find(|past| past.record().reference == reference).cloned()
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
            self.tell(control::DELETED, gone.record().clone());
            return Ok(());
        }
        // There is nothing left to do for a record here.
        if request.finalize {
            return Ok(());
        }
        if request.pinned && all.iter().filter(|past| past.record().pinned).count() >= MOST_PINNED {
            return Err(Status::resource_exhausted(format!("{MOST_PINNED} builds are pinned already")));
        }
        all[at].record().pinned = request.pinned;
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
