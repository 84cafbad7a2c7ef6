//! `system prune`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::ClientError;
use crate::client::http::Payload;
use crate::commands::container::prune::{Pruned, containers, with_configured};
use crate::commands::image::prune::images;
use crate::commands::network::prune::networks;
use crate::commands::volume::prune::volumes;
use crate::human;
use crate::output::confirm;

/// `system prune`
pub(crate) static COMMAND: Command = command!(PruneFlags, prune, {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove all that nothing uses",
    arity: Arity::None,
});

flags! {
    /// Flags of `system prune`.
    struct PruneFlags {
        all: bool ["all" 'a'], "Remove all unused images, not just those without a name";
        filter: Filters ["filter"], "Only what matches (e.g. \"label=<key>=<value>\")";
        force: bool ["force" 'f'], "Do not ask first";
        volumes: bool ["volumes"], "Remove anonymous volumes too";
    }
}

fn warning(flags: &PruneFlags, filters: &Filters) -> String {
    let mut lines = vec!["all stopped containers", "all networks not used by at least one container"];
    if flags.volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    lines.push(if flags.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    });
    lines.push(if flags.all { "all build cache" } else { "unused build cache" });
    let mut text = format!("WARNING! This will remove:\n  - {}\n\n", lines.join("\n  - "));
    if !filters.0.is_empty() {
        let mut shown: Vec<String> =
            filters.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        shown.sort();
        text.push_str(&format!(
            "  Items to be pruned will be filtered with:\n  - {}\n\n",
            shown.join("\n  - ")
        ));
    }
    text + "Are you sure you want to continue?"
}

/// Prunes the build cache of a daemon that has one.
fn cache(cli: &Cli, filters: &Filters, all: bool) -> Result<Pruned, Failure> {
    let mut query: Vec<_> = filters.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    if all {
        query.push(("all", "1".into()));
    }
    let answer = match cli.client()?.call("POST", "/build/prune", &query, Payload::None) {
        Err(ClientError::Daemon { status: 404 | 501, .. }) => return Ok((String::new(), 0)),
        answer => answer?.json()?,
    };
    let deleted = answer.texts("CachesDeleted");
    let text = if deleted.is_empty() {
        String::new()
    } else {
        format!("Deleted build cache objects:\n{}\n", deleted.join("\n"))
    };
    Ok((text, answer.int("SpaceReclaimed")))
}

fn prune(cli: &Cli, flags: PruneFlags, _: Vec<String>) -> Outcome {
    if flags.volumes && flags.filter.0.iter().any(|(name, _)| name == "until") {
        return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    let filters = with_configured(cli, Filters(flags.filter.0.clone()));
    if !flags.force && !confirm(&warning(&flags, &filters))? {
        return Ok(());
    }
    let copy = || Filters(filters.0.clone());
    let mut freed = 0;
    let mut report = |(text, bytes): Pruned| -> Outcome {
        freed += bytes;
        if text.is_empty() { Ok(()) } else { show(&format!("{text}\n")) }
    };
    report(containers(cli, &filters)?)?;
    report(networks(cli, &filters)?)?;
    if flags.volumes {
        report(volumes(cli, &filters)?)?;
    }
    report(images(cli, copy(), flags.all)?)?;
    report(cache(cli, &filters, flags.all)?)?;
    show(&format!("Total reclaimed space: {}\n", human::size(freed as f64)))
}
