//! `exec`

use super::{check_name, check_tty, detach_keys, follow_size, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::options::env;
use crate::options::flags::Environment;
use crate::stream::attach::{Attached, End, run as copy};
use crate::stream::terminal;
use serde_json::json;

/// `exec`
pub(crate) static COMMAND: Command = command!(ExecFlags, exec, {
    name: "exec",
    known_as: &["container exec", "exec"],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run one more command in a running container",
    arity: Arity::AtLeast(2),
    interspersed: false,
    offer: Offer::Running,
});

flags! {
    /// Flags of `exec`.
    struct ExecFlags {
        detach: bool ["detach" 'd'], "Run the command in the background";
        detach_keys: String ["detach-keys"], "Keys that detach from the container";
        env: Environment ["env" 'e'], "Set environment variables";
        env_file: Vec<String> ["env-file"], "Read environment variables from a file";
        interactive: bool ["interactive" 'i'], "Keep stdin open even if not attached";
        privileged: bool ["privileged"], "Give the command all privileges";
        tty: bool ["tty" 't'], "Give it a terminal";
        user: String ["user" 'u'], "User, by name or number (user[:group])";
        workdir: String ["workdir" 'w'], "Working directory";
    }
}

/// Runs `args[1..]` in the container `args[0]`.
pub(crate) fn exec(cli: &Cli, flags: ExecFlags, args: Vec<String>) -> Outcome {
    check_name(&args[0])?;
    let environment = env::environment(&flags.env_file, &flags.env.0)?;
    let (key_text, keys) = detach_keys(cli, &flags.detach_keys)?;
    let stdin = flags.interactive && !flags.detach;
    if !flags.detach {
        check_tty(stdin, flags.tty)?;
    }
    let size = terminal::size().filter(|_| flags.tty).map(|(rows, columns)| json!([rows, columns]));
    let mut body = json!({
        "User": flags.user,
        "Privileged": flags.privileged,
        "Tty": flags.tty,
        "AttachStdin": stdin,
        "AttachStdout": !flags.detach,
        "AttachStderr": !flags.detach,
        "DetachKeys": key_text,
        "Env": environment,
        "WorkingDir": flags.workdir,
        "Cmd": args[1..],
    });
    if let Some(size) = &size {
        body["ConsoleSize"] = size.clone();
    }
    let client = cli.client()?;
    let id = client.post(&path(&args[0], "/exec"), &[], &body)?.text("Id").to_owned();
    if id.is_empty() {
        return Err(Failure::new("exec ID empty"));
    }
    let mut start = json!({"Detach": flags.detach, "Tty": flags.tty});
    if let Some(size) = size {
        start["ConsoleSize"] = size;
    }
    let target = format!("/exec/{id}");
    if flags.detach {
        client.call("POST", &format!("{target}/start"), &[], Payload::json(&start))?.drain()?;
        return Ok(());
    }
    let stream = client.hijack(&format!("{target}/start"), &[], Payload::json(&start))?;
    if flags.tty {
        follow_size(cli, &target, false)?;
    }
    match copy(stream, Attached { stdin, output: true, tty: flags.tty, keys })? {
        End::Detached => return Err(Failure::new("read escape sequence")),
        End::Closed => {}
        End::Broken(error) => return Err(error.into()),
    }
    let ended = match client.get(&format!("{target}/json"), &[]) {
        Ok(ended) => ended,
        // The daemon that is gone cannot tell; docker says "failed" then.
        Err(error) if error.is_lost() => return Err(Failure::silent(-1)),
        Err(error) => return Err(error.into()),
    };
    match ended.int("ExitCode") as i32 {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}
