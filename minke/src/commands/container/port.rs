//! `port`

use super::get;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::value::Value;

/// `port`
pub(crate) static COMMAND: Command = command!(NoFlags, port, {
    name: "port",
    known_as: &["container port", "port"],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List the published ports of a container",
    arity: Arity::Range(1, 2),
    offer: Offer::Running,
});

/// `address:port`, an IPv6 address in brackets.
fn host(binding: &Value) -> String {
    let (ip, port) = (binding.text("HostIp"), binding.text("HostPort"));
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn port(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let container = get(cli.client()?, &args[0])?;
    let ports = container.at("NetworkSettings.Ports");
    if let Some(wanted) = args.get(1) {
        let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        if number.parse::<u16>().is_err() {
            return Err(Failure::new(format!(
                "Error: invalid port ({number}): strconv.ParseUint: parsing {}: invalid syntax",
                minke_model::go::quote(number)
            )));
        }
        let bindings = ports.at_key(&format!("{number}/{protocol}")).items();
        if bindings.is_empty() {
            return Err(Failure::new(format!("Error: No public port '{wanted}' published for {}", args[0])));
        }
        return show(&bindings.iter().map(|binding| host(binding) + "\n").collect::<String>());
    }
    let mut lines: Vec<(u32, String, usize, String)> = Vec::new();
    for (name, bindings) in ports.entries() {
        let (number, protocol) = name.split_once('/').unwrap_or((name, ""));
        for (at, binding) in bindings.items().iter().enumerate() {
            lines.push((
                number.parse().unwrap_or(0),
                protocol.to_owned(),
                at,
                format!("{name} -> {}\n", host(binding)),
            ));
        }
    }
    lines.sort();
    show(&lines.into_iter().map(|(.., line)| line).collect::<String>())
}
