//! `image import`, also `import`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::commands::go_error;
use crate::output::progress;
use crate::stream::terminal;
use minke_image::Reference;
use std::fs::File;

/// `import`
pub(crate) static COMMAND: Command = command!(ImportFlags, import, {
    name: "import",
    known_as: &["image import", "import"],
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Make an image of a root file system in a tar archive",
    arity: Arity::AtLeast(1),
});

flags! {
    /// Flags of `import`.
    struct ImportFlags {
        change: Vec<String> ["change" 'c'], "Apply an instruction of a Dockerfile to the image";
        message: String ["message" 'm'], "What it is about";
        platform: String ["platform"], "Platform of the image (os[/arch[/variant]])";
    }
}

fn import(cli: &Cli, flags: ImportFlags, args: Vec<String>) -> Outcome {
    let source = args[0].as_str();
    let name = args.get(1).map(String::as_str).unwrap_or_default();
    if !name.is_empty() {
        Reference::parse(name).map_err(|error| Failure::new(error.to_string()))?;
    }
    let is_address = source.starts_with("http://") || source.starts_with("https://");
    let payload = match source {
        "-" => Payload::Stream("text/plain", Box::new(terminal::stdin()?)),
        _ if is_address => Payload::None,
        path => Payload::Stream(
            "text/plain",
            Box::new(
                File::open(path)
                    .map_err(|error| Failure::new(format!("open {path}: {}", go_error(&error))))?,
            ),
        ),
    };
    let mut query = vec![("fromSrc", if is_address { source } else { "-" }.to_owned())];
    for (key, text) in
        [("repo", name), ("message", &flags.message), ("platform", &flags.platform.to_lowercase())]
    {
        if !text.is_empty() {
            query.push((key, text.to_owned()));
        }
    }
    query.extend(flags.change.into_iter().map(|change| ("changes", change)));
    let answer = cli.client()?.call("POST", "/images/create", &query, payload)?;
    progress::show(answer.body, &mut terminal::stdout()?, terminal::stdout_is_terminal(), |_| {})
}
