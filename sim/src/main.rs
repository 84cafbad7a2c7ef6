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

use std::process::ExitCode;

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
    let (mut passed, mut failed) = (0u64, 0u64);
    for seed in first..first.saturating_add(count) {
        if one(seed, false) == ExitCode::SUCCESS {
            passed += 1;
        } else {
            failed += 1;
        }
    }
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
    println!("seed {seed}: {} findings", run.findings.len());
    run.findings.iter().take(8).for_each(|finding| println!("  {finding}"));
    ExitCode::FAILURE
}
