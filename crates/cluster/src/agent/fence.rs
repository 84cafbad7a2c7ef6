//! Until when fenced tasks may run: counted from the sending of the last beat that a manager acknowledged, in time
//! since boot. Past it their shims end them, with or without a daemon, before a replacement may start elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// How long after the sending of an acknowledged beat a fenced task may run. With the kill (0.5 s) and clocks that
/// differ by 1 %, it is over before a manager takes the node for Down (3.5 s of silence).
pub const FENCE: Duration = Duration::from_millis(2500);

/// The deadline of this node's fenced tasks. Clones are the same.
#[derive(Clone)]
pub struct Fence {
    session: Arc<AtomicU64>,
    deadline: Arc<watch::Sender<Option<Duration>>>,
    seen: watch::Receiver<Option<Duration>>,
}

impl Default for Fence {
    fn default() -> Self {
        let (sender, seen) = watch::channel(None);
        Fence { session: Arc::default(), deadline: Arc::new(sender), seen }
    }
}

impl Fence {
    /// A manager acknowledged the beat that was sent at `sent`, in time since boot, in this of the node's sessions.
    /// Never moves back.
    pub fn acknowledged(&self, sent: Duration, session: u64) {
        self.session.store(session, Ordering::Release);
        self.deadline.send_if_modified(|deadline| {
            let new = sent + FENCE;
            let later = deadline.is_none_or(|old| new > old);
            if later {
                *deadline = Some(new);
            }
            later
        });
    }

    /// Until when fenced tasks may run; `None`: no beat was acknowledged yet.
    pub fn deadline(&self) -> Option<Duration> {
        *self.deadline.borrow()
    }

    /// Whether a fenced task may start at `now`, by what was told in session `told`. What was told before this node came
    /// back may be older than the word that another runs in its place.
    pub fn holds(&self, now: Duration, told: u64) -> bool {
        told >= self.session.load(Ordering::Acquire) && self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// Waits for a later deadline than the last seen here.
    pub(super) async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
