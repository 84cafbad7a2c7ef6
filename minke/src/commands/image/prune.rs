//! `image prune`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome};
use crate::commands::container::prune::{Pruned, ask, report, with_configured};
use crate::output::confirm;

/// `image prune`
pub(crate) static COMMAND: Command = command!(PruneFlags, prune, {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove images that nothing uses",
    arity: Arity::None,
});

flags! {
    /// Flags of `image prune`.
    struct PruneFlags {
        all: bool ["all" 'a'], "Remove all unused images, not just those without a name";
        filter: Filters ["filter"], "Only what matches (e.g. \"until=<timestamp>\")";
        force: bool ["force" 'f'], "Do not ask first";
    }
}

/// Prunes images: all unused ones, or those without a name.
pub(crate) fn images(cli: &Cli, mut filters: Filters, all: bool) -> Result<Pruned, Failure> {
    filters.0.push(("dangling".into(), (!all).to_string()));
    let answer = ask(cli, "images", &filters)?;
    let mut text = String::new();
    for item in answer.list("ImagesDeleted") {
        match item.text("Untagged") {
            "" => text.push_str(&format!("deleted: {}\n", item.text("Deleted"))),
            name => text.push_str(&format!("untagged: {name}\n")),
        }
    }
    let text = if text.is_empty() { text } else { format!("Deleted Images:\n{text}") };
    Ok((text, answer.int("SpaceReclaimed")))
}

fn prune(cli: &Cli, flags: PruneFlags, _: Vec<String>) -> Outcome {
    let filters = with_configured(cli, flags.filter);
    let what = if flags.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    if !flags.force
        && !confirm(&format!("WARNING! This will remove {what}.\nAre you sure you want to continue?"))?
    {
        return Ok(());
    }
    report(images(cli, filters, flags.all)?)
}
