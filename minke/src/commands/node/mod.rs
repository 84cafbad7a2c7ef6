//! `node …`: machines of the cluster.

mod state;

use super::segment;
use super::service::ps;
use crate::cli::command::{Arity, Command, Entry, Group, command};
use crate::cli::flag::{Filters, NoFlags, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::commands::inspect::{all, raw};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::options::env;
use crate::output::each;
use serde_json::json;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "node",
    about: "Manage machines of the cluster",
    entries: &[
        Entry::Command(&state::ACTIVATE),
        Entry::Command(&DEMOTE),
        Entry::Command(&state::DRAIN),
        Entry::Command(&INSPECT),
        Entry::Command(&state::LABEL),
        Entry::Command(&LS),
        Entry::Command(&state::PAUSE),
        Entry::Command(&PROMOTE),
        Entry::Command(&PS),
        Entry::Command(&RM),
        Entry::Command(&UPDATE),
    ],
};

/// A node's path; `self` is the one that is asked.
fn path(cli: &Cli, name: &str) -> Result<String, Failure> {
    let id = match name {
        "self" => cli.client()?.get("/info", &[])?.text("Swarm.NodeID").to_owned(),
        name => name.to_owned(),
    };
    Ok(format!("/nodes/{}", segment(&id)))
}

static LS: Command = command!(LsFlags, ls, {
    name: "ls",
    aliases: &["list"],
    known_as: &["node ls", "node list"],
    usage: "[OPTIONS]",
    about: "List machines",
    arity: Arity::None,
});

flags! {
    /// Flags of `node ls`.
    struct LsFlags {
        filter: Filters ["filter" 'f'], "Only what matches";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        quiet: bool ["quiet" 'q'], "Show ids only";
    }
}

const LISTING: Listing = Listing {
    type_name: "*node.nodeContext",
    heads: &[
        ("Availability", "AVAILABILITY"),
        ("EngineVersion", "ENGINE VERSION"),
        ("Hostname", "HOSTNAME"),
        ("ID", "ID"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("Self", ""),
        ("Status", "STATUS"),
        ("TLSStatus", "TLS STATUS"),
    ],
    table: "table {{.ID}}{{.Self}}\\t{{.Hostname}}\\t{{.Status}}\\t{{.Availability}}\\t{{.ManagerStatus}}\\t{{.EngineVersion}}",
    quiet: "{{.ID}}",
    raw: "",
};

/// With its first letter large.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let query: Vec<_> = flags.filter.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    let nodes = client.get("/nodes", &query)?;
    let own = client.get("/info", &[])?.text("Swarm.NodeID").to_owned();
    let mut nodes: Vec<&Value> = nodes.items().iter().collect();
    nodes.sort_by(|a, b| {
        crate::human::natural(a.text("Description.Hostname"), b.text("Description.Hostname"))
    });
    let row = |node: &&Value| {
        let manager = match (node.bool("ManagerStatus.Leader"), node.text("ManagerStatus.Reachability")) {
            (true, _) => "Leader".to_owned(),
            (_, word) => capital(word),
        };
        Row::new([
            ("Availability", capital(node.text("Spec.Availability")).into()),
            ("EngineVersion", node.text("Description.Engine.EngineVersion").into()),
            ("Hostname", node.text("Description.Hostname").into()),
            ("ID", node.text("ID").into()),
            ("ManagerStatus", manager.into()),
            ("Self", if node.text("ID") == own { " *" } else { "" }.into()),
            ("Status", capital(node.text("Status.State")).into()),
            ("TLSStatus", "Ready".into()),
        ])
    };
    let rows: Vec<Row> = nodes.iter().map(row).collect();
    show(&LISTING.render(&flags.format, flags.quiet, &rows).map_err(Failure::new)?)
}

static INSPECT: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] self|NODE [NODE...]",
    about: "Show all that is known of machines",
    arity: Arity::AtLeast(1),
});

flags! {
    /// Flags of `node inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
    }
}

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    all(&args, &flags.format, |name| Ok(raw(client, &path(cli, name)?, &[])?))
}

static PS: Command = command!(ps::PsFlags, node_ps, {
    name: "ps",
    usage: "[OPTIONS] [NODE...]",
    about: "List tasks of machines; of the one that is asked without a name",
    arity: Arity::Any,
});

