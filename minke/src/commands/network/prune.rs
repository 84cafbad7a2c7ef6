//! `network prune`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::Filters;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::commands::container::prune::{PruneFlags, Pruned, ask, with_configured};
use crate::output::confirm;

/// `network prune`
pub(crate) static COMMAND: Command = command!(PruneFlags, prune, {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove networks that no container uses",
    arity: Arity::None,
});

/// Prunes networks; they free no space.
pub(crate) fn networks(cli: &Cli, filters: &Filters) -> Result<Pruned, Failure> {
    let answer = ask(cli, "networks", filters)?;
    let deleted = answer.texts("NetworksDeleted");
    Ok((
        if deleted.is_empty() {
            String::new()
        } else {
            format!("Deleted Networks:\n{}\n", deleted.join("\n"))
        },
        0,
    ))
}

fn prune(cli: &Cli, flags: PruneFlags, _: Vec<String>) -> Outcome {
    let filters = with_configured(cli, flags.filter);
    if !flags.force
        && !confirm(
            "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?",
        )?
    {
        return Ok(());
    }
    let (text, _) = networks(cli, &filters)?;
    if text.is_empty() { Ok(()) } else { show(&format!("{text}\n")) }
}
