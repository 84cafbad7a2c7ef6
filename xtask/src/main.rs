//! Chores of this workspace: `cargo xtask tidy`, `cargo xtask map`, `cargo xtask compatibility`.
//!
//! `tidy` is also a test (`cargo test -p xtask`), so that the map, the arrows and the habits hold without anyone
//! remembering them. Never: builds, downloads, or changes a file but the two generated pieces.

mod compatibility;
mod lexer;
mod map;
mod tidy;
mod workspace;

use std::process::ExitCode;
use workspace::Workspace;

const USAGE: &str = "usage: cargo xtask tidy           holds the house rules; fails with what breaks them
       cargo xtask map            rewrites the map in ARCHITECTURE.md from the manifests
       cargo xtask compatibility  rewrites docs/compatibility.md from the API's routes";

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let done = Workspace::read().and_then(|workspace| match verb.as_str() {
        "tidy" => tidy::report(&workspace),
        "map" => map::write(&workspace),
        "compatibility" => compatibility::write(&workspace),
        _ => Err(USAGE.to_owned()),
    });
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
