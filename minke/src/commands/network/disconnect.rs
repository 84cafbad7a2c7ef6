//! `network disconnect`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::client::http::Payload;
use serde_json::json;

/// `network disconnect`
pub(crate) static COMMAND: Command = command!(DisconnectFlags, disconnect, {
    name: "disconnect",
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Take a container off a network",
    arity: Arity::Exactly(2),
    offer: Offer::Networks,
});

flags! {
    /// Flags of `network disconnect`.
    struct DisconnectFlags {
        force: bool ["force" 'f'], "Disconnect it whatever state it is in";
    }
}

fn disconnect(cli: &Cli, flags: DisconnectFlags, args: Vec<String>) -> Outcome {
    let body = json!({"Container": args[1], "Force": flags.force});
    Ok(cli.client()?.call("POST", &path(&args[0], "/disconnect"), &[], Payload::json(&body))?.drain()?)
}
