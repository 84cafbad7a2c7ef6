//! Tars as different programs write them, and tars that lie.

use super::*;
use crate::{
    ImageError,
    testing::{Tar, block, entry, pax},
};

/// Keeps all bytes that are no payload.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Tap for Kept {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// All entries with their payloads.
fn read(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = TarReader::new(tar);
    let mut all = Vec::new();
    while let Some(entry) = reader.next(&mut NoTap)? {
        let mut payload = Vec::new();
        while !reader.payload()?.is_empty() {
            let chunk = reader.payload()?.to_vec();
            reader.consume(chunk.len());
            payload.extend(chunk);
        }
        all.push((entry, payload));
    }
    reader.finish(&mut NoTap)?;
    Ok(all)
}

fn refusal(tar: &[u8]) -> String {
    let error = read(tar).unwrap_err();
    assert!(matches!(error, ImageError::Tar { .. } | ImageError::TooLarge { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn what_the_writer_writes_the_reader_reads() {
    let long = format!("{}/{}", "d".repeat(120), "é".repeat(80));
    let file = Entry {
        uid: 3_000_000,
        gid: 70_000,
        mode: 0o4755,
        mtime: (-5, 0),
        xattrs: vec![
            (b"user.a".to_vec(), b"x\ny=z\0".to_vec()),
            (b"security.capability".to_vec(), vec![0, 10, 255]),
        ],
        ..entry(&long, EntryKind::File)
    };
    let link = Entry { link: "t".repeat(300).into(), ..entry("l", EntryKind::Symlink) };
    let device = Entry { device: (8, 1), ..entry("dev", EntryKind::Block) };
    let split = entry(&format!("{}/{}", "p".repeat(130), "n".repeat(90)), EntryKind::Dir);
    let all = [file, link, device, split];
    let mut tar = Tar::new();
    for entry in &all {
        tar = tar.add(entry.clone(), if entry.kind == EntryKind::File { b"hello" } else { b"" });
    }
    let got = read(&tar.end()).unwrap();
    for (entry, (got, payload)) in all.into_iter().zip(got) {
        let is_file = entry.kind == EntryKind::File;
        assert_eq!(got, Entry { size: if is_file { 5 } else { 0 }, ..entry });
        assert_eq!(payload, if is_file { &b"hello"[..] } else { b"" });
    }
}

#[test]
fn raw_bytes_and_payloads_are_the_whole_tar() {
    let tar = Tar::new().file("a", "12345").dir("d/").file("b", &"x".repeat(2000)).end();
    let mut kept = Kept::default();
    let mut reader = TarReader::new(&tar[..]);
    while reader.next(&mut kept).unwrap().is_some() {}
    assert_eq!(reader.finish(&mut kept).unwrap(), tar.len() as u64);
    assert_eq!(kept.0, tar, "payloads that nobody took are raw bytes, too");
}

#[test]
fn gnu_long_names_and_links() {
    let name = format!("{}\0", "a/".repeat(100));
    let tar = Tar::new()
        .raw(&block(b"././@LongLink", b'L', name.len() as u64, name.as_bytes()))
        .raw(&block(b"././@LongLink", b'K', 4, b"to/x"))
        .raw(&block(b"short", b'2', 0, b""))
        .end();
    let (entry, _) = &read(&tar).unwrap()[0];
    assert_eq!(entry.name(), "a/".repeat(100));
    assert_eq!(entry.link, b"to/x");
}

#[test]
fn pax_size_wins_over_the_header_and_moves_the_next_header() {
    let tar = Tar::new().raw(&pax(&[("size", b"3")])).raw(&block(b"a", b'0', 0, b"abc")).file("b", "2").end();
    let got = read(&tar).unwrap();
    assert_eq!(
        got.iter().map(|(e, p)| (e.name(), p.clone())).collect::<Vec<_>>(),
        [("a".to_owned(), b"abc".to_vec()), ("b".to_owned(), b"2".to_vec())]
    );
}

#[test]
fn pax_lies_are_refused() {
    for (records, what) in [
        (&[("size", &b"-1"[..])][..], "pax value of size"),
        (&[("size", b"99999999999999999999")], "pax value of size"),
        (&[("uid", b"4294967296")], "pax value of uid"),
        (&[("mtime", b"soon")], "pax value of mtime"),
        (&[("path", b"a\0b")], "malformed pax record"),
    ] {
        let tar = Tar::new().raw(&pax(records)).raw(&block(b"a", b'0', 0, b"")).end();
        assert!(refusal(&tar).contains(what), "{records:?}: {}", refusal(&tar));
    }
    // A record longer than all records, one that is too short, one without its newline.
    for data in ["99 path=x\n", "3 path=x\n", "9 path=xy", " 8 a=b\n", "0 =\n"] {
        let tar = Tar::new().raw(&block(b"p", b'x', data.len() as u64, data.as_bytes())).file("a", "").end();
        assert!(refusal(&tar).contains("malformed"), "{data:?}");
    }
}

#[test]
fn damage_is_found() {
    let good = Tar::new().file("a", &"x".repeat(1000)).end();
    assert!(refusal(&good[..700]).contains("ends inside of it"));
    assert!(refusal(&good[..300]).contains("ends inside of a block"));
    let mut bad = good.clone();
    bad[0] ^= 1;
    assert!(refusal(&bad).contains("checksum"));
    assert!(refusal(&b"this is not a tar".repeat(100)).contains("checksum"));
    let zero = Tar::new().raw(&[0; 512]).file("a", "").end();
    assert!(refusal(&zero).contains("zero block"));
    let huge = Tar::new().raw(&block(b"x", b'x', 2 << 20, b"")).end();
    assert!(refusal(&huge).contains("header"));
}

#[test]
fn a_huge_size_is_no_more_than_a_short_archive() {
    let mut header = block(b"a", b'0', 0, b"");
    // Base 256: 2^62.
    header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]);
    let sum: u32 = header[..148].iter().chain(&header[156..512]).map(|&b| u32::from(b)).sum::<u32>() + 8 * 32;
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(refusal(&Tar::new().raw(&header).end()).contains("ends inside of it"));
}

#[test]
fn sparse_files_in_all_three_ways() {
    // Old GNU: in the header.
    let mut header = block(b"gnu", b'S', 3, b"");
    header[257..265].copy_from_slice(b"ustar  \0");
    header[386..398].copy_from_slice(b"00000000012\0");
    header[398..410].copy_from_slice(b"00000000003\0");
    header[483..495].copy_from_slice(b"00000000024\0");
    let sum: u32 = header[..148].iter().chain(&header[156..512]).map(|&b| u32::from(b)).sum::<u32>() + 8 * 32;
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut payload = b"abc".to_vec();
    payload.resize(512, 0);
    header.extend(payload.clone());
    // Pax 0.1: in the records. Pax 1.0: before the payload.
    let map = b"1\n10\n3\n";
    let mut with_map = map.to_vec();
    with_map.resize(512, 0);
    with_map.extend(b"abc");
    let tar = Tar::new()
        .raw(&header)
        .raw(&pax(&[("GNU.sparse.map", b"10,3"), ("GNU.sparse.size", b"20"), ("GNU.sparse.name", b"p01")]))
        .raw(&block(b"x", b'0', 3, b"abc"))
        .raw(&pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"p10"),
            ("GNU.sparse.realsize", b"20"),
        ]))
        .raw(&block(b"x", b'0', 515, &with_map))
        .end();
    let got = read(&tar).unwrap();
    for ((entry, payload), name) in got.iter().zip(["gnu", "p01", "p10"]) {
        assert_eq!((entry.name().as_str(), entry.size), (name, 20));
        assert_eq!(entry.sparse.as_deref(), Some(&[(10, 3)][..]), "{name}");
        assert_eq!(payload, b"abc");
    }
    for map in ["10,3,5,1", "19,3", "0,4", "10", "9223372036854775807,3"] {
        let tar = Tar::new()
            .raw(&pax(&[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", b"20")]))
            .raw(&block(b"x", b'0', 3, b"abc"))
            .end();
        assert!(refusal(&tar).contains("map of holes"), "{map}");
    }
}

#[test]
fn an_entry_of_an_unknown_type_is_refused() {
    assert!(refusal(&Tar::new().raw(&block(b"a", b'Z', 0, b"")).end()).contains("type"));
}

#[test]
fn global_headers_are_passed_over() {
    let data = b"11 path=x\n";
    let tar = Tar::new().raw(&block(b"g", b'g', data.len() as u64, data)).file("a", "1").end();
    assert_eq!(read(&tar).unwrap()[0].0.name(), "a");
}
