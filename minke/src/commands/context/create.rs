//! `context create`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::Host;
use crate::client::context::DEFAULT;
use crate::commands::context::default_host;
use crate::output::warn;
use minke_model::go;
use minke_model::go::quote;
use serde_json::json;

/// `context create`
pub(crate) static COMMAND: Command = command!(CreateFlags, create, {
    name: "create",
    usage: "[OPTIONS] CONTEXT",
    about: "Make a context",
    long: "The endpoint is said as 'host=ADDRESS', or as 'from=CONTEXT' to copy it:\n\n  context create far --docker host=ssh://me@far.example.com",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `context create`.
    struct CreateFlags {
        description: String ["description"], "What it is for";
        docker: String ["docker"], "The endpoint (host=ADDRESS)";
        from: String ["from"], "Copy another context";
    }
}

/// Docker's rule for names of contexts.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::new("context name cannot be empty"));
    }
    if name == DEFAULT {
        return Err(Failure::new("\"default\" is a reserved context name"));
    }
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() > 1
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c));
    if valid {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "context name {} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"",
            quote(name)
        )))
    }
}

fn create(cli: &Cli, flags: CreateFlags, args: Vec<String>) -> Outcome {
    let name = &args[0];
    check_name(name)?;
    let store = cli.contexts();
    if store.get(name).is_ok() {
        return Err(Failure::new(format!("context {} already exists", quote(name))));
    }
    let (mut host, mut from, mut skip) = (String::new(), flags.from.clone(), false);
    let mut files = Vec::new();
    for field in go::csv_fields(&flags.docker)? {
        match field.split_once('=') {
            Some(("host", value)) => host = value.to_owned(),
            Some(("from", value)) => from = value.to_owned(),
            Some((key @ ("ca" | "cert" | "key"), path)) => {
                let bytes = std::fs::read(path).map_err(|error| {
                    let why = crate::commands::go_error(&error);
                    Failure::new(format!("unable to create docker endpoint config: open {path}: {why}"))
                })?;
                files.push((
                    if key == "ca" {
                        "ca.pem"
                    } else if key == "cert" {
                        "cert.pem"
                    } else {
                        "key.pem"
                    },
                    bytes,
                ));
            }
            Some(("skip-tls-verify", value)) => {
                skip = go::parse_bool(value).ok_or_else(|| {
                    Failure::new(format!(
                        "unable to create docker endpoint config: skip-tls-verify: strconv.ParseBool: parsing {}: invalid syntax",
                        quote(value)
                    ))
                })?;
            }
            _ => return Err(Failure::new(format!("unrecognized config key: {field}"))),
        }
    }
    if !from.is_empty() {
        host = if from == DEFAULT { default_host(cli) } else { store.get(&from).map_err(Failure::new)?.host };
    }
    if host.is_empty() {
        return Err(Failure::new("docker endpoint configuration is required"));
    }
    Host::parse(&host)?;
    let mut metadata = json!({});
    if !flags.description.is_empty() {
        metadata["Description"] = flags.description.into();
    }
    let meta = json!({"Name": name, "Metadata": metadata, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip}}});
    store.put(name, &meta)?;
    if !files.is_empty() {
        store.put_tls(name, &files)?;
    }
    show(&format!("{name}\n"))?;
    warn(format!("Successfully created context {}", quote(name)));
    Ok(())
}
