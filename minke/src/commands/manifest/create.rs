//! `manifest create`

use super::list::{List, Part};
use super::{Registries, parse};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};

/// `manifest create`
pub(crate) static COMMAND: Command = command!(CreateFlags, create, {
    name: "create",
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Put a list of images together, to be annotated and pushed",
    arity: Arity::AtLeast(2),
});

flags! {
    /// Flags of `manifest create`.
    struct CreateFlags {
        amend: bool ["amend" 'a'], "Change a list that is there";
        insecure: bool ["insecure"], "Allow a registry without TLS";
    }
}

fn create(cli: &Cli, flags: CreateFlags, args: Vec<String>) -> Outcome {
    let list = List::of(cli, parse(&args[0])?);
    if list.exists() && !flags.amend {
        return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    let mut parts = Vec::new();
    for name in &args[1..] {
        let asked = parse(name)?;
        let remote = Registries::of(cli, &asked, flags.insecure)?.fetch(&asked)?;
        parts.push(Part::new(&asked, &remote)?);
    }
    // Only when all are there: a list that lacks some is none.
    for part in &parts {
        list.put(part)?;
    }
    show(&format!("Created manifest list {}\n", list.name.full()))
}
