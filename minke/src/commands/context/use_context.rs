//! `context use`

use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::context::DEFAULT;
use crate::output::warn;
use minke_model::go::quote;
use serde_json::Value;

/// `context use`
pub(crate) static COMMAND: Command = command!(NoFlags, use_context, {
    name: "use",
    usage: "CONTEXT",
    about: "Choose the current context",
    arity: Arity::Exactly(1),
    offer: Offer::Contexts,
});

/// Writes the name of the current context into the configuration file; all else in it stays.
pub(crate) fn set_current(cli: &Cli, name: &str) -> Outcome {
    let directory = cli.config().directory();
    let file = directory.join("config.json");
    let mut config: Value = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?,
        Err(_) => serde_json::json!({}),
    };
    let fields = config
        .as_object_mut()
        .ok_or_else(|| Failure::new(format!("{}: not a JSON object", file.display())))?;
    if name == DEFAULT {
        fields.remove("currentContext");
    } else {
        fields.insert("currentContext".into(), name.into());
    }
    std::fs::create_dir_all(directory)?;
    let temporary = directory.join(format!("config.json.{}", std::process::id()));
    std::fs::write(
        &temporary,
        serde_json::to_string_pretty(&config).map_err(|error| Failure::new(error.to_string()))?,
    )?;
    Ok(std::fs::rename(temporary, file)?)
}

fn use_context(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let name = &args[0];
    if name != DEFAULT {
        cli.contexts().get(name).map_err(Failure::new)?;
    }
    set_current(cli, name)?;
    show(&format!("{name}\n"))?;
    warn(format!("Current context is now {}", quote(name)));
    if name != DEFAULT && std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) {
        warn(format!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {}, either set the global --context flag, or unset DOCKER_HOST environment variable.",
            quote(name)
        ));
    }
    Ok(())
}
