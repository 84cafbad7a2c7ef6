//! The cluster under a seed: real managers and agents on simulated machines, wires and clocks.
//!
//! `minke-sim SEED` runs one world and prints what happened; `minke-sim --seeds N [--from SEED]` runs many and prints
//! those that found something; `--planted` sees that planted bugs are found. The same seed gives the same run, on the same commit.
//!
//! Never: used by the binary. Start at `run.rs`.

mod bugs;
mod checks;
mod clock;
mod faults;
mod machine;
mod random;
mod run;
mod wire;
mod wishes;
mod world;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

const USAGE: &str = "usage: minke-sim SEED | --seeds N [--from SEED] | --planted";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--planted"] => planted(),
        ["--seeds", count] => many(count, "0"),
        ["--seeds", count, "--from", first] => many(count, first),
        [seed] => match seed.parse() {
            Ok(seed) => one(seed, true),
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn many(count: &str, first: &str) -> ExitCode {
    let (Ok(count), Ok(first)) = (count.parse::<u64>(), first.parse::<u64>()) else { return usage() };
    let next = AtomicU64::new(first);
    let failed = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first.saturating_add(count) {
                        return;
                    }
                    if one(seed, false) != ExitCode::SUCCESS {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let passed = count - failed;
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each planted bug must be found, within so many seeds.
fn planted() -> ExitCode {
    const WITHIN: u64 = 1000;
    let (mut passed, mut failed) = (0u64, 0u64);
    for (bug, near) in bugs::ALL {
        let found = (near..near + WITHIN)
            .map(|seed| (seed, run::run(seed, Some(bug))))
            .find(|(_, run)| !run.findings.is_empty());
        match found {
            Some((seed, run)) => {
                passed += 1;
                println!("{bug:?} is found by seed {seed}: {}", run.findings[0]);
            }
            None => {
                failed += 1;
                println!("{bug:?} is NOT found by {WITHIN} seeds from {near}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, tell: bool) -> ExitCode {
    let run = run::run(seed, None);
    if tell {
        run.trace.iter().for_each(|line| println!("{line}"));
        println!("{:.1} s of the world's time, {} commits", run.age.as_secs_f64(), run.revision.number);
    }
    if run.findings.is_empty() {
        return ExitCode::SUCCESS;
    }
    // In one piece: seeds run side by side.
    let findings: String = run.findings.iter().take(8).map(|finding| format!("\n  {finding}")).collect();
    println!("seed {seed}: {} findings{findings}", run.findings.len());
    ExitCode::FAILURE
}
