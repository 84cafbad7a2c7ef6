//! `volume inspect`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::inspect::{all, raw};

/// `volume inspect`
pub(crate) static COMMAND: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Show all that is known of volumes",
    arity: Arity::AtLeast(1),
    offer: Offer::Volumes,
});

flags! {
    /// Flags of `volume inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
    }
}

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    all(&args, &flags.format, |name| Ok(raw(client, &path(name), &[])?))
}
