//! `manifest push`

use super::list::{List, Part};
use super::{Registries, parse};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};

/// `manifest push`
pub(crate) static COMMAND: Command = command!(PushFlags, push, {
    name: "push",
    usage: "[OPTIONS] MANIFEST_LIST",
    about: "Send a list to its registry",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `manifest push`.
    struct PushFlags {
        insecure: bool ["insecure"], "Allow a registry without TLS";
        purge: bool ["purge" 'p'], "Forget the list here when it is there";
    }
}

fn push(cli: &Cli, flags: PushFlags, args: Vec<String>) -> Outcome {
    let list = List::of(cli, parse(&args[0])?);
    let parts = list.parts()?;
    if parts.is_empty() {
        return Err(Failure::new(format!("{} not found", list.name.full())));
    }
    for part in &parts {
        if part.os.is_empty() || part.architecture.is_empty() {
            return Err(Failure::new(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                part.asked
            )));
        }
    }
    let (raw, kind) = list.document()?;
    let remotes = parts.iter().map(Part::remote).collect::<Result<Vec<_>, _>>()?;
    let registries = Registries::of(cli, &list.name, flags.insecure)?;
    let digest = registries.put(&list.name, raw.as_bytes(), kind, &remotes)?;
    if flags.purge {
        list.forget()?;
    }
    show(&format!("{digest}\n"))
}
