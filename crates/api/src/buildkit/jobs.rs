//! Builds of now, by the names that their clients gave them; what they built, and who waits for it.
//!
//! A build that ends, in whatever way, becomes a record of `history.rs`.

use super::{
    fault,
    history::{History, Past},
    journal::Journal,
    proto::{RpcStatus, control},
    provenance,
    sessions::Session,
};
use minke_engine::{
    build::{Built, request::BuiltImage},
    platform,
};
use minke_model::{ContainerId, Timestamp};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};
use tokio::sync::watch;
use tonic::{Code, Status};

/// How long a call about a build waits for it: clients ask for it and about it at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Builds at a time.
const MOST_JOBS: usize = 256;
/// Builds that are remembered for a moment after their end.
const MOST_ENDED: usize = 32;
/// Results of one build.
const MOST_RESULTS: usize = 1024;

/// One result of a build: an image of what was built.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Of which.
    pub(crate) built: Arc<Built>,
    /// Which of its images.
    pub(crate) number: usize,
}

impl Outcome {
    /// The image.
    pub(crate) fn image(&self) -> Option<&BuiltImage> {
        self.built.images.get(self.number)
    }
}

/// What a client's side of a build ended with: names of results, or a failure.
pub(crate) type Returned = Result<Vec<String>, RpcStatus>;

/// One build of now.
pub(crate) struct Job {
    /// As its client named it.
    pub(crate) reference: String,
    /// What was asked.
    pub(crate) request: control::SolveRequest,
    /// Whose.
    pub(crate) session: Arc<Session>,
    /// What happens in it.
    pub(crate) journal: Arc<Journal>,
    /// When it began.
    created: Timestamp,
    results: Mutex<BTreeMap<String, Outcome>>,
    returned: watch::Sender<Option<Returned>>,
    /// Becomes true when it is over.
    over: watch::Sender<bool>,
}

impl Job {
    fn results(&self) -> MutexGuard<'_, BTreeMap<String, Outcome>> {
        self.results.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A result by its name.
    pub(crate) fn result(&self, id: &str) -> Result<Outcome, Status> {
        self.results().get(id).cloned().ok_or_else(|| Status::unknown(format!("no such ref: {id}")))
    }

    /// The client's side has ended.
    pub(crate) fn give_back(&self, returned: Returned) {
        self.returned.send_if_modified(|kept| {
            let first = kept.is_none();
            if first {
                *kept = Some(returned);
            }
            first
        });
    }

    /// What the client's side ended with; waits for it.
    pub(crate) async fn returned(&self) -> Returned {
        let mut returned = self.returned.subscribe();
        let waited = returned.wait_for(Option::is_some).await;
        let given = waited.ok().and_then(|returned| returned.clone());
        given.unwrap_or_else(|| Err(fault::to_rpc(&cancelled())))
    }

    /// Until it is over.
    pub(crate) async fn over(&self) {
        // An error is impossible: the sender is held.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Its record as of now.
    pub(crate) fn record(&self) -> control::BuildHistoryRecord {
        let sums = self.journal.sums();
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        control::BuildHistoryRecord {
            reference: self.reference.clone(),
            frontend: self.request.frontend.clone(),
            frontend_attrs: self.request.frontend_attrs.clone(),
            exporters: self.request.exporters.clone(),
            created_at: Some(self.created.into()),
            num_cached_steps: number(sums.cached),
            num_total_steps: number(sums.total),
            num_completed_steps: number(sums.completed),
            num_warnings: number(sums.warnings),
            ..control::BuildHistoryRecord::default()
        }
    }
}

fn no_such(reference: &str) -> Status {
    Status::not_found(format!("no such job {reference}"))
}

/// The client went away, or took its question back.
pub(crate) fn cancelled() -> Status {
    Status::cancelled("context canceled")
}

/// Builds by their names.
#[derive(Default)]
struct Known {
    running: HashMap<String, Arc<Job>>,
    /// What happened in those that ended last, the oldest first: a question about a short one may come after its end.
    ended: VecDeque<(String, Arc<Journal>)>,
}

impl Known {
    fn journal(&self, reference: &str) -> Option<Arc<Journal>> {
        if let Some(job) = self.running.get(reference) {
            return Some(job.journal.clone());
        }
        self.ended.iter().rev().find(|(name, _)| name == reference).map(|(_, journal)| journal.clone())
    }
}

/// All builds of now, and of the past.
#[derive(Default)]
pub(crate) struct Jobs {
    known: watch::Sender<Known>,
    /// Results of all of them: another build may take one as its input.
    results: Mutex<HashMap<String, (Weak<Built>, usize)>>,
    /// Those that ended.
    pub(crate) history: History,
}

/// A build under way; dropped before it has an end, it was cancelled.
pub(crate) struct Running<'a> {
    jobs: &'a Jobs,
    /// The build.
    pub(crate) job: Arc<Job>,
    ended: bool,
}

impl Jobs {
    /// With the builds of the past that `history` has.
    pub(crate) fn new(history: History) -> Self {
        Self { history, ..Self::default() }
    }

