//! Points and spans of time as Docker's texts have them.

use crate::error::ApiError;
use minke_model::Timestamp;
use std::time::Duration;

/// A span as people say it (`About a minute`, `3 weeks`): docker/go-units `HumanDuration`.
pub(crate) fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours) = (seconds / 60, (span.as_secs_f64() / 3600.0 + 0.5) as u64);
    match seconds {
        0 => return "Less than a second".to_owned(),
        1 => return "1 second".to_owned(),
        2..60 => return format!("{seconds} seconds"),
        _ => {}
    }
    match (minutes, hours) {
        (1, _) => "About a minute".to_owned(),
        (2..60, _) => format!("{minutes} minutes"),
        (_, 0 | 1) => "About an hour".to_owned(),
        (_, 2..48) => format!("{hours} hours"),
        (_, 48..336) => format!("{} days", hours / 24),
        (_, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", (span.as_secs_f64() / 3600.0 / 24.0 / 365.0) as u64),
    }
}

/// RFC 3339 with nine digits of fraction, as log timestamps have it.
pub(crate) fn fixed(at: Timestamp) -> String {
    format!("{:.9}", at.inner())
}

/// `seconds[.fraction]` since 1970, as the client's `since` and `until` arrive; empty is not given.
pub(crate) fn unix(text: &str) -> Result<Option<Timestamp>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |part: &str| {
        ApiError::internal(format!(
            "strconv.ParseInt: parsing {}: invalid syntax",
            minke_model::go::quote(part)
        ))
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| bad(whole))?;
    let mut nanos = 0i64;
    if !fraction.is_empty() {
        if !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad(fraction));
        }
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        nanos = digits.parse().map_err(|_| bad(fraction))?;
    }
    let total = seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(nanos));
    total.map(|n| Some(Timestamp::from_nanos(n))).ok_or_else(|| bad(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_as_docker_says_them() {
        let said = |seconds: u64| human(Duration::from_secs(seconds));
        assert_eq!(said(0), "Less than a second");
        assert_eq!(said(1), "1 second");
        assert_eq!(said(59), "59 seconds");
        assert_eq!(said(60), "About a minute");
        assert_eq!(said(179), "2 minutes");
        assert_eq!(said(3600), "About an hour");
        assert_eq!(said(3 * 3600), "3 hours");
        assert_eq!(said(72 * 3600), "3 days");
        assert_eq!(said(24 * 3600 * 21), "3 weeks");
        assert_eq!(said(24 * 3600 * 90), "3 months");
        assert_eq!(said(24 * 3600 * 365 * 3), "3 years");
    }

    #[test]
    fn client_times_are_seconds_with_a_fraction() {
        let nanos = |text: &str| unix(text).map(|t| t.map(|t| t.as_nanos()));
        assert_eq!(nanos(""), Ok(None));
        assert_eq!(nanos("12"), Ok(Some(12_000_000_000)));
        assert_eq!(nanos("12.5"), Ok(Some(12_500_000_000)));
        assert_eq!(nanos("12.000000001"), Ok(Some(12_000_000_001)));
        assert!(nanos("x").is_err());
    }

    #[test]
    fn log_times_always_have_nine_digits() {
        assert_eq!(fixed(Timestamp::from_nanos(1_500_000_000)), "1970-01-01T00:00:01.500000000Z");
    }
}
