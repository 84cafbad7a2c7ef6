//! `builder prune`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Bytes, Filters, flags};
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::commands::container::prune::{Pruned, report, with_configured};
use crate::output::confirm;

/// `builder prune`
pub(crate) static COMMAND: Command = command!(PruneFlags, prune, {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove what builds keep for later ones",
    arity: Arity::None,
});

flags! {
    /// Flags of `builder prune`.
    struct PruneFlags {
        all: bool ["all" 'a'], "Remove all unused build cache, not just dangling ones";
        filter: Filters ["filter"], "Provide filter values (e.g. \"until=24h\")";
        force: bool ["force" 'f'], "Do not prompt for confirmation";
        keep_storage: Bytes ["keep-storage"], "Amount of disk space to keep for cache";
    }
}

/// Prunes the cache of builds.
pub(crate) fn caches(cli: &Cli, filters: &Filters, all: bool, keep: i64) -> Result<Pruned, Failure> {
    let mut query = Vec::new();
    if all {
        query.push(("all", "1".to_owned()));
    }
    if keep > 0 {
        query.push(("keep-storage", keep.to_string()));
    }
    if let Some(filters) = filters.to_query() {
        query.push(("filters", filters));
    }
    let answer = cli.client()?.call("POST", "/build/prune", &query, Payload::None)?.json()?;
    let deleted = answer.texts("CachesDeleted");
    let text = match deleted.is_empty() {
        true => String::new(),
        false => format!("Deleted build cache objects:\n{}\n", deleted.join("\n")),
    };
    Ok((text, answer.int("SpaceReclaimed")))
}

fn prune(cli: &Cli, flags: PruneFlags, _: Vec<String>) -> Outcome {
    let which = if flags.all { "all" } else { "all dangling" };
    let question =
        format!("WARNING! This will remove {which} build cache.\nAre you sure you want to continue?");
    if !flags.force && !confirm(&question)? {
        return Ok(());
    }
    report(caches(cli, &with_configured(cli, flags.filter), flags.all, flags.keep_storage.0)?)
}
