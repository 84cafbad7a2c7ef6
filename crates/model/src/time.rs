//! Points in time as records and answers carry them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A wall-clock time with nanoseconds, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// Seconds of the year 1 (Go's zero time) before 1970.
    const ZERO_SECONDS: i64 = -62_135_596_800;

    /// Now, by the machine's wall clock.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now())
    }

    /// Go's zero time, 0001-01-01T00:00:00Z: "never" in Docker's answers.
    pub fn zero() -> Self {
        Self(jiff::Timestamp::new(Self::ZERO_SECONDS, 0).unwrap_or(jiff::Timestamp::MIN))
    }

    /// From nanoseconds since 1970.
    pub fn from_nanos(nanos: i64) -> Self {
        Self(
            jiff::Timestamp::new(nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) as i32)
                .unwrap_or_default(),
        )
    }

    /// Parses RFC 3339 (with an offset or `Z`).
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// Whether this is "never".
    pub fn is_zero(&self) -> bool {
        self.0.as_second() == Self::ZERO_SECONDS
    }

    /// Whole seconds since 1970.
    pub fn as_second(&self) -> i64 {
        self.0.as_second()
    }

    /// Nanoseconds since 1970; saturates outside of 1677 to 2262.
    pub fn as_nanos(&self) -> i64 {
        self.0.as_nanosecond().clamp(i64::MIN as i128, i64::MAX as i128) as i64
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(&self, earlier: Timestamp) -> std::time::Duration {
        let nanos = self.0.as_nanosecond() - earlier.0.as_nanosecond();
        std::time::Duration::from_nanos(nanos.clamp(0, u64::MAX as i128) as u64)
    }

    /// For zones and calendars.
    pub fn inner(&self) -> jiff::Timestamp {
        self.0
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(inner: jiff::Timestamp) -> Self {
        Self(inner)
    }
}

impl fmt::Display for Timestamp {
    /// Go's RFC3339Nano: UTC, fraction without trailing zeros, none when zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
