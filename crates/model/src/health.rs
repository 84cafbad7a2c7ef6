//! Health checks: what is asked and what was seen.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// How to probe a container. Zero durations mean Docker's default (30 s interval, 30 s timeout, 0 s start period,
/// 5 s start interval, 3 retries).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// Docker's form: `[]` inherit, `["NONE"]`, `["CMD", arg…]`, `["CMD-SHELL", line]`.
    pub test: Option<Vec<String>>,
    /// Nanoseconds between probes.
    pub interval: i64,
    /// Nanoseconds after which a probe has failed.
    pub timeout: i64,
    /// Nanoseconds during which failures do not count.
    pub start_period: i64,
    /// Nanoseconds between probes during the start period.
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Once right at the start, too: a success counts, a failure does not. What tasks of services ask for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_start: bool,
}

/// How a container is, by its probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthState {
    /// It has no probe.
    #[default]
    None,
    /// Not known yet.
    Starting,
    /// The last probe passed.
    Healthy,
    /// `retries` probes failed in a row.
    Unhealthy,
}

impl HealthState {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::None => "none",
            HealthState::Starting => "starting",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
        }
    }
}

/// One probe's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 healthy, 1 unhealthy, -1 it could not run or timed out.
    pub exit_code: i32,
    /// At most 4096 bytes of what it said.
    pub output: String,
}

/// What was seen of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Now.
    pub state: HealthState,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last 5 probes, oldest first.
    pub log: Vec<ProbeResult>,
}
