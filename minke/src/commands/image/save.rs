//! `image save`, also `save`

use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::{Commas, flags};
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::commands::image::inspect::platform_json;
use crate::output::file;

/// `save`
pub(crate) static COMMAND: Command = command!(SaveFlags, save, {
    name: "save",
    known_as: &["image save", "save"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Write images into an archive, to stdout or a file",
    arity: Arity::AtLeast(1),
    offer: Offer::Images,
});

flags! {
    /// Flags of `save`.
    struct SaveFlags {
        output: String ["output" 'o'], "Write to a file instead of stdout";
        platform: Commas ["platform"], "Save only that platform (os[/arch[/variant]])";
    }
}

fn save(cli: &Cli, flags: SaveFlags, args: Vec<String>) -> Outcome {
    file::check(&flags.output).map_err(|why| {
        if why.starts_with("cowardly") {
            Failure::new(why)
        } else {
            Failure::new(format!("failed to save image: {why}"))
        }
    })?;
    let mut query: Vec<_> = args.into_iter().map(|name| ("names", name)).collect();
    for platform in &flags.platform.0 {
        query.push(("platform", platform_json(platform)?));
    }
    let answer = cli.client()?.call("GET", "/images/get", &query, Payload::None)?;
    file::save(answer.body, &flags.output)
}
