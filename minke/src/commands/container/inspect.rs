//! `container inspect`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::inspect::{all, raw};

/// `container inspect`
pub(crate) static COMMAND: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Show all that is known of containers",
    arity: Arity::AtLeast(1),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `container inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
        size: bool ["size" 's'], "Show sizes";
    }
}

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let query: Vec<_> = if flags.size { vec![("size", "1".to_owned())] } else { Vec::new() };
    all(&args, &flags.format, |name| {
        check_name(name)?;
        Ok(raw(client, &path(name, "/json"), &query)?)
    })
}
