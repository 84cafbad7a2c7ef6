//! `image rm`, also `rmi`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::{Commas, flags};
use crate::cli::{Cli, Outcome, show};
use crate::client::http::Payload;
use crate::commands::image::inspect::platform_json;
use crate::output::{together, warn};

/// `image rm`
pub(crate) static COMMAND: Command = command!(RmFlags, rm, {
    name: "rm",
    aliases: &["remove"],
    known_as: &["image rm", "image remove", "rmi"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove images, or names of them",
    arity: Arity::AtLeast(1),
    offer: Offer::Images,
});

flags! {
    /// Flags of `rmi`.
    struct RmFlags {
        force: bool ["force" 'f'], "Remove images in use too";
        no_prune: bool ["no-prune"], "Keep parents without a name";
        platform: Commas ["platform"], "Remove only that platform of the image (os[/arch[/variant]])";
    }
}

fn rm(cli: &Cli, flags: RmFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let mut query = Vec::new();
    for (name, given) in [("force", flags.force), ("noprune", flags.no_prune)] {
        if given {
            query.push((name, "1".to_owned()));
        }
    }
    for platform in &flags.platform.0 {
        query.push(("platforms", platform_json(platform)?));
    }
    let (mut failures, mut fatal) = (Vec::new(), false);
    for name in &args {
        match client.call("DELETE", &path(name, ""), &query, Payload::None).and_then(|answer| answer.json()) {
            Ok(deleted) => {
                for item in deleted.items() {
                    let text = match item.text("Deleted") {
                        "" => format!("Untagged: {}\n", item.text("Untagged")),
                        id => format!("Deleted: {id}\n"),
                    };
                    show(&text)?;
                }
            }
            Err(error) => {
                fatal |= !(flags.force && error.is_not_found());
                failures.push(error.into());
            }
        }
    }
    match together(failures) {
        Err(failure) if !fatal => {
            warn(failure.text);
            Ok(())
        }
        outcome => outcome,
    }
}
