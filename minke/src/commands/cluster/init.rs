//! `cluster init`

use super::token;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use serde_json::json;

/// `cluster init`
pub(crate) static COMMAND: Command = command!(InitFlags, init, {
    name: "init",
    usage: "[OPTIONS]",
    about: "Make a cluster of this machine; nothing that runs is touched",
    arity: Arity::None,
});

flags! {
    /// Flags of `cluster init`.
    struct InitFlags {
        advertise_addr: String ["advertise-addr"], "Address or interface that other machines find this one at";
        listen_addr: String ["listen-addr"] = "0.0.0.0:2377", "Address that other machines are listened for on";
        autolock: bool ["autolock"], "Managers need a key after a start";
    }
}

fn init(cli: &Cli, flags: InitFlags, _args: Vec<String>) -> Outcome {
    let body = json!({
        "ListenAddr": flags.listen_addr,
        "AdvertiseAddr": flags.advertise_addr,
        "Spec": {"EncryptionConfig": {"AutoLockManagers": flags.autolock}},
    });
    cli.client()?.post("/swarm/init", &[], &body)?;
    token::print(cli, "worker")
}
