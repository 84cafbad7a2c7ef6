//! `compose exec`: one more command in a running container of a service.

use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Outcome};
use crate::commands::container::exec::{ExecFlags as ContainerFlags, exec as exec_in};
use crate::options::flags::Environment;
use crate::stream::terminal;

/// `exec`
pub(super) static COMMAND: Command = command!(ExecFlags, exec, {
    name: "exec",
    usage: "[OPTIONS] SERVICE COMMAND [ARGS...]",
    about: "Run one more command in a running container",
    arity: Arity::AtLeast(2),
    interspersed: false,
});

flags! {
    /// Flags of `exec`.
    struct ExecFlags {
        detach: bool ["detach" 'd'], "Run the command in the background";
        env: Environment ["env" 'e'], "Set environment variables";
        index: i64 ["index"], "In the container of that number";
        interactive: bool ["interactive" 'i'] = "true", "";
        no_tty: Option<bool> ["no-tty" 'T'], "Give it no terminal; without this it gets ours where there is one";
        no_tty_old: Option<bool> ["no-TTY"], "";
        privileged: bool ["privileged"], "Give the command all privileges";
        tty: Option<bool> ["tty" 't'], "";
        user: String ["user" 'u'], "User, by name or number (user[:group])";
        workdir: String ["workdir" 'w'], "Working directory";
    }
}

fn exec(cli: &Cli, flags: ExecFlags, mut args: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let project = session.name()?;
    args[0] = session.container(&project, &args[0], flags.index, false)?.id;
    let without = flags.no_tty.or(flags.no_tty_old).unwrap_or(!terminal::stdout_is_terminal());
    let mut inner = ContainerFlags {
        detach: flags.detach,
        env: flags.env,
        interactive: flags.interactive,
        privileged: flags.privileged,
        tty: !without && flags.tty != Some(false),
        user: flags.user,
        workdir: flags.workdir,
        ..ContainerFlags::default()
    };
    inner.detach_keys = String::new();
    exec_in(cli, inner, args)
}
