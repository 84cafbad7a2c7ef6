//! `attach`

use super::{check_tty, detach_keys, exit_code, follow_size, get, path, proxy_signals};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::stream::attach::{Attached, End, run as copy};

/// `attach`
pub(crate) static COMMAND: Command = command!(AttachFlags, attach, {
    name: "attach",
    known_as: &["container attach", "attach"],
    usage: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    arity: Arity::Exactly(1),
    offer: Offer::Running,
});

flags! {
    /// Flags of `attach`.
    struct AttachFlags {
        detach_keys: String ["detach-keys"], "Keys that detach from the container";
        no_stdin: bool ["no-stdin"], "Do not attach stdin";
        sig_proxy: bool ["sig-proxy"] = "true", "Forward signals to the process";
    }
}

fn attach(cli: &Cli, flags: AttachFlags, args: Vec<String>) -> Outcome {
    let name = &args[0];
    let client = cli.client()?;
    let container = get(client, name)?;
    if !container.bool("State.Running") {
        return Err(Failure::new("You cannot attach to a stopped container, start it first"));
    }
    if container.bool("State.Paused") {
        return Err(Failure::new("You cannot attach to a paused container, unpause it first"));
    }
    if container.bool("State.Restarting") {
        return Err(Failure::new("You cannot attach to a restarting container, wait until it is running"));
    }
    let (id, tty) = (container.text("Id"), container.bool("Config.Tty"));
    let stdin = !flags.no_stdin && container.bool("Config.OpenStdin");
    check_tty(!flags.no_stdin, tty)?;
    let (key_text, keys) = detach_keys(cli, &flags.detach_keys)?;
    if flags.sig_proxy && !tty {
        proxy_signals(cli, id)?;
    }
    let waiting = client.call("POST", &path(id, "/wait"), &[], Payload::None)?;
    let mut query = vec![("stream", "1".to_owned()), ("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    if stdin {
        query.push(("stdin", "1".to_owned()));
    }
    if !key_text.is_empty() {
        query.push(("detachKeys", key_text));
    }
    let stream = client.hijack(&path(id, "/attach"), &query, Payload::None)?;
    if tty {
        follow_size(cli, &path(id, ""), true)?;
    }
    match copy(stream, Attached { stdin, output: true, tty, keys })? {
        End::Detached => return Err(Failure::new("read escape sequence")),
        End::Closed => {}
        End::Broken(error) => return Err(error.into()),
    }
    match exit_code(&waiting.json()?)? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}
