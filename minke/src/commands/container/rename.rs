//! `rename`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome};

/// `rename`
pub(crate) static COMMAND: Command = command!(NoFlags, rename, {
    name: "rename",
    known_as: &["container rename", "rename"],
    usage: "CONTAINER NEW_NAME",
    about: "Give a container another name",
    arity: Arity::Exactly(2),
    offer: Offer::Containers,
});

fn rename(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let (old, new) = (args[0].trim(), args[1].trim());
    check_name(old)?;
    if new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    match cli.client()?.act(&path(old, "/rename"), &[("name", new.to_owned())]) {
        Ok(()) => Ok(()),
        Err(error) => Err(Failure::new(format!("{error}\nError: failed to rename container named {old}"))),
    }
}
