//! `network connect`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::{Commas, flags};
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::options::network::{Attachment, endpoint};
use serde_json::json;

/// `network connect`
pub(crate) static COMMAND: Command = command!(ConnectFlags, connect, {
    name: "connect",
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Put a container on a network",
    arity: Arity::Exactly(2),
    offer: Offer::Networks,
});

flags! {
    /// Flags of `network connect`.
    struct ConnectFlags {
        alias: Commas ["alias"], "Add a name on the network";
        driver_opt: Commas ["driver-opt"], "Options of the network's driver";
        gw_priority: i64 ["gw-priority"], "The network with the highest gives the default gateway";
        ip: String ["ip"], "IPv4 address";
        ip6: String ["ip6"], "IPv6 address";
        link: Vec<String> ["link"], "Link to another container";
        link_local_ip: Commas ["link-local-ip"], "Link-local addresses";
    }
}

fn connect(cli: &Cli, flags: ConnectFlags, args: Vec<String>) -> Outcome {
    let mut driver_opts = Vec::new();
    for option in &flags.driver_opt.0 {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| Failure::new("invalid key/value pair format in driver options"))?;
        driver_opts.push((name.to_owned(), value.to_owned()));
    }
    let attachment = Attachment {
        target: args[0].clone(),
        aliases: flags.alias.0,
        links: flags.link,
        ip: flags.ip,
        ip6: flags.ip6,
        link_local: flags.link_local_ip.0,
        mac: String::new(),
        driver_opts,
        gw_priority: flags.gw_priority,
    };
    let body = json!({"Container": args[1], "EndpointConfig": endpoint(attachment)?});
    Ok(cli.client()?.call("POST", &path(&args[0], "/connect"), &[], Payload::json(&body))?.drain()?)
}
