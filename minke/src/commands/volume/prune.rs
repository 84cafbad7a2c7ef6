//! `volume prune`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome};
use crate::commands::container::prune::{Pruned, ask, report, with_configured};
use crate::output::confirm;

/// `volume prune`
pub(crate) static COMMAND: Command = command!(PruneFlags, prune, {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove volumes that no container uses",
    arity: Arity::None,
});

flags! {
    /// Flags of `volume prune`.
    struct PruneFlags {
        all: bool ["all" 'a'], "Remove all unused volumes, not just anonymous ones";
        filter: Filters ["filter"], "Only what matches (e.g. \"label=<label>\")";
        force: bool ["force" 'f'], "Do not ask first";
    }
}

/// Prunes volumes.
pub(crate) fn volumes(cli: &Cli, filters: &Filters) -> Result<Pruned, Failure> {
    let answer = ask(cli, "volumes", filters)?;
    let deleted = answer.texts("VolumesDeleted");
    let text = if deleted.is_empty() {
        String::new()
    } else {
        format!("Deleted Volumes:\n{}\n", deleted.join("\n"))
    };
    Ok((text, answer.int("SpaceReclaimed")))
}

fn prune(cli: &Cli, flags: PruneFlags, _: Vec<String>) -> Outcome {
    let mut filters = with_configured(cli, flags.filter);
    if flags.all {
        if filters.0.iter().any(|(name, _)| name == "all") {
            return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.0.push(("all".into(), "true".into()));
    }
    let which = if flags.all { "all" } else { "anonymous" };
    if !flags.force
        && !confirm(&format!(
            "WARNING! This will remove {which} local volumes not used by at least one container.\nAre you sure you want to continue?"
        ))?
    {
        return Ok(());
    }
    report(volumes(cli, &filters)?)
}