    /// Begins a build.
    pub(crate) fn begin(
        &self,
        request: control::SolveRequest,
        session: Arc<Session>,
    ) -> Result<Running<'_>, Status> {
        let reference = match request.reference.is_empty() {
            true => ContainerId::random().as_str()[..25].to_owned(),
            false => request.reference.clone(),
        };
        let job = Arc::new(Job {
            reference: reference.clone(),
            request,
            session,
            journal: Arc::default(),
            created: Timestamp::now(),
            results: Mutex::default(),
            returned: watch::Sender::new(None),
            over: watch::Sender::new(false),
        });
        let mut refused = None;
        self.known.send_if_modified(|known| {
            let running = &mut known.running;
            if running.contains_key(&reference) {
                refused = Some(Status::unknown(format!("job ID {reference} exists")));
            } else if running.len() >= MOST_JOBS {
                refused = Some(Status::resource_exhausted(format!("there are {MOST_JOBS} builds already")));
            } else {
                running.insert(reference.clone(), job.clone());
            }
            refused.is_none()
        });
        match refused {
            Some(refused) => Err(refused),
            None => {
                if !job.request.internal {
                    self.history.tell(control::STARTED, job.record());
                }
                Ok(Running { jobs: self, job, ended: false })
            }
        }
    }

    /// A build of now; it may begin a moment later than whoever asks about it.
    pub(crate) async fn find(&self, reference: &str) -> Result<Arc<Job>, Status> {
        let mut known = self.known.subscribe();
        let found =
            tokio::time::timeout(PATIENCE, known.wait_for(|known| known.journal(reference).is_some()));
        let known = found.await.ok().and_then(Result::ok);
        let job = known.and_then(|known| known.running.get(reference).cloned());
        job.ok_or_else(|| no_such(reference))
    }

    /// What happened in a build of now or of the past.
    pub(crate) async fn journal(&self, reference: &str) -> Result<Arc<Journal>, Status> {
        if let Some(past) = self.history.journal(reference).await {
            return Ok(past);
        }
        let mut known = self.known.subscribe();
        let found =
            tokio::time::timeout(PATIENCE, known.wait_for(|known| known.journal(reference).is_some()));
        let known = found.await.ok().and_then(Result::ok);
        known.and_then(|known| known.journal(reference)).ok_or_else(|| no_such(reference))
    }

    /// Records of all builds of now.
    pub(crate) fn active(&self) -> Vec<control::BuildHistoryRecord> {
        let known = self.known.borrow();
        known.running.values().filter(|job| !job.request.internal).map(|job| job.record()).collect()
    }

    /// Keeps what a build built; the names of its images, in their order.
    pub(crate) fn keep(&self, job: &Job, built: &Arc<Built>) -> Result<Vec<String>, Status> {
        let mut results = job.results();
        if results.len() + built.images.len() > MOST_RESULTS {
            return Err(Status::resource_exhausted(format!("more than {MOST_RESULTS} results of one build")));
        }
        let mut all = self.results.lock().unwrap_or_else(|e| e.into_inner());
        let mut names = Vec::new();
        for number in 0..built.images.len() {
            let name = ContainerId::random().as_str()[..25].to_owned();
            results.insert(name.clone(), Outcome { built: built.clone(), number });
            all.insert(name.clone(), (Arc::downgrade(built), number));
            names.push(name);
        }
        Ok(names)
    }

    /// A result of any build of now.
    pub(crate) fn result_of_any(&self, name: &str) -> Option<Outcome> {
        let all = self.results.lock().unwrap_or_else(|e| e.into_inner());
        let (built, number) = all.get(name)?;
        Some(Outcome { built: built.upgrade()?, number: *number })
    }
}

impl Running<'_> {
    /// It ended.
    pub(crate) fn end(mut self, outcome: Result<&BTreeMap<String, String>, &Status>) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Result<&BTreeMap<String, String>, &Status>) {
        self.ended = true;
        let job = &self.job;
        job.journal.close();
        if !job.request.internal {
            let mut record = job.record();
            record.completed_at = Some(Timestamp::now().into());
            record.generation = 1;
            let (mut whole, mut made_from) = (None, None);
            match outcome {
                Ok(response) => {
                    record.exporter_response = response.clone();
                    let platform = platform::format(&platform::normalize(&platform::host()));
                    let said = provenance::statement(&record, &platform, &job.journal.steps());
                    made_from = serde_json::to_vec(&said).ok();
                }
                Err(e) => {
                    let rpc = fault::to_rpc(e);
                    record.error = Some(RpcStatus { details: Vec::new(), ..rpc.clone() });
                    whole = Some(rpc);
                }
            }
            self.jobs.history.add(Past::new(record, whole, made_from, job.journal.clone()));
        }
        // Only now: whoever asks about it finds it here or there.
        self.jobs.known.send_modify(|known| {
            known.running.remove(&job.reference);
            known.ended.push_back((job.reference.clone(), job.journal.clone()));
            if known.ended.len() > MOST_ENDED {
                known.ended.pop_front();
            }
        });
        let results = std::mem::take(&mut *job.results());
        let mut all = self.jobs.results.lock().unwrap_or_else(|e| e.into_inner());
        for name in results.keys() {
            all.remove(name);
        }
        drop(all);
        job.give_back(Err(fault::to_rpc(&cancelled())));
        job.over.send_replace(true);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Err(&Status::new(Code::Cancelled, "context canceled")));
        }
    }
}

#[cfg(test)]
mod tests;
