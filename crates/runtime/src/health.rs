//! Health checks: what is run, when, and what a result means (moby `daemon/health.go`). Pure: no clock, no process.

use minke_model::{
    Timestamp, go,
    health::{Health, HealthSpec, HealthState, ProbeResult},
};
use std::time::Duration;

/// How many results are kept.
const KEPT: usize = 5;
/// How many bytes of a probe's output are kept.
pub const OUTPUT: usize = 4096;

/// A container's health when it starts.
pub fn begin() -> Health {
    Health { state: HealthState::Starting, failing_streak: 0, log: Vec::new() }
}

/// What a probe runs; `None` when there is none.
pub fn command(spec: &HealthSpec, shell: Option<&[String]>) -> Option<Vec<String>> {
    let (kind, rest) = spec.test.as_deref()?.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" => {
            let line = rest.first()?;
            let shell = shell
                .filter(|s| !s.is_empty())
                .map_or_else(|| vec!["/bin/sh".into(), "-c".into()], <[_]>::to_vec);
            Some(shell.into_iter().chain([line.clone()]).collect())
        }
        _ => None,
    }
}

/// A duration of a spec, or its default when zero.
fn or(nanos: i64, seconds: u64) -> Duration {
    match u64::try_from(nanos) {
        Ok(nanos @ 1..) => Duration::from_nanos(nanos),
        _ => Duration::from_secs(seconds),
    }
}

/// How long a probe may take.
pub fn timeout(spec: &HealthSpec) -> Duration {
    or(spec.timeout, 30)
}

/// How long after the last probe's end, or the container's start, the next one begins.
pub fn next_after(spec: &HealthSpec, health: &Health, started: Timestamp, now: Timestamp) -> Duration {
    let starting = health.state == HealthState::Starting && now.since(started) < or(spec.start_period, 0);
    if starting { or(spec.start_interval, 5) } else { or(spec.interval, 30) }
}

/// Takes a result in; true when the state has changed.
pub fn judge(spec: &HealthSpec, health: &mut Health, started: Timestamp, result: ProbeResult) -> bool {
    let before = health.state;
    if result.exit_code == 0 {
        health.failing_streak = 0;
        health.state = HealthState::Healthy;
    } else {
        // Who has never been well may still be starting.
        let excused =
            before == HealthState::Starting && result.start.since(started) < or(spec.start_period, 0);
        if !excused {
            health.failing_streak = health.failing_streak.saturating_add(1);
            let retries = if spec.retries == 0 { 3 } else { spec.retries };
            if health.failing_streak >= retries {
                health.state = HealthState::Unhealthy;
            }
        }
    }
    health.log.push(result);
    let many = health.log.len().saturating_sub(KEPT);
    health.log.drain(..many);
    health.state != before
}

/// A probe's output as it is kept: 4096 bytes, and dots where there was more.
pub fn output(bytes: &[u8], more: bool) -> String {
    let kept = &bytes[..bytes.len().min(OUTPUT)];
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if more || bytes.len() > OUTPUT {
        text.push_str("...");
    }
    text
}

/// What is kept of a probe that took too long.
pub fn timed_out(spec: &HealthSpec, output: &str) -> String {
    let limit = go::format_duration(timeout(spec).as_nanos() as i64);
    if output.is_empty() {
        format!("Health check exceeded timeout ({limit})")
    } else {
        format!("Health check exceeded timeout ({limit}): {output}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_nanos(second * SECOND)
    }

    fn result(second: i64, exit_code: i32) -> ProbeResult {
        ProbeResult { start: at(second), end: at(second), exit_code, output: String::new() }
    }

    /// States after each result, for a container that started at 0.
    fn story(spec: &HealthSpec, results: &[(i64, i32)]) -> Vec<&'static str> {
        let mut health = begin();
        let each = results.iter().map(|(second, code)| {
            let before = health.state;
            let changed = judge(spec, &mut health, at(0), result(*second, *code));
            assert_eq!(changed, before != health.state);
            health.state.as_str()
        });
        each.collect()
    }

    #[test]
    fn three_failures_in_a_row_make_it_unhealthy_one_success_well() {
        let spec = HealthSpec::default();
        let states = story(&spec, &[(1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (6, 1), (7, 0)]);
        assert_eq!(states, ["starting", "starting", "healthy", "healthy", "healthy", "unhealthy", "healthy"]);
    }

    #[test]
    fn failures_while_starting_do_not_count_until_it_was_well() {
        let spec = HealthSpec { start_period: 100 * SECOND, retries: 1, ..Default::default() };
        assert_eq!(story(&spec, &[(1, 1), (99, 1), (100, 1)]), ["starting", "starting", "unhealthy"]);
        assert_eq!(story(&spec, &[(1, 0), (2, -1)]), ["healthy", "unhealthy"]);
    }

    #[test]
    fn probes_come_often_while_starting() {
        let spec = HealthSpec { start_period: 60 * SECOND, ..Default::default() };
        let after = |health: &Health, now| next_after(&spec, health, at(0), at(now)).as_secs();
        assert_eq!([after(&begin(), 0), after(&begin(), 59), after(&begin(), 60)], [5, 5, 30]);
        let well = Health { state: HealthState::Healthy, ..begin() };
        assert_eq!(after(&well, 1), 30);
        let own = HealthSpec { interval: 7 * SECOND, start_interval: SECOND, ..spec.clone() };
        assert_eq!(next_after(&own, &begin(), at(0), at(1)).as_secs(), 1);
        assert_eq!(next_after(&own, &well, at(0), at(1)).as_secs(), 7);
    }

    #[test]
    fn five_results_are_kept() {
        let mut health = begin();
        for second in 0..8 {
            judge(&HealthSpec::default(), &mut health, at(0), result(second, 0));
        }
        let kept: Vec<_> = health.log.iter().map(|r| r.start.as_second()).collect();
        assert_eq!(kept, [3, 4, 5, 6, 7]);
    }

    #[test]
    fn tests_are_commands_or_lines_for_a_shell() {
        let of = |test: &[&str], shell: Option<&[String]>| {
            let test = Some(test.iter().map(|t| (*t).to_owned()).collect());
            command(&HealthSpec { test, ..Default::default() }, shell).unwrap_or_default().join(" ")
        };
        assert_eq!(of(&["CMD", "a", "b c"], None), "a b c");
        assert_eq!(of(&["CMD-SHELL", "a | b"], None), "/bin/sh -c a | b");
        assert_eq!(of(&["CMD-SHELL", "a | b"], Some(&["bash".into(), "-ec".into()])), "bash -ec a | b");
        for none in [&["NONE"][..], &[], &["CMD"]] {
            assert_eq!(of(none, None), "");
        }
    }

    #[test]
    fn what_took_too_long_says_so_in_go_s_words() {
        let spec = HealthSpec { timeout: 90 * SECOND, ..Default::default() };
        assert_eq!(timed_out(&spec, "half"), "Health check exceeded timeout (1m30s): half");
        assert_eq!(output(&[b'x'; 5000], false).len(), 4099);
    }
}
