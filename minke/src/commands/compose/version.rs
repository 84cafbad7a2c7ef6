//! `compose version`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome, show};
use serde_json::json;

/// `version`
pub(super) static COMMAND: Command = command!(VersionFlags, version, {
    name: "version",
    usage: "[OPTIONS]",
    about: "Show the version",
    arity: Arity::None,
});

flags! {
    /// Flags of `version`.
    struct VersionFlags {
        format: String ["format" 'f'], "\"pretty\" (default) or \"json\"";
        short: bool ["short"], "The number only";
    }
}

fn version(_: &Cli, flags: VersionFlags, _: Vec<String>) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    match (flags.short, flags.format.as_str()) {
        (true, _) => show(&format!("{version}\n")),
        (false, "json") => show(&format!("{}\n", json!({"version": version}))),
        (false, _) => show(&format!(
            "Minke Compose version {version}, by the rules of Docker Compose {}\n",
            minke_compose::label::TOOL_VERSION
        )),
    }
}
