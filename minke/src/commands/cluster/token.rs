//! `cluster token`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};

/// `cluster token`
pub(crate) static COMMAND: Command = command!(TokenFlags, run, {
    name: "token",
    usage: "[worker|manager]",
    about: "Print the command that makes another machine a member",
    arity: Arity::AtMost(1),
});

flags! {
    /// Flags of `cluster token`.
    struct TokenFlags {}
}

fn run(cli: &Cli, _flags: TokenFlags, args: Vec<String>) -> Outcome {
    print(cli, args.first().map_or("worker", String::as_str))
}

/// Prints the one command to run elsewhere.
pub(super) fn print(cli: &Cli, role: &str) -> Outcome {
    let name = match role {
        "worker" => "Worker",
        "manager" => "Manager",
        other => return Err(Failure::new(format!("{other:?} is no role: it is worker or manager"))),
    };
    let client = cli.client()?;
    let cluster = client.get("/swarm", &[])?;
    let info = client.get("/info", &[])?;
    let token = cluster.text(&format!("JoinTokens.{name}"));
    let own = info.text("Swarm.NodeID");
    let managers = info.list("Swarm.RemoteManagers");
    let here = managers.iter().find(|manager| manager.text("NodeID") == own).or(managers.first());
    let address = here.map_or("HOST:2377", |manager| manager.text("Addr"));
    show(&format!("minke cluster join {token} {address}\n"))
}
