//! `diff`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Outcome, show};

/// `diff`
pub(crate) static COMMAND: Command = command!(NoFlags, diff, {
    name: "diff",
    known_as: &["container diff", "diff"],
    usage: "CONTAINER",
    about: "List files that a container added, changed or deleted",
    arity: Arity::Exactly(1),
    offer: Offer::Containers,
});

fn diff(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    check_name(&args[0])?;
    let changes = cli.client()?.get(&path(&args[0], "/changes"), &[])?;
    let mut text = String::new();
    for change in changes.items() {
        let kind = match change.int("Kind") {
            0 => "C",
            1 => "A",
            _ => "D",
        };
        text.push_str(&format!("{kind} {}\n", change.text("Path")));
    }
    show(&text)
}
