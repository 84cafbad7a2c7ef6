//! Docker's json-file format, read fast: the shape that dockerd and the shim write by hand, all else by serde.
//!
//! `{"log":"…\n","stream":"stdout","attrs":{…},"time":"2006-01-02T15:04:05.999999999Z"}` and a newline. Pure.

use super::{Attributes, Stream};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a record says besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) stream: Stream,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    /// The attributes' JSON; `None` is none.
    pub(super) attributes: Option<&'a [u8]>,
}

/// Reads one record without its newline and appends its text to `text`; `None` (and nothing appended) when it is no
/// record.
pub(super) fn parse<'a>(line: &'a [u8], text: &mut Vec<u8>, times: &mut Times) -> Option<Record<'a>> {
    let start = text.len();
    let found = fast(line, text, times);
    if found.is_none() {
        text.truncate(start);
        return slow(line, text, times);
    }
    found
}

/// The usual shape, in one pass.
fn fast<'a>(line: &'a [u8], text: &mut Vec<u8>, times: &mut Times) -> Option<Record<'a>> {
    let rest = line.strip_prefix(b"{\"log\":\"")?;
    let used = unescape(rest, text)?;
    let rest = rest[used..].strip_prefix(b"\",\"stream\":\"std")?;
    let (stream, rest) = match rest.get(..4)? {
        b"out\"" => (Stream::Stdout, &rest[4..]),
        b"err\"" => (Stream::Stderr, &rest[4..]),
        _ => return None,
    };
    let (attributes, rest) = match rest.strip_prefix(b",\"attrs\":") {
        Some(rest) => {
            let end = object_end(rest)?;
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, rest),
    };
    let time = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?;
    Some(Record { stream, at: times.parse(time)?, attributes })
}

/// Any other order or spacing of the same fields.
fn slow<'a>(line: &'a [u8], text: &mut Vec<u8>, times: &mut Times) -> Option<Record<'a>> {
    #[derive(Deserialize)]
    struct Slow<'a> {
        #[serde(default)]
        log: String,
        #[serde(default)]
        stream: String,
        #[serde(borrow, default)]
        attrs: Option<&'a serde_json::value::RawValue>,
        time: String,
    }
    let record: Slow<'_> = serde_json::from_slice(line).ok()?;
    let stream = if record.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    let at = times.parse(record.time.as_bytes())?;
    text.extend_from_slice(record.log.as_bytes());
    Some(Record {
        stream,
        at,
        attributes: record.attrs.map(|raw| raw.get().as_bytes()).filter(|raw| *raw != b"null"),
    })
}

/// The attributes of a record; what is no object of strings is none.
pub(super) fn attributes(json: &[u8]) -> Attributes {
    let map: BTreeMap<String, String> = serde_json::from_slice(json).unwrap_or_default();
    map.into_iter().collect()
}

/// Where a JSON object ends.
fn object_end(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Appends a JSON string's text; returns where its closing quote is.
fn unescape(bytes: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let plain = special(&bytes[at..])?;
        text.extend_from_slice(&bytes[at..at + plain]);
        at += plain;
        if bytes[at] == b'"' {
            return Some(at);
        }
        let (byte, used) = match bytes.get(at + 1)? {
            b'n' => (b'\n', 2),
            b'r' => (b'\r', 2),
            b't' => (b'\t', 2),
            b'"' => (b'"', 2),
            b'\\' => (b'\\', 2),
            b'/' => (b'/', 2),
            b'b' => (8, 2),
            b'f' => (12, 2),
            b'u' => {
                at += unicode(&bytes[at..], text)?;
                continue;
            }
            _ => return None,
        };
        text.push(byte);
        at += used;
    }
}

/// Appends the character of `\uXXXX` (two of them for one beyond the basic plane); returns how many bytes it took.
fn unicode(bytes: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    let unit = |from: usize| {
        let digits =
            bytes.get(from + 2..from + 6).filter(|_| bytes[from] == b'\\' && bytes[from + 1] == b'u')?;
        digits.iter().try_fold(0u32, |n, d| Some(n << 4 | (*d as char).to_digit(16)?))
    };
    let first = unit(0)?;
    let mut used = 6;
    let mut point = first;
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = unit(6).filter(|second| (0xdc00..0xe000).contains(second))
    {
        point = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        used = 12;
    }
    // Half a pair alone is no character.
    let character = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(used)
}

/// Where the first quote or backslash is. Eight bytes at a time: a byte of `x` is zero where it matches, and
/// `(x - 1) & !x` then has its high bit set (Hacker's Delight, 6-1; false hits only above a true one).
fn special(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const QUOTE: u64 = LOW * b'"' as u64;
    const BACKSLASH: u64 = LOW * b'\\' as u64;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let (q, b) = (word ^ QUOTE, word ^ BACKSLASH);
        let hits = ((q.wrapping_sub(LOW) & !q) | (b.wrapping_sub(LOW) & !b)) & HIGH;
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes[at..].iter().position(|b| matches!(b, b'"' | b'\\')).map(|more| at + more)
}

