//! `export`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::output::file;

/// `export`
pub(crate) static COMMAND: Command = command!(ExportFlags, export, {
    name: "export",
    known_as: &["container export", "export"],
    usage: "[OPTIONS] CONTAINER",
    about: "Write a container's files as a tar archive",
    arity: Arity::Exactly(1),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `export`.
    struct ExportFlags {
        output: String ["output" 'o'], "Write to a file instead of stdout";
    }
}

/// Does it for containers that are named.
pub(crate) fn export(cli: &Cli, flags: ExportFlags, args: Vec<String>) -> Outcome {
    file::check(&flags.output).map_err(|why| {
        if why.starts_with("cowardly") {
            Failure::new(why)
        } else {
            Failure::new(format!("failed to export container: {why}"))
        }
    })?;
    check_name(&args[0])?;
    let answer = cli.client()?.call("GET", &path(&args[0], "/export"), &[], Payload::None)?;
    file::save(answer.body, &flags.output)
}
