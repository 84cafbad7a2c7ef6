//! `start`

use super::{check_name, check_tty, detach_keys, exit_code, follow_size, get, path, proxy_signals};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::output::warn;
use crate::stream::attach::{Attached, End, run as copy};

/// `start`
pub(crate) static COMMAND: Command = command!(StartFlags, start, {
    name: "start",
    known_as: &["container start", "start"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start containers",
    arity: Arity::AtLeast(1),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `start`.
    struct StartFlags {
        attach: bool ["attach" 'a'], "Attach to the output and forward signals";
        checkpoint: String ["checkpoint"], "";
        checkpoint_dir: String ["checkpoint-dir"], "";
        detach_keys: String ["detach-keys"], "Keys that detach from the container";
        interactive: bool ["interactive" 'i'], "Attach to the container's stdin";
        sig_proxy: bool ["sig-proxy"] = "true", "";
    }
}

fn start(cli: &Cli, flags: StartFlags, args: Vec<String>) -> Outcome {
    if !flags.checkpoint.is_empty() || !flags.checkpoint_dir.is_empty() {
        return Err(Failure::new("checkpoints are not supported"));
    }
    if flags.attach || flags.interactive {
        return match args.as_slice() {
            [name] => start_attached(cli, &flags, name),
            _ => Err(Failure::new("you cannot start and attach multiple containers at once")),
        };
    }
    let client = cli.client()?;
    let mut failed = Vec::new();
    for name in &args {
        match check_name(name).and_then(|()| Ok(client.act(&path(name, "/start"), &[])?)) {
            Ok(()) => show(&format!("{name}\n"))?,
            Err(failure) => {
                warn(failure.text);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!("Error: failed to start containers: {}", failed.join(", "))))
    }
}

fn start_attached(cli: &Cli, flags: &StartFlags, name: &str) -> Outcome {
    let client = cli.client()?;
    let container = get(client, name)?;
    let (id, tty) = (container.text("Id").to_owned(), container.bool("Config.Tty"));
    let stdin = flags.interactive && container.bool("Config.OpenStdin");
    check_tty(stdin, tty)?;
    let (key_text, keys) = detach_keys(cli, &flags.detach_keys)?;
    let mut query = vec![("stream", "1".to_owned()), ("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    if stdin {
        query.push(("stdin", "1".to_owned()));
    }
    if !key_text.is_empty() {
        query.push(("detachKeys", key_text));
    }
    if flags.sig_proxy && !tty {
        proxy_signals(cli, &id)?;
    }
    let stream = client.hijack(&path(&id, "/attach"), &query, Payload::None)?;
    let condition = if container.bool("HostConfig.AutoRemove") { "removed" } else { "next-exit" };
    let waiting =
        client.call("POST", &path(&id, "/wait"), &[("condition", condition.to_owned())], Payload::None)?;
    client.act(&path(&id, "/start"), &[])?;
    if tty {
        follow_size(cli, &path(&id, ""), false)?;
    }
    match copy(stream, Attached { stdin, output: true, tty, keys })? {
        End::Detached => return Ok(()),
        End::Closed => {}
        End::Broken(error) => return Err(error.into()),
    }
    match exit_code(&waiting.json()?)? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}
