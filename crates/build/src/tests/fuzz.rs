//! A fuzzer: whatever bytes a Dockerfile or an ignore file is, it is read and planned, or refused, and never more than
//! that.
//!
//! Of pieces that mean something, and of real files that are damaged. In the tests it runs for a moment; for an hour:
//! `MINKE_FUZZ=3600 cargo test -p minke-build fuzz -- --nocapture`. `SEED=` gives the seed that was printed again,
//! `MINKE_FUZZ_SEEDS=DIRECTORY` adds files to damage.

use crate::{
    Dockerfile,
    error::DockerfileError,
    ignore::{Ignore, lines},
    plan::{Base, Given, Plan, PlanOptions, Planner},
};
use minke_image::ImageConfig;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// One input may take so long, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest file that is damaged.
const MAX_SEED: usize = 16 << 10;

const PIECES: [&str; 62] = [
    "FROM ",
    "a",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "CMD ",
    "--mount=",
    "--from=",
    "type=",
    "<<E",
    "<<-",
    "\nE\n",
    "\n",
    "\\\n",
    "\r\n",
    "# escape=`\n",
    "`",
    "\\",
    "\"",
    "'",
    "$",
    "${",
    "}",
    ":-",
    "/",
    "[",
    "]",
    ",",
    "=",
    " ",
    "\t",
    "é",
    "\u{feff}",
    "\0",
    "AS ",
    "ARG ",
    "SHELL ",
    "# check=",
    "\u{2003}",
    "FROM a AS b\n",
    "ARG V=1\n",
    "ENV V=$V$V\n",
    "WORKDIR $V\n",
    "USER ",
    "LABEL ",
    "EXPOSE 80-90/tcp\n",
    "VOLUME [\"/v\"]\n",
    "%",
    "#",
    "##",
    "//",
    "/#/x/y",
    "--chmod=",
    "--link ",
    "--exclude=*",
    "type=cache,target=/c",
    "--platform=",
    "0",
    "*",
];

const WHOLE: [&str; 3] = [
    "# syntax=docker/dockerfile:1\nARG V=3\nFROM --platform=$BUILDPLATFORM golang:${V:-1} AS build\nWORKDIR /src\n\
     RUN --mount=type=cache,target=/c,id=x --mount=type=bind,from=base,source=/a,target=/b go build -o /x ./...\n\
     FROM debian AS base\nENV A=1 B=\"$A two\" C='$A'\nFROM base\nCOPY --from=build --chown=1:2 --chmod=755 /x /y /z/\n\
     ONBUILD RUN echo $A\nHEALTHCHECK --interval=5s CMD [\"x\"]\nCMD [\"/z/x\", \"a b\"]\n",
    "FROM a\nRUN <<EOF\necho \"$A\"\nEOF\nCOPY <<-\"X\" <<Y /d/\n\tone\n\tX\ntwo $V\nY\nADD --checksum=sha256:00 https://h/f /f\n\
     ADD https://h/r.git#main:sub /r\nCOPY --parents ./a/./b*/c /p/\nLABEL a=b \"c d\"=e\\\n  f=g\n",
    "# escape=`\nFROM scratch\nSHELL [\"a\", \"b\"]\nRUN a `\n  b\nVOLUME /a /b\nUSER ${U:?none}\nSTOPSIGNAL 9\n",
];

/// Numbers that look random and follow from a seed (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit.max(1) as u64) as usize
    }

    fn piece(&mut self) -> &'static [u8] {
        PIECES[self.below(PIECES.len())].as_bytes()
    }

    /// A file of pieces, or one of `whole` that is damaged.
    fn file(&mut self, whole: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.below(3) == 0 {
            for _ in 0..self.below(40) {
                match self.below(8) {
                    0 => bytes.push(self.below(256) as u8),
                    _ => bytes.extend(self.piece()),
                }
            }
            return bytes;
        }
        bytes.extend(&whole[self.below(whole.len())]);
        for _ in 0..1 + self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(80)).min(bytes.len());
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, again);
                }
                _ => drop(bytes.splice(at..at, self.piece().iter().copied())),
            }
        }
        bytes
    }
}

fn plan(bytes: &[u8], options: PlanOptions, config: &Arc<ImageConfig>) -> Result<Plan, DockerfileError> {
    let file = Dockerfile::parse("Dockerfile", bytes)?;
    let mut planner = Planner::new(file, options)?;
    while let Some(wanted) = planner.wanted().into_iter().next() {
        let config = matches!(wanted.what, Base::Image(_)).then(|| config.clone());
        planner.give(wanted.id, Given { digest: None, config })?;
    }
    planner.finish()
}

fn once(bytes: &[u8], config: &Arc<ImageConfig>) {
    let build_platform = minke_image::platform::parse("linux/amd64").unwrap();
    for all_stages in [false, true] {
        let options =
            PlanOptions { build_platform: build_platform.clone(), all_stages, ..PlanOptions::default() };
        if let Err(e) = plan(bytes, options, config) {
            assert!(!e.to_string().is_empty() && !e.report().is_empty());
        }
    }
    if let Ok(ignore) = Ignore::new(&lines(bytes)) {
        for path in ["a", "a/b/c.txt", ".git/config", "é", "x\ny"] {
            ignore.matches(path);
        }
    }
}

#[test]
fn fuzz_dockerfiles() {
    let mut whole: Vec<Vec<u8>> = WHOLE.iter().map(|text| text.as_bytes().to_vec()).collect();
    if let Ok(directory) = std::env::var("MINKE_FUZZ_SEEDS") {
        let files = std::fs::read_dir(directory).unwrap().flatten();
        whole
            .extend(files.filter_map(|file| std::fs::read(file.path()).ok()).filter(|f| f.len() <= MAX_SEED));
    }
    let config = br#"{"os":"linux","architecture":"amd64","config":{"OnBuild":["COPY a b"],"Env":["P=1"]},
        "rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config = Arc::new(ImageConfig::parse(config).unwrap());
    let seconds = std::env::var("MINKE_FUZZ").ok().and_then(|s| s.parse().ok());
    let time = seconds.map_or(Duration::from_millis(700), Duration::from_secs);
    let began = Instant::now();
    let mut seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 | 1
    });
    let mut count = 0u64;
    while began.elapsed() < time {
        // The last seed that is printed is near the one that failed, or it.
        if count.is_multiple_of(1000) {
            println!("dockerfiles: SEED={seed}");
        }
        let bytes = Random(seed).file(&whole);
        let one = Instant::now();
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| once(&bytes, &config)));
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        assert!(failed.is_ok(), "SEED={seed}:\n{}", shown());
        assert!(one.elapsed() < PATIENCE, "SEED={seed} took {:?}:\n{}", one.elapsed(), shown());
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
        count += 1;
    }
    println!("dockerfiles: {count} inputs");
}
