//! `pause` and `unpause`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Outcome};
use crate::output::each_at_once;

/// `pause`
pub(crate) static COMMAND: Command = command!(NoFlags, pause, {
    name: "pause",
    known_as: &["container pause", "pause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Freeze containers",
    arity: Arity::AtLeast(1),
    offer: Offer::Running,
});

/// `unpause`
pub(crate) static UNPAUSE: Command = command!(NoFlags, unpause, {
    name: "unpause",
    known_as: &["container unpause", "unpause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Thaw containers",
    arity: Arity::AtLeast(1),
    offer: Offer::Running,
});

fn pause(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    all(cli, "/pause", &args)
}

fn unpause(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    all(cli, "/unpause", &args)
}

fn all(cli: &Cli, verb: &str, args: &[String]) -> Outcome {
    let client = cli.client()?;
    each_at_once(args, |name| {
        check_name(name)?;
        client.act(&path(name, verb), &[])?;
        Ok(name.to_owned())
    })
}