fn node_ps(cli: &Cli, flags: ps::PsFlags, args: Vec<String>) -> Outcome {
    let args = if args.is_empty() { vec!["self".to_owned()] } else { args };
    let mut ids = Vec::new();
    for name in &args {
        ids.push(cli.client()?.get(&path(cli, name)?, &[])?.text("ID").to_owned());
    }
    ps::list(cli, flags, "node", &ids)
}

static RM: Command = command!(RmFlags, rm, {
    name: "rm",
    aliases: &["remove"],
    known_as: &["node rm", "node remove"],
    usage: "[OPTIONS] NODE [NODE...]",
    about: "Take machines out of the cluster",
    arity: Arity::AtLeast(1),
});

flags! {
    /// Flags of `node rm`.
    struct RmFlags {
        force: bool ["force" 'f'], "Also one that is up";
    }
}

fn rm(cli: &Cli, flags: RmFlags, args: Vec<String>) -> Outcome {
    let query: Vec<_> = if flags.force { vec![("force", "1".to_owned())] } else { Vec::new() };
    each(&args, |name| {
        cli.client()?.call("DELETE", &path(cli, name)?, &query, Payload::None)?.drain()?;
        show(&format!("{name}\n"))
    })
}

/// Writes a node's spec back, changed.
fn change(cli: &Cli, name: &str, edit: impl FnOnce(&mut serde_json::Value) -> Outcome) -> Outcome {
    let client = cli.client()?;
    let path = path(cli, name)?;
    let node = client.call("GET", &path, &[], Payload::None)?.bytes()?;
    let node: serde_json::Value =
        serde_json::from_slice(&node).map_err(|e| Failure::new(format!("cannot read the node: {e}")))?;
    let mut spec = node["Spec"].clone();
    edit(&mut spec)?;
    let query = [("version", node["Version"]["Index"].to_string())];
    client.call("POST", &format!("{path}/update"), &query, Payload::json(&spec))?.drain()?;
    Ok(())
}

static PROMOTE: Command = command!(NoFlags, promote, {
    name: "promote",
    usage: "NODE [NODE...]",
    about: "Make machines managers",
    arity: Arity::AtLeast(1),
});

fn promote(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    each(&args, |name| become_(cli, name, "manager", "promoted to a manager"))
}

static DEMOTE: Command = command!(NoFlags, demote, {
    name: "demote",
    usage: "NODE [NODE...]",
    about: "Make managers workers again",
    arity: Arity::AtLeast(1),
});

fn demote(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    each(&args, |name| become_(cli, name, "worker", "demoted in the swarm"))
}

fn become_(cli: &Cli, name: &str, role: &str, done: &str) -> Outcome {
    change(cli, name, |spec| {
        if spec["Role"] == role {
            return Err(Failure::new(format!("Node {name} is already a {role}.")));
        }
        spec["Role"] = json!(role);
        Ok(())
    })?;
    let done = if role == "manager" { format!("{done} in the swarm") } else { done.to_owned() };
    show(&format!("{} {name} {done}.\n", if role == "manager" { "Node" } else { "Manager" }))
}

static UPDATE: Command = command!(UpdateFlags, update, {
    name: "update",
    usage: "[OPTIONS] NODE",
    about: "Change a machine",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `node update`.
    struct UpdateFlags {
        availability: Option<String> ["availability"], "Whether it takes tasks (active, pause, drain)";
        label_add: Vec<String> ["label-add"], "Set a label";
        label_rm: Vec<String> ["label-rm"], "Take a label away";
        role: Option<String> ["role"], "What it is (worker, manager)";
    }
}

fn update(cli: &Cli, flags: UpdateFlags, args: Vec<String>) -> Outcome {
    let labels = env::labels(&[], &flags.label_add)?;
    change(cli, &args[0], |spec| {
        for (field, value) in [("Availability", &flags.availability), ("Role", &flags.role)] {
            if let Some(value) = value {
                spec[field] = json!(value);
            }
        }
        for (name, value) in labels {
            spec["Labels"][name] = json!(value);
        }
        for name in &flags.label_rm {
            let gone = spec["Labels"].as_object_mut().and_then(|labels| labels.remove(name));
            if gone.is_none() {
                return Err(Failure::new(format!("key {name} doesn't exist in node's labels")));
            }
        }
        Ok(())
    })?;
    show(&format!("{}\n", args[0]))
}
