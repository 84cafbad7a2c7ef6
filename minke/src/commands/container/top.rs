//! `top`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Outcome, show};
use crate::format::tabs;

/// `top`
pub(crate) static COMMAND: Command = command!(NoFlags, top, {
    name: "top",
    known_as: &["container top", "top"],
    usage: "CONTAINER [ps OPTIONS]",
    about: "List the processes of a container",
    arity: Arity::AtLeast(1),
    interspersed: false,
    offer: Offer::Containers,
});

/// Least width of a column, as docker has it here.
const LEAST: usize = 20;

fn top(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    check_name(&args[0])?;
    let query: Vec<_> = if args.len() > 1 { vec![("ps_args", args[1..].join(" "))] } else { Vec::new() };
    let listed = cli.client()?.get(&path(&args[0], "/top"), &query)?;
    let mut text = listed.texts("Titles").join("\t") + "\n";
    for process in listed.list("Processes") {
        text.push_str(&process.items().iter().map(|cell| cell.as_text()).collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    show(&tabs::align(&text, LEAST, 3))
}
