//! Fuzzers: what comes from outside is taken or refused, and never more than that.
//!
//! Each makes inputs of which most are nearly right, from a seed that is printed and may be given (`SEED=`). In the tests
//! they run for a moment; for an hour each:
//! `MINKE_FUZZ=3600 cargo test --release -p minke-image -- fuzz random_tars damaged_tars --nocapture`. The latter two, of
//! the tar unpacker and of tars written again, are in `recipe/tests.rs`.

use crate::{
    ImageError, Images, Quiet, Reference,
    manifest::{ConfigOutline, Manifest},
    platform, reference,
    testing::{Tar, Temp, archive, block, pax},
};
use std::time::{Duration, Instant};

/// Numbers that look random and follow from a seed (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// Damages bytes a little: flips, cuts, doubles, puts in what means something.
    fn damage(&mut self, bytes: &mut Vec<u8>, words: &[&[u8]]) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(64)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let word = self.pick(words);
                    let end = (at + self.below(word.len() + 1)).min(bytes.len());
                    bytes.splice(at..end, word.iter().copied());
                }
            }
        }
    }
}

/// Runs `once` for a moment, or as long as is asked for.
fn run(name: &str, mut once: impl FnMut(&mut Random)) {
    let seconds = std::env::var("MINKE_FUZZ").ok().and_then(|s| s.parse().ok());
    let time = seconds.map_or(Duration::from_millis(700), Duration::from_secs);
    let began = Instant::now();
    let mut seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 | 1
    });
    let mut count = 0u64;
    while began.elapsed() < time {
        // The last seed that is printed is the one that failed.
        if count.is_multiple_of(1000) || seconds.is_none() {
            println!("{name}: SEED={seed}");
        }
        let mut random = Random(seed);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| once(&mut random)));
        assert!(failed.is_ok(), "{name}: SEED={seed}");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
        count += 1;
    }
    println!("{name}: {count} inputs");
}

#[test]
fn fuzz_references() {
    let words: [&[u8]; 12] = [
        b"/",
        b":",
        b"@",
        b".",
        b"__",
        b"-",
        b"localhost",
        b"[::1]:5000",
        b"A",
        b"\xc3\xa9",
        b"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"docker.io",
    ];
    let seeds = [
        "nginx",
        "quay.io/a/b:v1",
        "localhost:5000/x_y/z-1:T.2",
        "[2001:db8::1]:5000/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ];
    run("references", |random| {
        let mut text = random.pick(&seeds).as_bytes().to_vec();
        random.damage(&mut text, &words);
        let text = String::from_utf8_lossy(&text).into_owned();
        let Ok(parsed) = Reference::parse(&text) else { return };
        // What is written is read as the same, and nothing that is no name gets into a URL's path.
        assert_eq!(Reference::parse(&parsed.full()).unwrap(), parsed, "{text:?}");
        assert_eq!(Reference::parse(&parsed.familiar()).unwrap(), parsed, "{text:?}");
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/._-".contains(&b);
        assert!(parsed.path().bytes().all(safe), "{text:?}");
        assert!(!parsed.path().split('/').any(|part| matches!(part, "" | "." | "..")), "{text:?}");
        let safe = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        assert!(parsed.domain().bytes().all(safe), "{text:?}");
        let _ = reference::parse_digest(&text);
        let _ = platform::parse(&text);
    });
}

#[test]
fn fuzz_manifests() {
    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let types = [
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "text/html",
        "",
    ];
    let image = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{SHA}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{SHA}","size":9}}],"annotations":{{"a":"b"}}}}"#,
        types[1]
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{SHA}","size":3,"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
        types[2], types[1]
    );
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"],"Cmd":null}},"rootfs":{{"type":"layers","diff_ids":["{SHA}"]}},"history":[{{"created":"2020-01-01T00:00:00Z"}}]}}"#
    );
    let words: [&[u8]; 14] = [
        b"null",
        b"{}",
        b"[]",
        b"-1",
        b"1e99",
        b"18446744073709551616",
        b"\"\"",
        b"\"manifests\":",
        b"\"layers\":[",
        b"\"fsLayers\":1,",
        b"\\u0000",
        b"\xff",
        b"[[[[[[[[[[[[[[[[",
        b"\"mediaType\":\"text/html\",",
    ];
    run("manifests", |random| {
        let mut raw = random.pick(&[image.as_str(), &index, &config]).as_bytes().to_vec();
        random.damage(&mut raw, &words);
        if let Ok(Manifest::Image(image)) = Manifest::parse(&raw, random.pick(&types), "x") {
            assert!(image.layers.len() <= 1024);
        }
        let _ = ConfigOutline::parse(&raw);
        let _ = crate::ImageConfig::parse(&raw);
    });
}

#[test]
fn fuzz_archives() {
    let temp = Temp::new();
    let images = Images::open(&temp.path("image")).unwrap();
    let layer =
        Tar::new().dir("d").file("d/f", "1").symlink("l", "d").file("l/g", "2").link("h", "d/f").end();
    let docker = archive(&[layer.clone(), Tar::new().file(".wh.d", "").end()], "x:1");
    let words: [&[u8]; 10] = [
        b"../",
        b"/",
        b"\0",
        b"0000000",
        b"7777777",
        b"\x80\xff\xff\xff\xff\xff\xff\xff",
        b"manifest.json",
        b".wh.",
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
    ];
    run("archives", |random| {
        let mut tar = match random.below(3) {
            0 => Tar::new()
                .raw(&pax(&[("path", b"manifest.json")]))
                .raw(&block(b"x", b'0', 2, b"[]"))
                .raw(&docker)
                .end(),
            1 => layer.clone(),
            _ => docker.clone(),
        };
        random.damage(&mut tar, &words);
        mend(&mut tar);
        match images.load(tar.as_slice(), None, &Quiet) {
            Ok(_) => {}
            // A machine's fault would be ours.
            Err(error) => assert!(
                !matches!(
                    error,
                    ImageError::Io { .. } | ImageError::LayerMissing { .. } | ImageError::Record { .. }
                ),
                "{error:?}"
            ),
        }
        for image in images.list() {
            assert!(images.verify(&image.id).unwrap().iter().all(|part| part.damage.is_none()));
            images.remove(&image.id).unwrap();
        }
        let mut beside: Vec<_> =
            std::fs::read_dir(&temp.0).unwrap().map(|e| e.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["image"], "something outside was made");
    });
    images.0.trash.wait();
    assert_eq!(std::fs::read_dir(temp.path("image/l")).unwrap().count(), 0);
}

/// Sets the checksums of all blocks that look like headers.
fn mend(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        let sum = block[..148].iter().chain(&block[156..]).map(|&b| u32::from(b)).sum::<u32>() + 8 * 32;
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
