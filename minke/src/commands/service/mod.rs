//! `service …`: what the cluster runs.

pub(crate) mod create;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod ps;

use super::segment;
use crate::cli::command::{Arity, Command, Entry, Group, command};
use crate::cli::flag::{NoFlags, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::commands::inspect::{all, raw};
use crate::output::each;
use serde_json::json;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "service",
    about: "Manage services of the cluster",
    entries: &[
        Entry::Command(&create::COMMAND),
        Entry::Command(&INSPECT),
        Entry::Command(&logs::COMMAND),
        Entry::Command(&ls::COMMAND),
        Entry::Command(&ps::COMMAND),
        Entry::Command(&RM),
        Entry::Command(&ROLLBACK),
        Entry::Command(&SCALE),
    ],
};

/// A service's path.
pub(crate) fn path(name: &str) -> String {
    format!("/services/{}", segment(name))
}

/// Writes a service's spec back, changed.
pub(crate) fn change(
    cli: &Cli,
    name: &str,
    query: &[(&str, String)],
    edit: impl FnOnce(&mut serde_json::Value) -> Outcome,
) -> Outcome {
    let client = cli.client()?;
    let service = client.call("GET", &path(name), &[], Payload::None)?.bytes()?;
    let service: serde_json::Value = serde_json::from_slice(&service)
        .map_err(|e| Failure::new(format!("cannot read the service: {e}")))?;
    let mut spec = service["Spec"].clone();
    edit(&mut spec)?;
    let mut query = query.to_vec();
    query.push(("version", service["Version"]["Index"].to_string()));
    client.call("POST", &format!("{}/update", path(name)), &query, Payload::json(&spec))?.drain()?;
    Ok(())
}

static INSPECT: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] SERVICE [SERVICE...]",
    about: "Show all that is known of services",
    arity: Arity::AtLeast(1),
});

flags! {
    /// Flags of `service inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
    }
}

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let query = [("insertDefaults", "false".to_owned())];
    all(&args, &flags.format, |name| Ok(raw(client, &path(name), &query)?))
}

static RM: Command = command!(NoFlags, rm, {
    name: "rm",
    aliases: &["remove"],
    known_as: &["service rm", "service remove"],
    usage: "SERVICE [SERVICE...]",
    about: "Remove services",
    arity: Arity::AtLeast(1),
});

fn rm(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    each(&args, |name| {
        cli.client()?.call("DELETE", &path(name), &[], Payload::None)?.drain()?;
        show(&format!("{name}\n"))
    })
}

static ROLLBACK: Command = command!(NoFlags, rollback, {
    name: "rollback",
    usage: "SERVICE",
    about: "Bring back what a service was before its last update",
    arity: Arity::Exactly(1),
});

fn rollback(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    change(cli, &args[0], &[("rollback", "previous".to_owned())], |_| Ok(()))?;
    show(&format!("{}\n", args[0]))
}

static SCALE: Command = command!(NoFlags, scale, {
    name: "scale",
    usage: "SERVICE=REPLICAS [SERVICE=REPLICAS...]",
    about: "Run more or fewer tasks of services",
    arity: Arity::AtLeast(1),
});

fn scale(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    each(&args, |text| {
        let Some((name, number)) = text.split_once('=') else {
            return Err(Failure::new(format!(
                "invalid scale specifier '{text}': expected SERVICE=REPLICAS, such as web=3"
            )));
        };
        let replicas: u64 = number.parse().map_err(|_| {
            Failure::new(format!("invalid replicas value {number}: it must be a whole number"))
        })?;
        change(cli, name, &[], |spec| {
            let mode = &mut spec["Mode"];
            if mode["Replicated"].is_object() {
                mode["Replicated"]["Replicas"] = json!(replicas);
            } else if mode["ReplicatedJob"].is_object() {
                mode["ReplicatedJob"]["TotalCompletions"] = json!(replicas);
            } else {
                return Err(Failure::new(format!(
                    "{name}: scale can only be used with replicated or replicated-job mode"
                )));
            }
            Ok(())
        })?;
        show(&format!("{name} scaled to {replicas}\n"))
    })
}
