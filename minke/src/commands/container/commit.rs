//! `commit`

use super::check_name;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use minke_image::Reference;
use serde_json::Value;

/// `commit`
pub(crate) static COMMAND: Command = command!(CommitFlags, commit, {
    name: "commit",
    known_as: &["container commit", "commit"],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Make an image of what a container changed",
    arity: Arity::Range(1, 2),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `commit`.
    struct CommitFlags {
        author: String ["author" 'a'], "Who made it";
        change: Vec<String> ["change" 'c'], "Apply an instruction of a Dockerfile to the image";
        message: String ["message" 'm'], "What it is about";
        pause: bool ["pause" 'p'] = "true", "Pause the container meanwhile";
    }
}

/// Does it for containers that are named.
pub(crate) fn commit(cli: &Cli, flags: CommitFlags, args: Vec<String>) -> Outcome {
    check_name(&args[0])?;
    let mut query =
        vec![("container", args[0].clone()), ("comment", flags.message), ("author", flags.author)];
    if let Some(name) = args.get(1).filter(|name| !name.is_empty()) {
        let reference = Reference::parse(name).map_err(|error| Failure::new(error.to_string()))?;
        if reference.digest().is_some() {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        let reference = reference.or_latest();
        query.push(("repo", reference.name()));
        query.push(("tag", reference.tag().unwrap_or_default().to_owned()));
    }
    query.extend(flags.change.into_iter().map(|change| ("changes", change)));
    if !flags.pause {
        query.push(("pause", "0".into()));
    }
    let answer = cli.client()?.post("/commit", &query, &Value::Null)?;
    show(&format!("{}\n", answer.text("Id")))
}
