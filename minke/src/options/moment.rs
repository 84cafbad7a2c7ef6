//! Points in time of `--since` and `--until`: a span ago (`42m`), a date, or seconds since 1970.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use minke_model::go::{self, quote};

/// The text that the API takes: seconds, with nanoseconds where there are some.
pub(crate) fn parse(text: &str, now: jiff::Timestamp) -> Result<String, String> {
    if let Ok(nanos) = go::parse_duration(text)
        && text != "0"
    {
        let then = now.as_nanosecond() - i128::from(nanos);
        return Ok(then.div_euclid(1_000_000_000).to_string());
    }
    if let Some(moment) = date(text) {
        return Ok(format!("{}.{:09}", moment.as_second(), moment.subsec_nanosecond()));
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if seconds.parse::<i64>().is_ok() && fraction.chars().all(|c| c.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(format!("failed to parse value as time or duration: {}", quote(text)))
}

/// A date with or without a time of day, seconds, and a zone. Without a zone it is local.
fn date(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let (text, zone) = match text.strip_suffix('Z') {
        Some(rest) => (rest, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let civil = match text.split_once('T') {
        None => text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()),
        Some(_) => text.parse::<DateTime>().ok()?,
    };
    civil.to_zoned_datetime(zone).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let now = jiff::Timestamp::from_second(10_000).unwrap();
        assert_eq!(parse("42m", now).unwrap(), "7480");
        assert_eq!(parse("2013-01-02T13:23:37Z", now).unwrap(), "1357133017.000000000");
        assert_eq!(parse("2013-01-02T13:23:37.5+01:00", now).unwrap(), "1357129417.500000000");
        assert_eq!(parse("2013-01-02Z", now).unwrap(), "1357084800.000000000");
        assert_eq!(parse("2013-01-02T13:23Z", now).unwrap(), "1357132980.000000000");
        assert_eq!(parse("1136073600.000000001", now).unwrap(), "1136073600.000000001");
        assert_eq!(parse("0", now).unwrap(), "0");
        assert_eq!(
            parse("yesterday", now).unwrap_err(),
            "failed to parse value as time or duration: \"yesterday\""
        );
    }
}
