//! `context rm`

use super::use_context::set_current;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::context::DEFAULT;
use crate::output::each;
use minke_model::go::quote;

/// `context rm`
pub(crate) static COMMAND: Command = command!(RmFlags, rm, {
    name: "rm",
    aliases: &["remove"],
    known_as: &["context rm", "context remove"],
    usage: "CONTEXT [CONTEXT...]",
    about: "Remove contexts",
    arity: Arity::AtLeast(1),
    offer: Offer::Contexts,
});

flags! {
    /// Flags of `context rm`.
    struct RmFlags {
        force: bool ["force" 'f'], "Remove a context in use too";
    }
}

fn rm(cli: &Cli, flags: RmFlags, args: Vec<String>) -> Outcome {
    let store = cli.contexts();
    each(&args, |name| {
        if name == DEFAULT {
            return Err(Failure::new("context \"default\" cannot be removed"));
        }
        if store.get(name).is_err() {
            return if flags.force {
                Ok(())
            } else {
                Err(Failure::new(format!("context {} does not exist", quote(name))))
            };
        }
        if cli.config().text("currentContext") == name {
            if !flags.force {
                return Err(Failure::new(format!(
                    "context {} is in use, set -f flag to force remove",
                    quote(name)
                )));
            }
            set_current(cli, DEFAULT)?;
        }
        store.remove(name)?;
        show(&format!("{name}\n"))
    })
}
