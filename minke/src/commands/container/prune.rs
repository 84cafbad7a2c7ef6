//! `container prune`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::format::value::Value;
use crate::human;
use crate::output::confirm;

/// `container prune`
pub(crate) static COMMAND: Command = command!(PruneFlags, prune, {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove all containers that do not run",
    arity: Arity::None,
});

flags! {
    /// Flags of the `prune` commands.
    struct PruneFlags {
        filter: Filters ["filter"], "Only what matches (e.g. \"until=<timestamp>\")";
        force: bool ["force" 'f'], "Do not ask first";
    }
}

/// What a prune removed, as text, and the bytes that it freed.
pub(crate) type Pruned = (String, i64);

/// Prints what was removed, as docker does.
pub(crate) fn report((removed, freed): Pruned) -> Outcome {
    if !removed.is_empty() {
        show(&format!("{removed}\n"))?;
    }
    show(&format!("Total reclaimed space: {}\n", human::size(freed as f64)))
}

/// Asks the daemon to prune one kind of thing.
pub(crate) fn ask(cli: &Cli, kind: &str, filters: &Filters) -> Result<Value, Failure> {
    let query: Vec<_> = filters.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    Ok(cli.client()?.call("POST", &format!("/{kind}/prune"), &query, Payload::None)?.json()?)
}

/// Prunes containers.
pub(crate) fn containers(cli: &Cli, filters: &Filters) -> Result<Pruned, Failure> {
    let answer = ask(cli, "containers", filters)?;
    let deleted = answer.texts("ContainersDeleted");
    let text = if deleted.is_empty() {
        String::new()
    } else {
        format!("Deleted Containers:\n{}\n", deleted.join("\n"))
    };
    Ok((text, answer.int("SpaceReclaimed")))
}

/// Filters of the user's configuration go with those of the flag.
pub(crate) fn with_configured(cli: &Cli, mut filters: Filters) -> Filters {
    let configured = cli.config().list("pruneFilters");
    for entry in configured {
        if let Some((name, value)) = entry.split_once('=') {
            filters.0.push((name.to_owned(), value.to_owned()));
        }
    }
    filters
}

fn prune(cli: &Cli, flags: PruneFlags, _: Vec<String>) -> Outcome {
    let filters = with_configured(cli, flags.filter);
    if !flags.force
        && !confirm("WARNING! This will remove all stopped containers.\nAre you sure you want to continue?")?
    {
        return Ok(());
    }
    report(containers(cli, &filters)?)
}
