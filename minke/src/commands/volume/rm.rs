//! `volume rm`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome, show};
use crate::client::http::Payload;
use crate::output::each;

/// `volume rm`
pub(crate) static COMMAND: Command = command!(RmFlags, rm, {
    name: "rm",
    aliases: &["remove"],
    known_as: &["volume rm", "volume remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove volumes; not those that a container uses",
    arity: Arity::AtLeast(1),
    offer: Offer::Volumes,
});

flags! {
    /// Flags of `volume rm`.
    struct RmFlags {
        force: bool ["force" 'f'], "A volume that does not exist is no error";
    }
}

fn rm(cli: &Cli, flags: RmFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let query: Vec<_> = if flags.force { vec![("force", "1".to_owned())] } else { Vec::new() };
    each(&args, |name| {
        client.call("DELETE", &path(name), &query, Payload::None)?.drain()?;
        show(&format!("{name}\n"))
    })
}
