//! Docker's json-file: `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}`, escaped byte for byte as dockerd does
//! (moby daemon/logger/jsonfilelog/jsonlog).

use super::{Stream, clock::Clock};

/// Appends one record. `line` has its newline, unless it is a piece of a longer line.
pub(super) fn record(
    out: &mut Vec<u8>,
    stream: Stream,
    line: &[u8],
    time: i64,
    clock: &mut Clock,
    attributes: &[u8],
) {
    out.reserve(line.len() + attributes.len() + 80);
    out.extend_from_slice(b"{\"log\":\"");
    escape(line, out);
    out.extend_from_slice(match stream {
        Stream::Stdout => b"\",\"stream\":\"stdout\"" as &[u8],
        Stream::Stderr => b"\",\"stream\":\"stderr\"",
    });
    out.extend_from_slice(attributes);
    out.extend_from_slice(b",\"time\":\"");
    clock.put(time, out);
    out.extend_from_slice(b"\"}\n");
}

/// `,"attrs":{…}`, or nothing.
pub(super) fn attributes(pairs: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, (name, value)) in pairs.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b",\"attrs\":{\"" } else { b",\"" });
        escape(name.as_bytes(), &mut out);
        out.extend_from_slice(b"\":\"");
        escape(value.as_bytes(), &mut out);
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Bytes that stand for themselves: ASCII without controls, quotes, backslash, and what HTML would take amiss.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0x20;
    while b < 0x80 {
        table[b] = !matches!(b as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        b += 1;
    }
    table
};

/// How many bytes at the front stand for themselves: eight at a time, by arithmetic on all of them at once (Warren,
/// "Hacker's Delight", 6-1), as this is what a busy shim spends its time on.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let w = u64::from_le_bytes(*eight);
        let control = w.wrapping_sub(0x20 * ONES) & !w;
        // `<` and `>` differ in one bit, `"` and `&` too.
        let angles = zero((w | (0x02 * ONES)) ^ (u64::from(b'>') * ONES));
        let quotes = zero((w | (0x04 * ONES)) ^ (u64::from(b'&') * ONES));
        let found = (control | w) & HIGH | angles | quotes | zero(w ^ (u64::from(b'\\') * ONES));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    bytes[at..].iter().position(|b| !PLAIN[*b as usize]).map_or(bytes.len(), |n| at + n)
}

fn escape(mut bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    loop {
        let plain = plain_length(bytes);
        out.extend_from_slice(&bytes[..plain]);
        bytes = &bytes[plain..];
        let Some(first) = bytes.first() else { return };
        let used = match first {
            b'\n' => {
                out.extend_from_slice(b"\\n");
                1
            }
            b'\r' => {
                out.extend_from_slice(b"\\r");
                1
            }
            b'"' | b'\\' => {
                out.extend_from_slice(&[b'\\', *first]);
                1
            }
            b if *b < 0x80 => {
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[(b >> 4) as usize],
                    HEX[(b & 15) as usize],
                ]);
                1
            }
            _ => wide(bytes, out),
        };
        bytes = &bytes[used..];
    }
}

/// One character beyond ASCII; what is none becomes U+FFFD, a byte at a time.
fn wide(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let head = &bytes[..bytes.len().min(4)];
    let good = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The valid part is text by definition.
        Err(e) => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or(""),
    };
    match good.chars().next() {
        Some('\u{2028}') => out.extend_from_slice(b"\\u2028"),
        Some('\u{2029}') => out.extend_from_slice(b"\\u2029"),
        Some(c) => out.extend_from_slice(&bytes[..c.len_utf8()]),
        None => out.extend_from_slice(b"\\ufffd"),
    }
    good.chars().next().map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        super::escape(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_escaped_as_dockerd_escapes_it() {
        assert_eq!(
            text(b"plain \"quoted\" \\ <a href>&\t\x1b[0m\x7f\r\n"),
            "plain \\\"quoted\\\" \\\\ \\u003ca href\\u003e\\u0026\\u0009\\u001b[0m\x7f\\r\\n"
        );
        assert_eq!(text("grüße 🐒 \u{2028}".as_bytes()), "grüße 🐒 \\u2028");
        assert_eq!(text(b"\xff\xc3\x28 \xe2\x82"), "\\ufffd\\ufffd( \\ufffd\\ufffd");
    }

    #[test]
    fn eight_at_once_find_what_one_by_one_finds() {
        for odd in 0..=255u8 {
            for place in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[place] = odd;
                bytes[19] = b'\n';
                let slow = bytes.iter().position(|b| !super::PLAIN[*b as usize]).unwrap();
                assert_eq!(super::plain_length(&bytes), slow, "{odd} at {place}");
            }
        }
    }

    #[test]
    fn attributes_are_an_object() {
        assert_eq!(super::attributes(&[]), b"");
        let pairs = [("a".to_string(), "1".to_string()), ("b".to_string(), "\"".to_string())];
        assert_eq!(super::attributes(&pairs), b",\"attrs\":{\"a\":\"1\",\"b\":\"\\\"\"}");
    }
}
