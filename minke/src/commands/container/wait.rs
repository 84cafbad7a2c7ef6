//! `wait`

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::output::each;

/// `wait`
pub(crate) static COMMAND: Command = command!(NoFlags, wait, {
    name: "wait",
    known_as: &["container wait", "wait"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Wait for containers to end and print their exit codes",
    arity: Arity::AtLeast(1),
    offer: Offer::Containers,
});

fn wait(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    each(&args, |name| {
        check_name(name)?;
        let answer = client.call("POST", &path(name, "/wait"), &[], Payload::None)?.json()?;
        let error = answer.text("Error.Message");
        if !error.is_empty() {
            return Err(Failure::new(error));
        }
        show(&format!("{}\n", answer.int("StatusCode")))
    })
}
