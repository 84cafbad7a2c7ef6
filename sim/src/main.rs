//! The cluster under a seed: real managers and agents on simulated machines, wires and clocks.
//!
//! `minke-sim SEED` runs one world and prints what happened; `minke-sim --seeds N [--from SEED]` runs many and prints
//! those that found something. The same seed gives the same run, on the same commit.
//!
//! Never: used by the binary. Start at `run.rs`.

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

const USAGE: &str = "usage: minke-sim SEED | --seeds N [--from SEED]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
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

fn one(seed: u64, tell: bool) -> ExitCode {
    let run = run::run(seed);
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
