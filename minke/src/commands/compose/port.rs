//! `compose port`: the address of the host that a container's port is published at.

use super::observe;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};

/// `port`
pub(super) static COMMAND: Command = command!(PortFlags, port, {
    name: "port",
    usage: "[OPTIONS] SERVICE PRIVATE_PORT",
    about: "Show where a port is published",
    arity: Arity::AtLeast(2),
});

flags! {
    /// Flags of `port`.
    struct PortFlags {
        index: i64 ["index"], "Of the container of that number";
        protocol: String ["protocol"] = "tcp", "\"tcp\" or \"udp\"";
    }
}

fn port(cli: &Cli, flags: PortFlags, args: Vec<String>) -> Outcome {
    let wanted: i64 = args[1].parse::<u16>().map(i64::from).map_err(|_| {
        let quoted = minke_model::go::quote(&args[1]);
        Failure::new(format!("strconv.ParseUint: parsing {quoted}: invalid syntax"))
    })?;
    let session = Session::new(cli, false)?;
    let (_, name) = session.project_or_name(&args[..1])?;
    let container = session.container(&name, &args[0], flags.index, false)?;
    let listed = observe::list(session.client()?, &name, false)?;
    let ports = listed
        .items()
        .iter()
        .find(|one| one.text("Id") == container.id)
        .map_or(&[][..], |one| one.list("Ports"));
    let found =
        ports.iter().find(|port| port.int("PrivatePort") == wanted && port.text("Type") == flags.protocol);
    match found {
        Some(port) => show(&format!("{}:{}\n", port.text("IP"), port.int("PublicPort"))),
        None => {
            let others: Vec<String> = ports
                .iter()
                .map(|port| format!("{}/{}", port.int("PublicPort"), port.text("Type")))
                .collect();
            Err(Failure::new(format!(
                "no port {wanted}/{} for container {}: {}",
                flags.protocol,
                container.name,
                others.join(", ")
            )))
        }
    }
}
