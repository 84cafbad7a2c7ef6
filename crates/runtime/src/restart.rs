//! When a container that ended is started again, and after how long (moby `restartmanager`). Pure: no clock.

use minke_model::restart::RestartPolicy;
use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);
/// Who ran this long has recovered: the wait begins anew.
const RECOVERED: Duration = Duration::from_secs(10);

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// 128 + n after signal n.
    pub exit_code: i32,
    /// How long it ran.
    pub ran: Duration,
    /// A user stopped or killed it.
    pub by_user: bool,
    /// It was stopped because its health check failed.
    pub unhealthy: bool,
}

/// Restarts since a user started it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How many.
    pub restarts: u32,
    /// The last wait; zero before the first.
    pub wait: Duration,
}

/// A restart that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// After this long.
    pub after: Duration,
    /// For the next decision.
    pub history: History,
}

/// Whether and when a container that ended is started again: 100 ms, doubled each time up to a minute.
pub fn next(policy: RestartPolicy, ended: Ended, history: History) -> Option<Restart> {
    // Whoever stops a container means it, whatever the policy; the daemon's next start is another matter.
    if ended.by_user || !wants(policy, ended, history.restarts) {
        return None;
    }
    let after = match history.wait {
        _ if ended.ran >= RECOVERED => FIRST,
        Duration::ZERO => FIRST,
        last => (last * 2).min(LONGEST),
    };
    Some(Restart { after, history: History { restarts: history.restarts.saturating_add(1), wait: after } })
}

/// Whether a container that does not run when the daemon starts is started.
pub fn at_daemon_start(policy: RestartPolicy, exit_code: i32, stopped_by_user: bool, restarts: u32) -> bool {
    let ended = Ended { exit_code, ran: Duration::ZERO, by_user: false, unhealthy: false };
    match policy {
        RestartPolicy::UnlessStopped => !stopped_by_user,
        RestartPolicy::OnUnhealthy => !stopped_by_user,
        _ => wants(policy, ended, restarts),
    }
}

/// The policy alone.
fn wants(policy: RestartPolicy, ended: Ended, restarts: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped | RestartPolicy::OnUnhealthy => true,
        RestartPolicy::OnFailure(most) => {
            (ended.exit_code != 0 || ended.unhealthy) && (most == 0 || restarts < most)
        }
    }
}

/// Whether a container that turned unhealthy is stopped, to be started again.
pub fn ends_unhealthy(policy: RestartPolicy) -> bool {
    policy == RestartPolicy::OnUnhealthy
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Ended =
        Ended { exit_code: 1, ran: Duration::from_secs(1), by_user: false, unhealthy: false };

    /// Waits, in milliseconds, of a container that ends the same way again and again.
    fn waits(policy: RestartPolicy, ended: Ended, times: usize) -> Vec<u128> {
        let mut history = History::default();
        let mut waits = Vec::new();
        while let Some(restart) = next(policy, ended, history).filter(|_| waits.len() < times) {
            waits.push(restart.after.as_millis());
            history = restart.history;
        }
        waits
    }

    #[test]
    fn waits_double_to_a_minute() {
        let all = waits(RestartPolicy::Always, CRASH, 12);
        assert_eq!(all, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
    }

    #[test]
    fn who_ran_ten_seconds_begins_anew() {
        let long = Ended { ran: Duration::from_secs(10), ..CRASH };
        assert_eq!(waits(RestartPolicy::Always, long, 3), [100, 100, 100]);
    }

    #[test]
    fn failures_are_counted_and_success_ends_them() {
        assert_eq!(waits(RestartPolicy::OnFailure(3), CRASH, 9).len(), 3);
        assert_eq!(waits(RestartPolicy::OnFailure(0), CRASH, 9).len(), 9);
        assert_eq!(waits(RestartPolicy::OnFailure(3), Ended { exit_code: 0, ..CRASH }, 9).len(), 0);
        assert_eq!(waits(RestartPolicy::No, CRASH, 9).len(), 0);
    }

    #[test]
    fn what_a_user_stopped_stays_stopped_until_the_daemon_starts() {
        let stopped = Ended { by_user: true, ..CRASH };
        for policy in [RestartPolicy::Always, RestartPolicy::UnlessStopped, RestartPolicy::OnFailure(0)] {
            assert_eq!(next(policy, stopped, History::default()), None);
        }
        assert!(at_daemon_start(RestartPolicy::Always, 0, true, 0));
        assert!(!at_daemon_start(RestartPolicy::UnlessStopped, 0, true, 0));
        assert!(at_daemon_start(RestartPolicy::UnlessStopped, 0, false, 0));
        assert!(at_daemon_start(RestartPolicy::OnFailure(2), 1, false, 1));
        assert!(!at_daemon_start(RestartPolicy::OnFailure(2), 1, false, 2));
        assert!(!at_daemon_start(RestartPolicy::No, 1, false, 0));
    }
}
