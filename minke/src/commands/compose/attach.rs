//! `compose attach`: connects this terminal to a container of a service.

use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::container::attach::{AttachFlags as ContainerFlags, attach as attach_to};

/// `attach`
pub(super) static COMMAND: Command = command!(AttachFlags, attach, {
    name: "attach",
    usage: "[OPTIONS] SERVICE",
    about: "Connect this terminal to a running container of a service",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `attach`.
    struct AttachFlags {
        detach_keys: String ["detach-keys"], "Keys that detach from the container";
        index: i64 ["index"], "To the container of that number";
        no_stdin: bool ["no-stdin"], "Do not attach stdin";
        sig_proxy: bool ["sig-proxy"] = "true", "Forward signals to the process";
    }
}

fn attach(cli: &Cli, flags: AttachFlags, args: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    let id = session.container(&name, &args[0], flags.index, false)?.id;
    let inner = ContainerFlags {
        detach_keys: flags.detach_keys,
        no_stdin: flags.no_stdin,
        sig_proxy: flags.sig_proxy,
    };
    attach_to(cli, inner, vec![id])
}
