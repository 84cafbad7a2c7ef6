//! `image inspect`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::commands::inspect::{all, raw};

/// `image inspect`
pub(crate) static COMMAND: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Show all that is known of images",
    arity: Arity::AtLeast(1),
    offer: Offer::Images,
});

flags! {
    /// Flags of `image inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
        platform: String ["platform"], "Inspect that platform of the image (os[/arch[/variant]])";
    }
}

/// A platform as the API takes it. The error is a sentence.
pub(crate) fn platform_json(text: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = text.split('/').collect();
    let (os, architecture, variant) = match parts.as_slice() {
        [os] => (*os, "", ""),
        [os, architecture] => (*os, *architecture, ""),
        [os, architecture, variant] => (*os, *architecture, *variant),
        _ => {
            return Err(Failure::new(format!(
                "invalid platform: {}: cannot parse platform specifier",
                minke_model::go::quote(text)
            )));
        }
    };
    let mut platform = serde_json::json!({"os": os, "architecture": architecture});
    if !variant.is_empty() {
        platform["variant"] = variant.into();
    }
    Ok(platform.to_string())
}

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let query: Vec<_> = if flags.platform.is_empty() {
        Vec::new()
    } else {
        vec![("platform", platform_json(&flags.platform)?)]
    };
    all(&args, &flags.format, |name| Ok(raw(client, &path(name, "/json"), &query)?))
}