/// Where the first newline is, eight bytes at a time.
pub(super) fn newline(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const NEWLINE: u64 = LOW * b'\n' as u64;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk) ^ NEWLINE;
        let hits = word.wrapping_sub(LOW) & !word & HIGH;
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes[at..].iter().position(|b| *b == b'\n').map(|more| at + more)
}

/// Reads times, most of which share their second with the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// `2006-01-02T15:04:05` of the last one.
    text: [u8; 19],
    /// Its seconds since 1970.
    second: i64,
}

impl Times {
    /// Nanoseconds since 1970 of an RFC 3339 time.
    pub(super) fn parse(&mut self, time: &[u8]) -> Option<i64> {
        let date = time.first_chunk::<19>()?;
        let Some(fraction) = time[19..].strip_suffix(b"Z") else { return by_the_book(time) };
        if *date != self.text {
            let midnight_and_all = by_the_book(&[date.as_slice(), b"Z"].concat())?;
            (self.text, self.second) = (*date, midnight_and_all / 1_000_000_000);
        }
        let digits = match fraction {
            [] => &[],
            [b'.', digits @ ..] if !digits.is_empty() => digits,
            _ => return None,
        };
        let mut nanos = 0i64;
        for place in 0..9 {
            let digit =
                digits.get(place).map_or(Some(0), |d| d.is_ascii_digit().then(|| i64::from(d - b'0')))?;
            nanos = nanos * 10 + digit;
        }
        self.second.checked_mul(1_000_000_000)?.checked_add(nanos)
    }
}

/// Any RFC 3339 time.
fn by_the_book(time: &[u8]) -> Option<i64> {
    let time = minke_model::Timestamp::parse(std::str::from_utf8(time).ok()?)?;
    Some(time.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(String, Stream, i64, bool)> {
        let mut text = Vec::new();
        let record = parse(line.as_bytes(), &mut text, &mut Times::default())?;
        Some((String::from_utf8(text).unwrap(), record.stream, record.at, record.attributes.is_some()))
    }

    #[test]
    fn the_usual_shape_is_read() {
        let line = r#"{"log":"a \"b\" \\ \u003c\u00e9\ud83d\udc12\u001b\ud800x\tü\r\n","stream":"stderr","time":"2024-12-31T23:59:59.120000001Z"}"#;
        let expected = "a \"b\" \\ <é🐒\u{1b}\u{fffd}x\tü\r\n".to_owned();
        assert_eq!(read(line), Some((expected, Stream::Stderr, 1_735_689_599_120_000_001, false)));
    }

    #[test]
    fn attributes_and_odd_orders_are_read() {
        let with =
            r#"{"log":"x\n","stream":"stdout","attrs":{"a":"}\"","b":"2"},"time":"1970-01-01T00:00:01Z"}"#;
        assert_eq!(read(with), Some(("x\n".into(), Stream::Stdout, 1_000_000_000, true)));
        assert_eq!(
            attributes(br#"{"b":"2","a":"}\""}"#).as_ref(),
            [("a".into(), "}\"".into()), ("b".into(), "2".into())]
        );
        let odd = r#"{ "time":"1970-01-01T01:00:01+01:00", "stream":"stderr", "log":"x\n" }"#;
        assert_eq!(read(odd), Some(("x\n".into(), Stream::Stderr, 1_000_000_000, false)));
    }

    #[test]
    fn damage_is_no_record() {
        for bad in
            ["", "{", "nonsense", r#"{"log":"x"#, r#"{"log":"x","stream":"stdout","time":"yesterday"}"#]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn marks_are_found_at_every_place() {
        for length in 0..40usize {
            let mut bytes = vec![b'!'; length];
            assert_eq!((special(&bytes), newline(&bytes)), (None, None));
            for at in (0..length).rev() {
                for (mark, find) in [(b'"', special as fn(&[u8]) -> _), (b'\\', special), (b'\n', newline)] {
                    let before = std::mem::replace(&mut bytes[at], mark);
                    assert_eq!(find(&bytes), Some(at), "{mark} in {length}");
                    bytes[at] = before;
                }
            }
        }
    }

    #[test]
    fn times_of_one_second_differ_in_their_fractions() {
        let mut times = Times::default();
        let second = 1_735_689_599_000_000_000;
        for (text, nanos) in [("", 0), (".5", 500_000_000), (".000000007", 7), (".1234567891", 123_456_789)] {
            assert_eq!(
                times.parse(format!("2024-12-31T23:59:59{text}Z").as_bytes()),
                Some(second + nanos),
                "{text}"
            );
        }
        assert_eq!(times.parse(b"2025-01-01T00:00:00Z"), Some(second + 1_000_000_000));
        assert_eq!(times.parse(b"2025-01-01T00:00:00.Z"), None);
    }
}
