//! `manifest rm`

use super::list::List;
use super::parse;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome};

/// `manifest rm`
pub(crate) static COMMAND: Command = command!(NoFlags, rm, {
    name: "rm",
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Forget lists that were put together here",
    arity: Arity::AtLeast(1),
});

fn rm(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let mut missing = Vec::new();
    for name in &args {
        let list = List::of(cli, parse(name)?);
        if !list.forget()? {
            missing.push(format!("No such manifest: {}", list.name.full()));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::new(missing.join("\n"))) }
}
