//! The one binary: the name and first word of the command line choose its role.
//!
//! `minke daemon` and `dockerd` are the daemon, `minke shim` stands beside one container, all else is
//! the command line.

mod cli;
mod client;
mod cluster;
mod commands;
mod daemon;
mod executor;
mod format;
mod human;
mod options;
mod output;
mod stream;

use daemon::Persona;
use std::process::ExitCode;

/// musl's own allocator has one lock for all threads. The feature `no_thp` keeps memory at rest small, and sets
/// nothing that containers would inherit.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let name = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    let name = name.rsplit('/').next().unwrap_or_default();
    match (name, words.first().map(String::as_str)) {
        ("dockerd", _) => daemon::main(Persona::Dockerd, &words),
        ("docker", _) => code(cli::main("docker", &words)),
        // Under whatever other name: a copy is Minke too.
        (_, Some("daemon")) => daemon::main(Persona::Minke, &words[1..]),
        (_, Some("shim")) => code(minke_shim::main(&words[1..])),
        _ => code(cli::main("minke", &words)),
    }
}

fn code(number: i32) -> ExitCode {
    ExitCode::from(u8::try_from(number).unwrap_or(1))
}
