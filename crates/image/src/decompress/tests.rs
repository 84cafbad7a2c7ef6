//! Every compression, whole, in parts, and damaged.

use super::*;
use std::io::Write;

/// `bzip2` of twenty times `hello `.
const BZIP2: &[u8] = &[
    66, 90, 104, 57, 49, 65, 89, 38, 83, 89, 103, 38, 247, 49, 0, 0, 29, 145, 0, 64, 0, 2, 68, 160, 0, 48,
    205, 0, 82, 163, 26, 76, 39, 201, 132, 209, 56, 93, 201, 20, 225, 66, 65, 156, 155, 220, 196,
];

/// `xz` of the same.
const XZ: &[u8] = &[
    253, 55, 122, 88, 90, 0, 0, 4, 230, 214, 180, 70, 2, 0, 33, 1, 22, 0, 0, 0, 116, 47, 229, 163, 224, 0,
    119, 0, 12, 93, 0, 52, 25, 73, 238, 141, 233, 90, 85, 109, 47, 0, 0, 0, 6, 234, 189, 142, 136, 103, 118,
    107, 0, 1, 40, 120, 143, 226, 5, 35, 31, 182, 243, 125, 1, 0, 0, 0, 0, 4, 89, 90,
];

fn plain() -> Vec<u8> {
    b"hello ".repeat(20)
}

fn inflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (compression, stream) = sniff(bytes).unwrap();
    let mut out = Vec::new();
    compression.inflate(stream).unwrap().read_to_end(&mut out)?;
    Ok(out)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn all_are_known_by_their_first_bytes() {
    let zstd = zstd::encode_all(&plain()[..], 3).unwrap();
    for (bytes, compression) in [
        (plain(), Compression::None),
        (gzip(&plain()), Compression::Gzip),
        (zstd, Compression::Zstd),
        (BZIP2.to_vec(), Compression::Bzip2),
        (XZ.to_vec(), Compression::Xz),
    ] {
        assert_eq!(sniff(&bytes[..]).unwrap().0, compression);
        assert_eq!(inflate(&bytes).unwrap(), plain(), "{compression:?}");
        let twice = inflate(&[bytes.clone(), bytes.clone()].concat()).unwrap();
        assert_eq!(twice, plain().repeat(2), "{compression:?} in two parts");
        if compression != Compression::None {
            let error = inflate(&bytes[..bytes.len() - 5]).unwrap_err();
            let kinds =
                [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput];
            assert!(kinds.contains(&error.kind()), "{compression:?} cut off: {error:?}");
        }
    }
}

#[test]
fn short_streams_are_what_they_are() {
    for bytes in [&b""[..], b"x", b"BZ"] {
        assert_eq!(inflate(bytes).unwrap(), bytes);
    }
}

#[test]
fn skippable_frames_come_first_in_some_zstd() {
    let frame =
        [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd::encode_all(&plain()[..], 3).unwrap()]
            .concat();
    assert_eq!(inflate(&frame).unwrap(), plain());
}
