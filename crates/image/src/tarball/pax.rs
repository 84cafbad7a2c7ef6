//! Pax extended headers: `LENGTH KEY=VALUE\n`, where a value may hold any byte.
//!
//! The `tar` crate splits records at newlines, which breaks on binary values such as `security.capability`; these
//! are split by their lengths.

use std::str;

/// Extended attributes, as star, GNU tar and Docker write them.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// The longest list of extended headers or long name that is read, as in Go's `archive/tar`.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// What a pax header says about the entry after it.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) atime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

/// GNU's sparse files in pax: versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// Of the file with its holes.
    pub(super) size: Option<u64>,
    /// Numbers of versions 0.0 and 0.1, offsets and lengths in turn.
    pub(super) map: Vec<u64>,
}

/// Parses all records; the error names what is wrong.
pub(super) fn parse(mut data: &[u8]) -> Result<Pax, String> {
    let mut pax = Pax::default();
    while !data.is_empty() {
        let (key, value, rest) = record(data).ok_or("malformed pax record")?;
        data = rest;
        // An empty value takes an earlier one back, as if it had not been there.
        if value.is_empty() {
            continue;
        }
        apply(&mut pax, key, value)
            .ok_or_else(|| format!("bad pax value of {}", String::from_utf8_lossy(key)))?;
    }
    Ok(pax)
}

/// The first record's key and value, and what follows it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|&b| b == b' ')?;
    let length: usize = str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    if length <= space + 2 || length > data.len() || data[length - 1] != b'\n' {
        return None;
    }
    let body = &data[space + 1..length - 1];
    let equals = body.iter().position(|&b| b == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    // A NUL in a name would end it early for some readers and not for others.
    let is_text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
    if key.is_empty() || key.contains(&0) || is_text && value.contains(&0) {
        return None;
    }
    Some((key, value, &data[length..]))
}

fn apply(pax: &mut Pax, key: &[u8], value: &[u8]) -> Option<()> {
    match key {
        b"path" => pax.path = Some(value.to_vec()),
        b"linkpath" => pax.link = Some(value.to_vec()),
        b"size" => pax.size = Some(number(value)?),
        b"uid" => pax.uid = Some(u32::try_from(number(value)?).ok()?),
        b"gid" => pax.gid = Some(u32::try_from(number(value)?).ok()?),
        b"mtime" => pax.mtime = Some(time(value)?),
        b"atime" => pax.atime = Some(time(value)?),
        b"GNU.sparse.major" => pax.sparse.major = Some(number(value)?),
        b"GNU.sparse.minor" => pax.sparse.minor = Some(number(value)?),
        b"GNU.sparse.name" => pax.sparse.name = Some(value.to_vec()),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => pax.sparse.size = Some(number(value)?),
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => pax.sparse.map.push(number(value)?),
        b"GNU.sparse.map" => {
            pax.sparse.map = value.split(|&b| b == b',').map(number).collect::<Option<_>>()?;
        }
        _ => {
            if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                pax.xattrs.retain(|(n, _)| n != name);
                pax.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Some(())
}

/// A decimal number that fits in 63 bits, as Go's `ParseInt` takes it, without a sign.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok().filter(|&n| n <= i64::MAX as u64)
}

/// `-1.5` is one and a half seconds before 1970: -2 s and 500 000 000 ns.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    match whole.starts_with('-') && nanos > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}

/// Appends one record.
pub(super) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    // The length counts its own digits.
    while body + length.to_string().len() != length {
        length = body + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
