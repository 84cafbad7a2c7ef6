//! `logout`.

use super::key_of;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome, show};

/// `logout`
pub(crate) static COMMAND: Command = command!(NoFlags, logout, {
    name: "logout",
    usage: "[SERVER]",
    about: "Log out of a registry",
    arity: Arity::AtMost(1),
});

fn logout(cli: &Cli, _flags: NoFlags, args: Vec<String>) -> Outcome {
    let key = key_of(args.first());
    let shown = args.first().cloned().unwrap_or_else(|| key.clone());
    if !cli.config().forget(&key).map_err(Failure::new)? {
        return show(&format!("Not logged in to {shown}\n"));
    }
    show(&format!("Removing login credentials for {shown}\n"))
}
