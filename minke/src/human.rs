//! Sizes and spans of time for people, in docker's words; and sizes as people write them.

/// `%.{digits}g` of Go.
fn general(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let exponent: i32 =
        scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let trim = |text: String| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    if exponent < -4 || exponent >= digits as i32 {
        let mantissa = scientific.split('e').next().unwrap_or_default().to_owned();
        return format!("{}e{}{:02}", trim(mantissa), if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    trim(format!("{value:.*}", (digits as i32 - 1 - exponent).max(0) as usize))
}

fn scaled(size: f64, base: f64, digits: usize, units: &[&str]) -> String {
    let (mut size, mut at) = (size, 0);
    while size >= base && at + 1 < units.len() {
        size /= base;
        at += 1;
    }
    format!("{}{}", general(size, digits), units[at])
}

/// Decimal units, four digits: `2.063MB`.
pub(crate) fn size(bytes: f64) -> String {
    size_with(bytes, 4)
}

/// Decimal units, so many digits.
pub(crate) fn size_with(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, digits, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
}

/// Binary units, four digits: `23.54GiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
}

/// A span: `About an hour`, `3 days`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds as i64;
    let minutes = (seconds / 60.0) as i64;
    let hours = (seconds / 3600.0 + 0.5) as i64;
    match () {
        () if whole < 1 => "Less than a second".into(),
        () if whole == 1 => "1 second".into(),
        () if whole < 60 => format!("{whole} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", (seconds / 3600.0) as i64 / 24 / 365),
    }
}

/// How long ago a time was: `2 hours ago`.
pub(crate) fn ago(unix_seconds: i64) -> String {
    let now = minke_model::Timestamp::now().as_nanos() as f64 / 1e9;
    format!("{} ago", duration(now - unix_seconds as f64))
}

/// A local time as Go's default layout: `2026-11-24 08:11:05 +0000 UTC`.
pub(crate) fn local_time(unix_seconds: i64) -> String {
    local("%Y-%m-%d %H:%M:%S %z %Z", unix_seconds)
}

/// A local time as RFC 3339.
pub(crate) fn rfc3339(unix_seconds: i64) -> String {
    let text = local("%Y-%m-%dT%H:%M:%S%:z", unix_seconds);
    text.strip_suffix("+00:00").map_or(text.clone(), |head| format!("{head}Z"))
}

fn local(layout: &str, unix_seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(unix_seconds).unwrap_or_default();
    time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime(layout).to_string()
}

/// An RFC 3339 time as Go prints one: `2026-11-24 08:10:41.161395164 +0000 UTC`.
pub(crate) fn go_time(text: &str) -> String {
    match minke_model::Timestamp::parse(text) {
        Some(time) => time.to_string().replacen('T', " ", 1).replace('Z', " +0000 UTC"),
        None => text.to_owned(),
    }
}

/// Order of names in which `a2` comes before `a10`.
pub(crate) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let split = |text: &str| -> (usize, bool) {
        let digits = text.starts_with(|c: char| c.is_ascii_digit());
        (text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len()), digits)
    };
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let ((a_length, a_digits), (b_length, b_digits)) = (split(a), split(b));
        let (x, y) = (&a[..a_length], &b[..b_length]);
        let order = match (a_digits && b_digits, x.trim_start_matches('0'), y.trim_start_matches('0')) {
            (true, p, q) => p.len().cmp(&q.len()).then_with(|| p.cmp(q)).then_with(|| x.len().cmp(&y.len())),
            (false, ..) => x.cmp(y),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[a_length..], &b[b_length..]);
    }
    a.len().cmp(&b.len())
}

/// Seconds since 1970 of an RFC 3339 time; `None` for what is none.
pub(crate) fn unix_seconds(text: &str) -> Option<i64> {
    minke_model::Timestamp::parse(text).map(|time| time.as_second())
}

/// A size in binary units as people write it: `64m`, `1.5GiB`. The error is docker's sentence.
pub(crate) fn parse_ram(text: &str) -> Result<i64, String> {
    parse_size(text, 1024.0)
}

fn parse_size(text: &str, base: f64) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let at = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let number = text[..=at].trim_end_matches(' ');
    let number: f64 = number.parse().map_err(|_| {
        format!("strconv.ParseFloat: parsing {}: invalid syntax", minke_model::go::quote(number))
    })?;
    if number < 0.0 {
        return Err(invalid());
    }
    let suffix = text[at + 1..].to_lowercase();
    let wrong = || format!("invalid suffix: '{suffix}'");
    let power = match suffix.as_str() {
        "" | "b" => 0,
        _ => {
            let (unit, rest) = suffix.split_at(suffix.chars().next().map_or(0, char::len_utf8));
            if !matches!(rest, "" | "b" | "ib") {
                return Err(wrong());
            }
            1 + ["k", "m", "g", "t", "p"].iter().position(|known| *known == unit).ok_or_else(wrong)? as i32
        }
    };
    Ok((number * base.powi(power)) as i64)
}

/// The first twelve digits of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let bare = id.split_once(':').map_or(id, |(_, digits)| digits);
    bare.get(..12).unwrap_or(bare)
}

/// At most `most` columns, with `…` where something was cut.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        assert_eq!(size(2_063_000.0), "2.063MB");
        assert_eq!(size_with(2_063_000.0, 3), "2.06MB");
        assert_eq!(size(0.0), "0B");
        assert_eq!(size_with(999_950.0, 3), "1e+03kB");
        assert_eq!(bytes(25_273_344_000.0), "23.54GiB");
        assert_eq!(bytes(495_616.0), "484KiB");
        assert_eq!(size(1_030.0), "1.03kB");
    }

    #[test]
    fn spans_read_as_dockers() {
        for (seconds, want) in [
            (0.4, "Less than a second"),
            (1.9, "1 second"),
            (59.0, "59 seconds"),
            (61.0, "About a minute"),
            (3599.0, "59 minutes"),
            (3600.0, "About an hour"),
            (3.0 * 3600.0, "3 hours"),
            (72.0 * 3600.0, "3 days"),
            (20.0 * 86400.0, "2 weeks"),
            (90.0 * 86400.0, "3 months"),
            (800.0 * 86400.0, "2 years"),
        ] {
            assert_eq!(duration(seconds), want);
        }
    }

    #[test]
    fn sizes_are_read_with_or_without_units() {
        for (text, want) in [
            ("100000000b", 100_000_000),
            ("65536k", 64 << 20),
            ("64m", 64 << 20),
            ("1g", 1 << 30),
            ("0.0625G", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("32 kb", 32 << 10),
            ("7", 7),
        ] {
            assert_eq!(parse_ram(text), Ok(want), "{text}");
        }
        assert_eq!(parse_ram("lots").unwrap_err(), "invalid size: 'lots'");
        assert_eq!(parse_ram("1x").unwrap_err(), "invalid suffix: 'x'");
        assert_eq!(parse_ram("-1").unwrap_err(), "invalid size: '-1'");
    }

    #[test]
    fn numbers_in_names_are_numbers() {
        let mut names = ["a10", "a2", "b", "a", "a02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "a2", "a02", "a10", "b"]);
    }

    #[test]
    fn ids_and_texts_are_cut() {
        assert_eq!(short_id("sha256:e606a4a00c37dab0ba3c"), "e606a4a00c37");
        assert_eq!(ellipsis("\"sleep 1000 and more than that\"", 20), "\"sleep 1000 and mor…");
    }
}
