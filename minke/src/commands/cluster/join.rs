//! `cluster join`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use serde_json::json;

/// `cluster join`
pub(crate) static COMMAND: Command = command!(JoinFlags, join, {
    name: "join",
    usage: "[OPTIONS] TOKEN HOST[:PORT]",
    about: "Make this machine a member of a cluster; nothing that runs is touched",
    arity: Arity::Exactly(2),
});

flags! {
    /// Flags of `cluster join`.
    struct JoinFlags {
        advertise_addr: String ["advertise-addr"], "Address or interface that other machines find this one at";
        listen_addr: String ["listen-addr"] = "0.0.0.0:2377", "Address that other machines are listened for on";
    }
}

fn join(cli: &Cli, flags: JoinFlags, args: Vec<String>) -> Outcome {
    let body = json!({
        "ListenAddr": flags.listen_addr,
        "AdvertiseAddr": flags.advertise_addr,
        "JoinToken": args[0],
        "RemoteAddrs": [args[1]],
    });
    cli.client()?.post("/swarm/join", &[], &body)?;
    Ok(())
}
