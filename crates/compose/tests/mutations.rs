//! The loader takes any bytes: files of `cases/` changed at random never make it panic, hang or grow without bound, and
//! what it prints loads to the same.
//!
//! Each run takes the same changes. `MINKE_FUZZ_SECONDS=3600 cargo test -p minke-compose --test mutations` goes on with
//! others for so long, `MINKE_FUZZ_SEEDS=DIRECTORY` adds files to change.

use minke_compose::{FileError, FileKind, Files, Format, LoadOptions};
use std::time::{Duration, Instant};

/// One file, which stands wherever one is asked for: it extends and includes itself, however deep.
struct One<'a> {
    bytes: &'a [u8],
}

impl Files for One<'_> {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        match self.kind(path) {
            Some(_) if self.bytes.len() as u64 > limit => Err(FileError::TooLarge { limit }),
            Some(_) => Ok(self.bytes.to_vec()),
            None => Err(FileError::NotFound),
        }
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let known = [".yaml", ".yml", ".env"].iter().any(|end| path.ends_with(end));
        (known && !path.contains("override")).then_some(FileKind::File)
    }

    fn resolve(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }
}

/// xorshift64*: the same numbers everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// What means something in a compose file.
const WORDS: &[&str] = &[
    "${A:-",
    "${A:?",
    "${A:+",
    "}",
    "$$",
    "$A",
    "${",
    "*a ",
    "&a ",
    "<<: ",
    "!reset ",
    "!override ",
    "!!str ",
    "!!int ",
    "- ",
    ": ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "#",
    "---\n",
    "\n",
    "\t",
    "  ",
    "null",
    "~",
    "yes",
    "0x1F",
    "08",
    "1e400",
    "9223372036854775808",
    "-1",
    "2020-01-01",
    ".inf",
    "services:\n",
    "  web:\n",
    "extends: web\n",
    "extends: {file: compose.yaml, service: web}\n",
    "include: [compose.yaml]\n",
    "x-y: ",
    "ports: ",
    "\"80-90:8000-8010/udp\"",
    "volumes: ",
    "a:b:c:ro",
    "depends_on: ",
    "healthcheck: ",
    "build: ",
    "deploy: ",
    "1h2m3s",
    "64m",
    "external: true",
    "profiles: [p]",
    "\u{feff}",
    "\u{2028}",
    "é",
    "\0",
    "\r\n",
];

/// Changes some bytes.
fn mutate(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + 1 + chance.below(40)).min(bytes.len());
        match chance.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..end.max(at))),
            2 => {
                let part = bytes[at..end.max(at)].to_vec();
                let to = chance.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            3 => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len() + 1);
                let part = other[from..(from + chance.below(200)).min(other.len())].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                // A line moves in or out.
                let line = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                match chance.below(2) {
                    0 => drop(bytes.splice(line..line, *b"  ")),
                    _ if bytes[line..].starts_with(b"  ") => drop(bytes.drain(line..line + 2)),
                    _ => {}
                }
            }
            _ => {
                let word = WORDS[chance.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes
}

fn options(env_file: bool) -> LoadOptions {
    let path = if env_file { "/project/.env" } else { "/project/compose.yaml" };
    LoadOptions {
        files: vec![path.to_owned()],
        project_name: Some("fuzz".to_owned()),
        working_directory: "/project".to_owned(),
        profiles: vec!["*".to_owned()],
        all_resources: true,
        ..LoadOptions::default()
    }
}

/// Loads once; what loads is printed, and loaded again.
fn try_one(bytes: &[u8]) {
    let begin = Instant::now();
    let files = One { bytes };
    let loaded = minke_compose::load(&options(false), &files);
    let tree = minke_compose::load_model(&LoadOptions { interpolate: false, ..options(false) }, &files);
    if let Ok(tree) = &tree {
        minke_compose::variables(&tree.value);
        tree.print(Format::Json);
    }
    // As variables, too: `.env` is read before any compose file.
    let _ = minke_compose::load(&options(true), &One { bytes });
    if let Ok(loaded) = loaded {
        let printed = loaded.project.print(Format::Yaml);
        for service in loaded.project.services.values() {
            minke_compose::service_hash(service);
        }
        // Some of what compose prints it does not take: keys of SSH, port 0. What it takes stays, once defaults came in
        // where something was empty; but for odd breaks, and `$` in keys, which double.
        if ["\u{2028}", "\u{2029}", "$"].iter().any(|odd| printed.contains(odd)) {
            return;
        }
        if let Some(once) = again(&printed)
            && let Some(twice) = again(&once)
        {
            assert_eq!(twice, once, "what is printed loads to something else");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "it took {:?}", begin.elapsed());
}

/// Loads what was printed, and prints it.
fn again(printed: &str) -> Option<String> {
    let files = One { bytes: printed.as_bytes() };
    Some(minke_compose::load(&options(false), &files).ok()?.project.print(Format::Yaml))
}

#[test]
fn whatever_bytes_come_it_loads_or_refuses_them() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut directories = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases").to_owned()];
    directories.extend(std::env::var("MINKE_FUZZ_SEEDS").ok());
    for directory in directories {
        for entry in std::fs::read_dir(directory).expect("the seeds are there") {
            let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            // A case has several files; each is a seed.
            let files = text
                .split("\n== file ")
                .skip(1)
                .map(|part| part.split_once('\n').map_or("", |(_, body)| body));
            let files: Vec<Vec<u8>> =
                files.map(|body| body.split("\n== ").next().unwrap_or("").as_bytes().to_vec()).collect();
            seeds.extend(if files.is_empty() { vec![bytes.clone()] } else { files });
        }
    }
    let seconds: Option<u64> = std::env::var("MINKE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (begin, mut round) = (Instant::now(), 0u64);
    loop {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (round + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        let bytes = mutate(&seeds, &mut chance);
        let result = std::panic::catch_unwind(|| try_one(&bytes));
        if let Err(panic) = result {
            println!("round {round}, input:\n{}", String::from_utf8_lossy(&bytes));
            std::panic::resume_unwind(panic);
        }
        round += 1;
        let done = match seconds {
            Some(seconds) => begin.elapsed() > Duration::from_secs(seconds),
            None => round >= 1500,
        };
        if done {
            return println!("{round} rounds");
        }
    }
}
