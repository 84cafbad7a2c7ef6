//! `cluster restore`

use super::token;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use std::fs;

/// `cluster restore`
pub(crate) static COMMAND: Command = command!(RestoreFlags, restore, {
    name: "restore",
    usage: "[OPTIONS] FILE",
    about: "Make a cluster of this machine from a backup; its other machines join again",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `cluster restore`.
    struct RestoreFlags {
        advertise_addr: String ["advertise-addr"], "Address or interface that other machines find this one at";
        key: String ["key"], "The key that was printed with the backup";
        listen_addr: String ["listen-addr"] = "0.0.0.0:2377", "Address that other machines are listened for on";
    }
}

fn restore(cli: &Cli, flags: RestoreFlags, args: Vec<String>) -> Outcome {
    let path = &args[0];
    let file = fs::File::open(path).map_err(|e| Failure::new(format!("cannot read {path}: {e}")))?;
    let query = [("advertise", flags.advertise_addr), ("listen", flags.listen_addr)];
    let payload = Payload::Stream("application/octet-stream", Box::new(file));
    let headers = [("minke-backup-key".to_owned(), flags.key)];
    cli.client()?.call_with("POST", "/minke/cluster/restore", &query, payload, &headers)?.drain()?;
    token::print(cli, "worker")
}
