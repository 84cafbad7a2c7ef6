//! What pulls and pushes have in common: lines about layers, at a bearable pace, and work that waits for the disk.

use crate::{ImageError, Progress, ProgressEvent, Result};
use std::time::{Duration, Instant};

/// Between two reports about one layer.
pub(crate) const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Lets a report through now and then.
#[derive(Debug, Default)]
pub(crate) struct Pace(Option<Instant>);

impl Pace {
    /// Whether it is time for one.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= REPORT_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// Says one line about the whole, or about `id`.
pub(crate) fn say(progress: &dyn Progress, id: Option<&str>, status: impl Into<String>) {
    let id = id.map(str::to_owned);
    progress.report(ProgressEvent { id, status: status.into(), ..ProgressEvent::default() });
}

/// `Retrying in 2 seconds`, as dockerd counts.
pub(crate) fn retrying(pause: Duration) -> String {
    let seconds = pause.as_secs().max(1);
    format!("Retrying in {seconds} second{}", if seconds == 1 { "" } else { "s" })
}

/// Runs what waits for the disk on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(ImageError::Stream {
            what: "finish, the program ends".into(),
            source: std::io::Error::other(e),
        }),
    }
}
