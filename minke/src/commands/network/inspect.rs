//! `network inspect`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::inspect::{all, raw};

/// `network inspect`
pub(crate) static COMMAND: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Show all that is known of networks",
    arity: Arity::AtLeast(1),
    offer: Offer::Networks,
});

flags! {
    /// Flags of `network inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
        verbose: bool ["verbose" 'v'], "Say more, to find out what is wrong";
    }
}

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let query: Vec<_> = if flags.verbose { vec![("verbose", "true".to_owned())] } else { Vec::new() };
    all(&args, &flags.format, |name| Ok(raw(client, &path(name, ""), &query)?))
}
