//! What becomes of tasks, on its way to the cluster: the newest of each, in batches, again and again until it is taken.

use minke_model::{TaskId, task::TaskStatus};
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long reports gather.
const BATCH: Duration = Duration::from_millis(50);
/// Most of one batch: a commit takes no more.
const MOST: usize = 64;
/// First wait before a batch that was not taken is sent again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest such wait.
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Reports on their way: whether they were taken.
pub type Reported<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Where reports go: the store, at whatever distance.
pub trait Report: Send + Sync + 'static {
    /// Writes what became of tasks. Written twice is written once.
    ///
    /// # Errors
    /// Why it was not taken, or that nobody knows. It is sent again.
    fn report(&self, batch: Vec<(TaskId, TaskStatus)>) -> Reported<'_>;
}

/// Gathers and sends. At most one report a task waits, however long nobody listens.
pub(super) struct Reporter {
    report: Arc<dyn Report>,
    waiting: BTreeMap<TaskId, TaskStatus>,
    due: Option<Instant>,
    retry: Duration,
    sending: Option<Sending>,
}

struct Sending {
    batch: BTreeMap<TaskId, TaskStatus>,
    done: tokio::task::JoinHandle<Result<(), String>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.done.abort();
    }
}

impl Reporter {
    pub(super) fn new(report: Arc<dyn Report>) -> Self {
        Reporter { report, waiting: BTreeMap::new(), due: None, retry: RETRY_FIRST, sending: None }
    }

    /// Takes the newest of `task`.
    pub(super) fn tell(&mut self, task: TaskId, status: TaskStatus) {
        self.waiting.insert(task, status);
        self.due.get_or_insert_with(|| Instant::now() + BATCH);
    }

    /// Its record is gone: nobody wants to know.
    pub(super) fn forget(&mut self, task: &TaskId) {
        self.waiting.remove(task);
        if let Some(sending) = &mut self.sending {
            sending.batch.remove(task);
        }
    }

    /// Waits until a batch was sent, or has come back. May be dropped and called again.
    pub(super) async fn next(&mut self) {
        if let Some(sending) = &mut self.sending {
            let done = (&mut sending.done).await;
            self.came_back(done.unwrap_or_else(|error| Err(error.to_string())));
            return;
        }
        let Some(due) = self.due else { return std::future::pending().await };
        tokio::time::sleep_until(due).await;
        self.send();
    }

    /// Sends what waits, once, and waits for the answer: at the end.
    pub(super) async fn flush(&mut self) {
        if self.sending.is_none() && !self.waiting.is_empty() {
            self.send();
        }
        if self.sending.is_some() {
            self.next().await;
        }
    }

    fn send(&mut self) {
        let mut batch = BTreeMap::new();
        while batch.len() < MOST
            && let Some((task, status)) = self.waiting.pop_first()
        {
            batch.insert(task, status);
        }
        self.due = None;
        let (report, sent) = (self.report.clone(), batch.clone().into_iter().collect());
        let done = tokio::spawn(async move { report.report(sent).await });
        self.sending = Some(Sending { batch, done });
    }

    fn came_back(&mut self, done: Result<(), String>) {
        let Some(mut sending) = self.sending.take() else { return };
        let now = Instant::now();
        match done {
            Ok(()) => {
                self.retry = RETRY_FIRST;
                self.due = (!self.waiting.is_empty()).then_some(now);
            }
            Err(why) => {
                tracing::debug!("reports of {} tasks were not taken: {why}", sending.batch.len());
                for (task, status) in std::mem::take(&mut sending.batch) {
                    // A newer one has come meanwhile.
                    self.waiting.entry(task).or_insert(status);
                }
                self.due = (!self.waiting.is_empty()).then_some(now + self.retry);
                self.retry = (self.retry * 2).min(RETRY_LONGEST);
            }
        }
    }
}
