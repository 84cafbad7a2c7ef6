//! `image load`, also `load`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Commas, flags};
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::commands::go_error;
use crate::commands::image::inspect::platform_json;
use crate::output::progress;
use crate::stream::terminal;
use std::fs::File;
use std::io::Read;

/// `load`
pub(crate) static COMMAND: Command = command!(LoadFlags, load, {
    name: "load",
    known_as: &["image load", "load"],
    usage: "[OPTIONS]",
    about: "Load images from an archive that was saved",
    arity: Arity::None,
});

flags! {
    /// Flags of `load`.
    struct LoadFlags {
        input: String ["input" 'i'], "Read from a file instead of stdin";
        platform: Commas ["platform"], "Load only that platform (os[/arch[/variant]])";
        quiet: bool ["quiet" 'q'], "Show no progress";
    }
}

fn load(cli: &Cli, flags: LoadFlags, _: Vec<String>) -> Outcome {
    let input: Box<dyn Read + Send> = match flags.input.as_str() {
        "" if terminal::stdin_is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        "" => Box::new(terminal::stdin()?),
        path => Box::new(
            File::open(path).map_err(|error| Failure::new(format!("open {path}: {}", go_error(&error))))?,
        ),
    };
    let quiet = flags.quiet || !terminal::stdout_is_terminal();
    let mut query = vec![("quiet", if quiet { "1" } else { "0" }.to_owned())];
    for platform in &flags.platform.0 {
        query.push(("platform", platform_json(platform)?));
    }
    let answer =
        cli.client()?.call("POST", "/images/load", &query, Payload::Stream("application/x-tar", input))?;
    progress::show(answer.body, &mut terminal::stdout()?, terminal::stdout_is_terminal(), |_| {})
}
