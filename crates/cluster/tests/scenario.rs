//! Scenarios as text: wishes, nodes that die, and what the loops then do, because of what.
//!
//! Each `tests/scenarios/*.txt` is played on a store in memory with a simulated clock. Lines that begin with `>` are what was
//! seen; `UPDATE=1` writes them anew. Plans are made from scratch each time: `from_scratch.rs` holds that what the daemon
//! does, from what changed, is the same.

#![allow(clippy::unwrap_used)] // Tests may fail here.

mod world;

use std::{fs, path::Path};
use world::World;

#[test]
fn scenarios_end_as_they_say() {
    let update = std::env::var_os("UPDATE").is_some();
    let only = std::env::var("ONLY").unwrap_or_default();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut different = Vec::new();
    for file in files.iter().filter(|file| file.to_string_lossy().contains(&only)) {
        let text = fs::read_to_string(file).unwrap();
        let played = play(&text);
        if played == text {
            continue;
        }
        if update {
            fs::write(file, &played).unwrap();
        } else {
            let first = text.lines().zip(played.lines()).position(|(want, is)| want != is);
            let at = first.unwrap_or_else(|| text.lines().count().min(played.lines().count()));
            different.push(format!("{}:{}: {played}", file.display(), at + 1));
        }
    }
    assert!(different.is_empty(), "UPDATE=1 takes these:\n{}", different.join("\n"));
}

/// The scenario with what is seen in it.
fn play(text: &str) -> String {
    let mut world = World::new();
    let mut played = String::new();
    for line in text.lines().filter(|line| !line.starts_with('>')) {
        played += line;
        played.push('\n');
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((verb, rest)) = words.split_first().filter(|(verb, _)| !verb.starts_with('#')) else {
            continue;
        };
        world.act(verb, rest);
        for said in world.heard() {
            played += "> ";
            played += &said;
            played.push('\n');
        }
    }
    played
}
