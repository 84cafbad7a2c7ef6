//! `stop`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::output::each_at_once;

/// `stop`
pub(crate) static COMMAND: Command = command!(StopFlags, stop, {
    name: "stop",
    known_as: &["container stop", "stop"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop containers, by force when they take too long",
    arity: Arity::AtLeast(1),
    offer: Offer::Running,
});

flags! {
    /// Flags of `stop`.
    struct StopFlags {
        signal: String ["signal" 's'], "Signal to send to the container";
        time: Option<i64> ["time"], "", "use --timeout instead";
        timeout: Option<i64> ["timeout" 't'], "Seconds to wait before the container is killed";
    }
}

fn stop(cli: &Cli, flags: StopFlags, args: Vec<String>) -> Outcome {
    if flags.time.is_some() && flags.timeout.is_some() {
        return Err(Failure::new("conflicting options: cannot specify both --timeout and --time"));
    }
    let mut query = Vec::new();
    if let Some(seconds) = flags.timeout.or(flags.time) {
        query.push(("t", seconds.to_string()));
    }
    if !flags.signal.is_empty() {
        query.push(("signal", flags.signal.clone()));
    }
    let client = cli.client()?;
    each_at_once(&args, |name| {
        check_name(name)?;
        client.act(&path(name, "/stop"), &query)?;
        Ok(name.to_owned())
    })
}
