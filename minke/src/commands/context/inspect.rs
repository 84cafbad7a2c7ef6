//! `context inspect`

use super::default_host;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::context::DEFAULT;
use crate::commands::inspect::all;
use crate::format::value::Value;

/// `context inspect`
pub(crate) static COMMAND: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    about: "Show all that is known of contexts",
    arity: Arity::Any,
    offer: Offer::Contexts,
});

flags! {
    /// Flags of `context inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
    }
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Struct(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A context as docker shows it.
fn describe(cli: &Cli, name: &str) -> Result<Value, Failure> {
    if name == DEFAULT {
        let endpoint = fields([("Host", default_host(cli).into()), ("SkipTLSVerify", false.into())]);
        let nowhere = || Value::from("<IN MEMORY>");
        return Ok(fields([
            ("Name", name.into()),
            ("Metadata", fields([])),
            ("Endpoints", fields([("docker", endpoint)])),
            ("TLSMaterial", fields([])),
            ("Storage", fields([("MetadataPath", nowhere()), ("TLSPath", nowhere())])),
        ]));
    }
    let store = cli.contexts();
    let context = store.get(name).map_err(Failure::new)?;
    let storage = fields([
        ("MetadataPath", store.meta_directory(name).display().to_string().into()),
        ("TLSPath", store.tls_directory(name).display().to_string().into()),
    ]);
    Ok(fields([
        ("Name", name.into()),
        ("Metadata", context.meta.at("Metadata").clone()),
        ("Endpoints", context.meta.at("Endpoints").clone()),
        ("TLSMaterial", fields([])),
        ("Storage", storage),
    ]))
}

fn inspect(cli: &Cli, flags: InspectFlags, mut args: Vec<String>) -> Outcome {
    if args.is_empty() {
        args.push(cli.context_name());
    }
    all(&args, &flags.format, |name| Ok(describe(cli, name)?.to_json(true)))
}
