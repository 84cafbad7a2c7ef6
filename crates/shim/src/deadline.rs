//! Until when a process may run that must be single in the world: a timer that no daemon has to keep.
//!
//! In CLOCK_BOOTTIME, which goes on while the machine sleeps: what slept past its deadline ends on waking.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

/// A deadline, and the timer that becomes readable then.
pub(crate) struct Deadline {
    timer: OwnedFd,
    at: (i32, i32),
}

impl Deadline {
    /// So long after boot.
    pub(crate) fn new(seconds: i32, nanos: i32) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let mut deadline = Deadline { timer, at: (0, 0) };
        deadline.push(seconds, nanos)?;
        Ok(deadline)
    }

    /// Moves on; never back.
    pub(crate) fn push(&mut self, seconds: i32, nanos: i32) -> io::Result<()> {
        if (seconds, nanos) <= self.at {
            return Ok(());
        }
        let value = Timespec { tv_sec: seconds.into(), tv_nsec: nanos.into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        self.at = (seconds, nanos);
        Ok(())
    }

    /// For `poll`.
    pub(crate) fn raw(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}
