//! `rm`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::output::{each_at_once, warn};

/// `rm`
pub(crate) static COMMAND: Command = command!(RmFlags, rm, {
    name: "rm",
    aliases: &["remove"],
    known_as: &["container rm", "container remove", "rm"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove containers",
    arity: Arity::AtLeast(1),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `rm`.
    struct RmFlags {
        force: bool ["force" 'f'], "Remove a running container too (it is killed)";
        link: bool ["link" 'l'], "Remove the link of that name";
        volumes: bool ["volumes" 'v'], "Remove the container's anonymous volumes";
    }
}

fn rm(cli: &Cli, flags: RmFlags, args: Vec<String>) -> Outcome {
    let mut query = Vec::new();
    for (name, given) in [("force", flags.force), ("link", flags.link), ("v", flags.volumes)] {
        if given {
            query.push((name, "1".to_owned()));
        }
    }
    let client = cli.client()?;
    each_at_once(&args, |name| {
        if name.is_empty() {
            return Err(Failure::new("container name cannot be empty"));
        }
        let name = name.trim_start_matches('/');
        match client.call("DELETE", &path(name, ""), &query, Payload::None) {
            Ok(answer) => answer.drain()?,
            // With --force it is enough that it is not there.
            Err(error) if flags.force && error.is_not_found() => {
                warn(error);
                return Ok(String::new());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(name.to_owned())
    })
}
