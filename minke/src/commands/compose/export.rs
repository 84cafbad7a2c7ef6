//! `compose export`: the files of a container of a service, as a tar archive.

use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::container::export::{ExportFlags as ContainerFlags, export as export_of};

/// `export`
pub(super) static COMMAND: Command = command!(ExportFlags, export, {
    name: "export",
    usage: "[OPTIONS] SERVICE",
    about: "Write the files of a service's container as a tar archive",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `export`.
    struct ExportFlags {
        index: i64 ["index"], "Of the container of that number";
        output: String ["output" 'o'], "Write to a file instead of stdout";
    }
}

fn export(cli: &Cli, flags: ExportFlags, args: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    let id = session.container(&name, &args[0], flags.index, true)?.id;
    export_of(cli, ContainerFlags { output: flags.output }, vec![id])
}
