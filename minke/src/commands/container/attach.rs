//! `attach`. When the daemon goes away meanwhile, it goes on with the next one on the same socket.

use super::{check_tty, detach_keys, exit_code, follow_size, get, path, proxy_signals};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::client::{Client, ClientError, revival};
use crate::stream::attach::{Attached, End, Session, copy_raw};
use crate::stream::{demux, terminal};

/// `attach`
pub(crate) static COMMAND: Command = command!(AttachFlags, attach, {
    name: "attach",
    known_as: &["container attach", "attach"],
    usage: "[OPTIONS] CONTAINER",
    about: "Connect this terminal to a running container",
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

/// Does it for containers that are named.
pub(crate) fn attach(cli: &Cli, flags: AttachFlags, args: Vec<String>) -> Outcome {
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
    let mut query = vec![("stream", "1".to_owned()), ("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    if stdin {
        query.push(("stdin", "1".to_owned()));
    }
    if !key_text.is_empty() {
        query.push(("detachKeys", key_text));
    }
    let session = Session::new(Attached { stdin, output: true, tty, keys })?;
    let mut lost = None;
    loop {
        let waiting = client.call("POST", &path(id, "/wait"), &[], Payload::None)?;
        let stream = client.hijack(&path(id, "/attach"), &query, Payload::None)?;
        match lost.take() {
            Some(since) => catch_up(client, id, tty, since)?,
            None if tty => follow_size(cli, &path(id, ""), true)?,
            None => {}
        }
        let broken = match session.run(stream)? {
            End::Detached => return Err(Failure::new("read escape sequence")),
            End::Closed => None,
            End::Broken(error) => Some(error),
        };
        match waiting.json() {
            Ok(answer) => {
                return match (broken, exit_code(&answer)?) {
                    (Some(error), _) => Err(error.into()),
                    (None, 0) => Ok(()),
                    (None, code) => Err(Failure::silent(code)),
                };
            }
            // The daemon went away, not the container.
            Err(error) if error.is_lost() => {}
            Err(error) => return Err(error.into()),
        }
        lost = Some(jiff::Timestamp::now());
        revival::wait(client).map_err(Failure::new)?;
        let container = get(client, id)?;
        if !container.bool("State.Running") {
            catch_up(client, id, tty, lost.unwrap_or_default())?;
            return match container.int("State.ExitCode") as i32 {
                0 => Ok(()),
                code => Err(Failure::silent(code)),
            };
        }
    }
}

/// Shows what was written while no daemon was there to pass it on, as the log has it.
fn catch_up(client: &Client, id: &str, tty: bool, since: jiff::Timestamp) -> Outcome {
    let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
    let query = [("stdout", "1".to_owned()), ("stderr", "1".to_owned()), ("since", since)];
    let answer = match client.call("GET", &path(id, "/logs"), &query, Payload::None) {
        // A log that is kept elsewhere has nothing to show here.
        Err(ClientError::Daemon { .. }) => return Ok(()),
        answer => answer?,
    };
    let (mut out, mut err) = (terminal::stdout()?, terminal::stderr()?);
    let copied =
        if tty { copy_raw(answer.body, &mut out) } else { demux::copy(answer.body, &mut out, &mut err) };
    Ok(copied?)
}
