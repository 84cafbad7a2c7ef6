//! `network rm`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::output::warn;

/// `network rm`
pub(crate) static COMMAND: Command = command!(RmFlags, rm, {
    name: "rm",
    aliases: &["remove"],
    known_as: &["network rm", "network remove"],
    usage: "NETWORK [NETWORK...]",
    about: "Remove networks",
    arity: Arity::AtLeast(1),
    offer: Offer::Networks,
});

flags! {
    /// Flags of `network rm`.
    struct RmFlags {
        force: bool ["force" 'f'], "A network that does not exist is no error";
    }
}

fn rm(cli: &Cli, flags: RmFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let mut failed = false;
    for name in &args {
        match client.call("DELETE", &path(name, ""), &[], Payload::None) {
            Ok(answer) => {
                answer.drain()?;
                show(&format!("{name}\n"))?;
            }
            Err(error) if flags.force && error.is_not_found() => {}
            Err(error) => {
                warn(error);
                failed = true;
            }
        }
    }
    if failed { Err(Failure::new("exit status 1")) } else { Ok(()) }
}
