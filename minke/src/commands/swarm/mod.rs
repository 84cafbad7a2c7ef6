//! `swarm …`: into a cluster, out of it, and what others join with.

use super::segment;
use crate::cli::command::{Arity, Command, Entry, Group, command};
use crate::cli::flag::{Commas, NoFlags, Span, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::format::value::Value;
use serde_json::json;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "swarm",
    about: "Make, join and leave a cluster",
    entries: &[
        Entry::Command(&INIT),
        Entry::Command(&JOIN),
        Entry::Command(&JOIN_TOKEN),
        Entry::Command(&LEAVE),
        Entry::Command(&UNLOCK),
        Entry::Command(&UNLOCK_KEY),
        Entry::Command(&UPDATE),
    ],
};

static INIT: Command = command!(InitFlags, init, {
    name: "init",
    usage: "[OPTIONS]",
    about: "Make a cluster of this machine",
    arity: Arity::None,
});

flags! {
    /// Flags of `swarm init`.
    struct InitFlags {
        advertise_addr: String ["advertise-addr"], "Where other nodes find it (address or interface, with a port or without)";
        autolock: bool ["autolock"], "Managers need a key after a start";
        availability: String ["availability"] = "active", "Whether it takes tasks (active, pause, drain)";
        data_path_addr: String ["data-path-addr"], "Where its data travels (address or interface)";
        data_path_port: u64 ["data-path-port"] = "0", "UDP port of the data path (1024 to 49151; 0 is 4789)";
        default_addr_pool: Commas ["default-addr-pool"], "Networks are cut from these ranges";
        default_addr_pool_mask_length: u64 ["default-addr-pool-mask-length"] = "24", "Prefix of each cut";
        force_new_cluster: bool ["force-new-cluster"], "Go on without the other managers";
        listen_addr: String ["listen-addr"] = "0.0.0.0:2377", "Where it listens for nodes";
        task_history_limit: i64 ["task-history-limit"] = "5", "Ended tasks that are kept of each place";
        cert_expiry: Span ["cert-expiry"], "Life of nodes' certificates (90 days)";
    }
}

fn init(cli: &Cli, flags: InitFlags, _: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let mut spec = json!({
        "Orchestration": { "TaskHistoryRetentionLimit": flags.task_history_limit },
        "EncryptionConfig": { "AutoLockManagers": flags.autolock },
    });
    if let Some(life) = flags.cert_expiry.0 {
        spec["CAConfig"] = json!({ "NodeCertExpiry": life });
    }
    let pools = flags.default_addr_pool.0;
    let body = json!({
        "ListenAddr": flags.listen_addr, "AdvertiseAddr": flags.advertise_addr,
        "DataPathAddr": flags.data_path_addr, "DataPathPort": flags.data_path_port,
        "ForceNewCluster": flags.force_new_cluster, "AutoLockManagers": flags.autolock,
        "Availability": flags.availability, "Spec": spec, "DefaultAddrPool": pools,
        "SubnetSize": if pools.is_empty() { 0 } else { flags.default_addr_pool_mask_length },
    });
    let node = client.post("/swarm/init", &[], &body)?;
    show(&format!("Swarm initialized: current node ({}) is now a manager.\n\n", node.as_text()))?;
    tell_how(cli, "worker", false)?;
    show("To add a manager, run 'minke swarm join-token manager' and follow the instructions.\n")?;
    if flags.autolock {
        let key = client.get("/swarm/unlockkey", &[])?;
        show(&format!(
            "\nKeep this key: managers need it after a start.\n\n    {}\n",
            key.text("UnlockKey")
        ))?;
    }
    Ok(())
}

/// The command by which others join.
fn tell_how(cli: &Cli, role: &str, quiet: bool) -> Outcome {
    let client = cli.client()?;
    let cluster = client.get("/swarm", &[])?;
    let token =
        cluster.text(if role == "manager" { "JoinTokens.Manager" } else { "JoinTokens.Worker" }).to_owned();
    if quiet {
        return show(&format!("{token}\n"));
    }
    let info = client.get("/info", &[])?;
    let node = client.get(&format!("/nodes/{}", segment(info.text("Swarm.NodeID"))), &[])?;
    show(&format!(
        "To add a {role} to this cluster, run on it:\n\n    minke swarm join --token {token} {}\n\n",
        node.text("ManagerStatus.Addr")
    ))
}

