//! The clocks of simulated machines: all driven by tokio's paused time, each with its own rate and wall time.
//!
//! Tokio moves paused time on only when nothing is left to do, so a second of the cluster costs what happens in it.

use minke_model::Timestamp;
use minke_store::{Clock, Time};
use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// One machine's clocks.
pub(crate) struct MachineClock {
    start: Instant,
    /// Parts in a million that it is fast.
    fast: i64,
    /// What its wall clock showed at the start, in nanoseconds since 1970.
    wall: AtomicI64,
}

impl MachineClock {
    /// Begins now; `fast` parts in a million fast, negative: slow.
    pub(crate) fn new(start: Instant, wall: Timestamp, fast: i64) -> Self {
        MachineClock { start, fast, wall: AtomicI64::new(wall.as_nanos()) }
    }

    /// Steps the wall clock, as an administrator or NTP does.
    pub(crate) fn step_wall(&self, seconds: i64) {
        self.wall.fetch_add(seconds.saturating_mul(1_000_000_000), Ordering::Relaxed);
    }

    /// What this clock shows when so much true time has passed.
    fn shown(&self, truth: Duration) -> Duration {
        let nanos = truth.as_nanos() as i128;
        let shown = nanos + nanos * i128::from(self.fast) / 1_000_000;
        Duration::from_nanos(shown.clamp(0, i128::from(u64::MAX)) as u64)
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Time {
        Time::ZERO + self.shown(self.start.elapsed())
    }

    fn wall(&self) -> Timestamp {
        let elapsed = i64::try_from(self.now().since_start().as_nanos()).unwrap_or(i64::MAX);
        Timestamp::from_nanos(self.wall.load(Ordering::Relaxed).saturating_add(elapsed))
    }

    fn sleep_until(&self, until: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let nanos = until.since_start().as_nanos() as i128 * 1_000_000;
        let rate = 1_000_000 + i128::from(self.fast);
        let truth =
            Duration::from_nanos(((nanos + rate - 1) / rate).clamp(0, i128::from(u64::MAX / 4)) as u64);
        Box::pin(tokio::time::sleep_until(self.start + truth))
    }
}
