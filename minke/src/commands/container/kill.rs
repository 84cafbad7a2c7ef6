//! `kill`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::output::each_at_once;

/// `kill`
pub(crate) static COMMAND: Command = command!(KillFlags, kill, {
    name: "kill",
    known_as: &["container kill", "kill"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Send containers a signal, KILL unless another is said",
    arity: Arity::AtLeast(1),
    offer: Offer::Running,
});

flags! {
    /// Flags of `kill`.
    struct KillFlags {
        signal: String ["signal" 's'], "Signal to send to the container";
    }
}

fn kill(cli: &Cli, flags: KillFlags, args: Vec<String>) -> Outcome {
    let query: Vec<_> = if flags.signal.is_empty() { Vec::new() } else { vec![("signal", flags.signal)] };
    let client = cli.client()?;
    each_at_once(&args, |name| {
        check_name(name)?;
        client.act(&path(name, "/kill"), &query)?;
        Ok(name.to_owned())
    })
}