static JOIN: Command = command!(JoinFlags, join, {
    name: "join",
    usage: "[OPTIONS] HOST[:PORT]",
    about: "Join a cluster",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `swarm join`.
    struct JoinFlags {
        advertise_addr: String ["advertise-addr"], "Where other nodes find it";
        availability: String ["availability"] = "active", "Whether it takes tasks (active, pause, drain)";
        data_path_addr: String ["data-path-addr"], "Where its data travels";
        listen_addr: String ["listen-addr"] = "0.0.0.0:2377", "Where it listens for nodes, as a manager";
        token: String ["token"], "What it joins with";
    }
}

fn join(cli: &Cli, flags: JoinFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let body = json!({
        "ListenAddr": flags.listen_addr, "AdvertiseAddr": flags.advertise_addr,
        "DataPathAddr": flags.data_path_addr, "RemoteAddrs": args, "JoinToken": flags.token,
        "Availability": flags.availability,
    });
    client.call("POST", "/swarm/join", &[], Payload::json(&body))?.drain()?;
    let info = client.get("/info", &[])?;
    let role = if info.bool("Swarm.ControlAvailable") { "manager" } else { "worker" };
    show(&format!("This node joined a swarm as a {role}.\n"))
}

static JOIN_TOKEN: Command = command!(JoinTokenFlags, join_token, {
    name: "join-token",
    usage: "[OPTIONS] (worker|manager)",
    about: "Show or change what others join with",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `swarm join-token`.
    struct JoinTokenFlags {
        quiet: bool ["quiet" 'q'], "Show the token only";
        rotate: bool ["rotate"], "A new one; the old one is worth nothing any more";
    }
}

fn join_token(cli: &Cli, flags: JoinTokenFlags, args: Vec<String>) -> Outcome {
    let role = args[0].as_str();
    if !matches!(role, "worker" | "manager") {
        return Err(Failure::new(format!("unknown role {role}")));
    }
    if flags.rotate {
        let flag = if role == "worker" { "rotateWorkerToken" } else { "rotateManagerToken" };
        change(cli, &[(flag, "true".to_owned())], |_| {})?;
        if !flags.quiet {
            show(&format!("Successfully rotated {role} join token.\n\n"))?;
        }
    }
    tell_how(cli, role, flags.quiet)
}

/// Writes the cluster's spec back, changed.
fn change(cli: &Cli, query: &[(&str, String)], edit: impl FnOnce(&mut serde_json::Value)) -> Outcome {
    let client = cli.client()?;
    let cluster = client.call("GET", "/swarm", &[], Payload::None)?.bytes()?;
    let cluster: serde_json::Value = serde_json::from_slice(&cluster)
        .map_err(|e| Failure::new(format!("cannot read the cluster: {e}")))?;
    let mut spec = cluster["Spec"].clone();
    edit(&mut spec);
    let mut query = query.to_vec();
    query.push(("version", cluster["Version"]["Index"].to_string()));
    client.call("POST", "/swarm/update", &query, Payload::json(&spec))?.drain()?;
    Ok(())
}

static LEAVE: Command = command!(LeaveFlags, leave, {
    name: "leave",
    usage: "[OPTIONS]",
    about: "Leave the cluster",
    arity: Arity::None,
});

flags! {
    /// Flags of `swarm leave`.
    struct LeaveFlags {
        force: bool ["force" 'f'], "Also as a manager";
    }
}

fn leave(cli: &Cli, flags: LeaveFlags, _: Vec<String>) -> Outcome {
    let query: Vec<_> = if flags.force { vec![("force", "1".to_owned())] } else { Vec::new() };
    cli.client()?.act("/swarm/leave", &query)?;
    show("Node left the swarm.\n")
}

static UNLOCK: Command = command!(NoFlags, unlock, {
    name: "unlock",
    usage: "",
    about: "Open a locked manager; reads its key from standard input",
    arity: Arity::None,
});

fn unlock(cli: &Cli, _: NoFlags, _: Vec<String>) -> Outcome {
    let mut key = String::new();
    std::io::stdin().read_line(&mut key).map_err(|e| Failure::new(format!("cannot read the key: {e}")))?;
    let body = json!({ "UnlockKey": key.trim() });
    cli.client()?.call("POST", "/swarm/unlock", &[], Payload::json(&body))?.drain()?;
    Ok(())
}

static UNLOCK_KEY: Command = command!(UnlockKeyFlags, unlock_key, {
    name: "unlock-key",
    usage: "[OPTIONS]",
    about: "Show or change the key that opens managers",
    arity: Arity::None,
});

flags! {
    /// Flags of `swarm unlock-key`.
    struct UnlockKeyFlags {
        quiet: bool ["quiet" 'q'], "Show the key only";
        rotate: bool ["rotate"], "A new one";
    }
}

fn unlock_key(cli: &Cli, flags: UnlockKeyFlags, _: Vec<String>) -> Outcome {
    if flags.rotate {
        change(cli, &[("rotateManagerUnlockKey", "true".to_owned())], |_| {})?;
    }
    let key: Value = cli.client()?.get("/swarm/unlockkey", &[])?;
    match (key.text("UnlockKey"), flags.quiet) {
        ("", _) => Err(Failure::new("no unlock key is set")),
        (key, true) => show(&format!("{key}\n")),
        (key, false) => show(&format!(
            "To open a manager after a start, run 'minke swarm unlock' with this key:\n\n    {key}\n"
        )),
    }
}

static UPDATE: Command = command!(UpdateFlags, update, {
    name: "update",
    usage: "[OPTIONS]",
    about: "Change the cluster",
    arity: Arity::None,
});

flags! {
    /// Flags of `swarm update`.
    struct UpdateFlags {
        autolock: Option<bool> ["autolock"], "Managers need a key after a start";
        cert_expiry: Span ["cert-expiry"], "Life of nodes' certificates";
        dispatcher_heartbeat: Span ["dispatcher-heartbeat"], "Kept and shown; beats follow the size of the cluster";
        task_history_limit: Option<i64> ["task-history-limit"], "Ended tasks that are kept of each place";
    }
}

fn update(cli: &Cli, flags: UpdateFlags, _: Vec<String>) -> Outcome {
    change(cli, &[], |spec| {
        if let Some(on) = flags.autolock {
            spec["EncryptionConfig"]["AutoLockManagers"] = json!(on);
        }
        if let Some(life) = flags.cert_expiry.0 {
            spec["CAConfig"]["NodeCertExpiry"] = json!(life);
        }
        if let Some(beat) = flags.dispatcher_heartbeat.0 {
            spec["Dispatcher"]["HeartbeatPeriod"] = json!(beat);
        }
        if let Some(limit) = flags.task_history_limit {
            spec["Orchestration"]["TaskHistoryRetentionLimit"] = json!(limit);
        }
    })?;
    show("Swarm updated.\n")
}
