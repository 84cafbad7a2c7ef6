//! `compose commit`: an image of what a container of a service has become.

use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::container::commit::{CommitFlags as ContainerFlags, commit as commit_of};

/// `commit`
pub(super) static COMMAND: Command = command!(CommitFlags, commit, {
    name: "commit",
    usage: "[OPTIONS] SERVICE [REPOSITORY[:TAG]]",
    about: "Make an image of a service's container",
    arity: Arity::Range(1, 2),
});

flags! {
    /// Flags of `commit`.
    struct CommitFlags {
        author: String ["author" 'a'], "Who made it";
        change: Vec<String> ["change" 'c'], "Apply an instruction of a Dockerfile to the image";
        index: i64 ["index"], "Of the container of that number";
        message: String ["message" 'm'], "What it is about";
        pause: bool ["pause" 'p'] = "true", "Pause the container meanwhile";
    }
}

fn commit(cli: &Cli, flags: CommitFlags, mut args: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    args[0] = session.container(&name, &args[0], flags.index, true)?.id;
    let inner = ContainerFlags {
        author: flags.author,
        change: flags.change,
        message: flags.message,
        pause: flags.pause,
    };
    commit_of(cli, inner, args)
}
