//! `cluster ha`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};

/// `cluster ha`
pub(crate) static COMMAND: Command = command!(HaFlags, spread, {
    name: "ha",
    usage: "",
    about: "Spread the cluster's records over its managers, three or more; nothing that runs is touched",
    arity: Arity::None,
});

flags! {
    /// Flags of `cluster ha`.
    struct HaFlags {}
}

fn spread(cli: &Cli, _flags: HaFlags, _args: Vec<String>) -> Outcome {
    cli.client()?.act("/minke/cluster/spread", &[])?;
    Ok(())
}
