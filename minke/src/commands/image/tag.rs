//! `image tag`, also `tag`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome};
use minke_image::Reference;
use minke_model::go::quote;

/// `tag`
pub(crate) static COMMAND: Command = command!(NoFlags, tag, {
    name: "tag",
    known_as: &["image tag", "tag"],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Give an image one more name",
    arity: Arity::Exactly(2),
    offer: Offer::Images,
});

fn tag(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let wrong = |name: &str, why: String| {
        Failure::new(format!("Error parsing reference: {} is not a valid repository/tag: {why}", quote(name)))
    };
    let target = Reference::parse(&args[1]).map_err(|error| wrong(&args[1], error.to_string()))?;
    if target.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let target = target.or_latest();
    let query = [("repo", target.name()), ("tag", target.tag().unwrap_or_default().to_owned())];
    Ok(cli.client()?.act(&path(&args[0], "/tag"), &query)?)
}
