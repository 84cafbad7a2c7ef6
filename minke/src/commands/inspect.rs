//! `inspect`: any object by name; and what the `inspect` of each group shares with it.

use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::client::{Client, ClientError};
use crate::format::Template;
use crate::format::value::{Value, indent};

/// `inspect`
pub(crate) static COMMAND: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Show all that is known of containers, images, networks, volumes",
    arity: Arity::AtLeast(1),
    offer: Offer::Anything,
});

flags! {
    /// Flags of `inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
        size: bool ["size" 's'], "Show sizes, if it is a container";
        kind: Option<String> ["type"], "Inspect only objects of that type";
    }
}

/// One object as the daemon sent it.
pub(crate) fn raw(client: &Client, path: &str, query: &[(&str, String)]) -> Result<String, ClientError> {
    let bytes = client.call("GET", path, query, Payload::None)?.bytes()?;
    String::from_utf8(bytes).map_err(|error| ClientError::Protocol(error.to_string()))
}

/// Inspects each name by `get` and prints what was found, then why the rest was not.
pub(crate) fn all(
    names: &[String],
    format: &str,
    mut get: impl FnMut(&str) -> Result<String, Failure>,
) -> Outcome {
    let template = match format {
        "" | "json" => None,
        format => Some(
            Template::parse(format)
                .map_err(|why| Failure { code: 64, text: format!("template parsing error: {why}") })?,
        ),
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    let mut text = String::new();
    for name in names {
        let json = match get(name) {
            Ok(json) => json,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let Some(template) = &template else {
            found.push(json.trim().to_owned());
            continue;
        };
        let value: Value = serde_json::from_str(&json)
            .map_err(|error| Failure::new(format!("unable to read inspect data: {error}")))?;
        match template.render_value(&value) {
            Ok(line) => text.push_str(&(line + "\n")),
            Err(why) => failures.push(Failure::new(format!("template parsing error: {why}"))),
        }
    }
    if template.is_none() {
        let list = format!("[{}]", found.join(","));
        text = match format {
            "json" => list + "\n",
            _ => indent(&list, "    ") + "\n",
        };
    } else if text.is_empty() {
        text.push('\n');
    }
    show(&text)?;
    crate::output::together(failures)
}

/// The kinds that a name may mean, in docker's order, with the path that leads there.
const KINDS: &[(&str, &str)] = &[
    ("container", "/containers/{}/json"),
    ("image", "/images/{}/json"),
    ("network", "/networks/{}"),
    ("volume", "/volumes/{}"),
];

/// Kinds of docker's that are not served here yet.
const LATER: &[&str] = &["node", "service", "task", "plugin", "secret", "config"];

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    let wanted = flags.kind.as_deref().unwrap_or_default();
    if flags.kind.as_deref() == Some("") {
        return Err(Failure::new(
            "type is empty: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
        ));
    }
    if LATER.contains(&wanted) {
        return Err(Failure::new(format!(
            "inspecting a {wanted} is not there yet: it comes with a later version"
        )));
    }
    if !wanted.is_empty() && !KINDS.iter().any(|(kind, _)| *kind == wanted) {
        return Err(Failure::new(format!(
            "unknown type: {}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
            minke_model::go::quote(wanted)
        )));
    }
    let client = cli.client()?;
    all(&args, &flags.format, |name| {
        for (kind, path) in KINDS.iter().filter(|(kind, _)| wanted.is_empty() || *kind == wanted) {
            let path = path.replace("{}", &super::segment(name));
            let query: Vec<_> =
                if flags.size && *kind == "container" { vec![("size", "1".to_owned())] } else { Vec::new() };
            match raw(client, &path, &query) {
                Ok(json) => return Ok(json),
                Err(error) if wanted.is_empty() && passes_on(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::new(format!("Error: No such object: {name}")))
    })
}

/// Whether another kind may be meant: there is none of this one, or its names look different.
fn passes_on(error: &ClientError) -> bool {
    error.is_not_found() || matches!(error, ClientError::Daemon { status: 400 | 501, .. })
}
