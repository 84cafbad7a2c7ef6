//! `context show`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Outcome};

/// `context show`
pub(crate) static COMMAND: Command = command!(NoFlags, show, {
    name: "show",
    usage: "",
    about: "Name the current context",
    arity: Arity::None,
});

fn show(cli: &Cli, _: NoFlags, _: Vec<String>) -> Outcome {
    crate::cli::show(&format!("{}\n", cli.context_name()))
}
