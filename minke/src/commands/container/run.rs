//! `run`: create, attach, start, and end as the container ends.

use super::create::{Wish, create};
use super::{check_tty, detach_keys, exit_code, follow_size, path, proxy_signals};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::{Flag, Flags, flags, joined};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::options::container::{StreamSet, refuse_foreign, request};
use crate::options::flags::ContainerFlags;
use crate::stream::attach::{Attached, End, run as copy};

/// `run`
pub(crate) static COMMAND: Command = command!(RunFlags, run, {
    name: "run",
    known_as: &["container run", "run"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Make a container of an image and start it",
    arity: Arity::AtLeast(1),
    interspersed: false,
    offer: Offer::Images,
});

flags! {
    /// What `run` has beyond `create`.
    struct OwnFlags {
        detach: bool ["detach" 'd'], "Run in the background and print the container's ID";
        detach_keys: String ["detach-keys"], "Keys that detach from the container";
        sig_proxy: bool ["sig-proxy"] = "true", "Forward signals to the process";
    }
}

/// All flags of `run`.
#[derive(Default)]
pub(crate) struct RunFlags {
    container: ContainerFlags,
    own: OwnFlags,
}

impl Flags for RunFlags {
    const FLAGS: &'static [Flag] = &joined::<{ ContainerFlags::FLAGS.len() + OwnFlags::FLAGS.len() }>(
        ContainerFlags::FLAGS,
        OwnFlags::FLAGS,
    );

    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        if OwnFlags::FLAGS.iter().any(|flag| flag.name == name) {
            self.own.set(name, text)
        } else {
            self.container.set(name, text)
        }
    }
}

/// The exit code that docker gives a container that could not start.
fn start_code(message: &str) -> i32 {
    const NOT_FOUND: [&str; 3] =
        ["executable file not found", "no such file or directory", "system cannot find the file specified"];
    if NOT_FOUND.iter().any(|part| message.contains(part)) {
        return 127;
    }
    if message.contains("permission denied") || message.contains("is a directory") { 126 } else { 125 }
}

fn run(cli: &Cli, flags: RunFlags, args: Vec<String>) -> Outcome {
    let RunFlags { container: flags, own } = flags;
    refuse_foreign(&flags)?;
    let wish = Wish::of(&flags).map_err(|why| cli.with_help(125, why))?;
    let (tty, auto_remove, attach_given) = (flags.tty, flags.rm, !flags.attach.0.is_empty());
    let proxies = cli.config().proxies(&cli.host()?.to_string());
    let mut request = request(flags, &args, proxies).map_err(|why| cli.with_help(125, why))?;
    let mut streams = request.streams;
    if own.detach {
        if attach_given {
            return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
        }
        streams = StreamSet::default();
        for name in ["AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"] {
            request.body[name] = false.into();
        }
    } else {
        check_tty(streams.stdin, tty)?;
    }
    let (key_text, keys) = detach_keys(cli, &own.detach_keys)?;
    let id = create(cli, &wish, &request)?;
    attend(
        cli,
        &id,
        &Attendance {
            streams,
            tty,
            keys,
            key_text,
            auto_remove,
            detach: own.detach,
            sig_proxy: own.sig_proxy,
        },
    )
}

/// How a container that was made is started and stayed with.
pub(crate) struct Attendance {
    /// Which of our streams take part.
    pub(crate) streams: StreamSet,
    /// Whether it has a terminal.
    pub(crate) tty: bool,
    /// The keys that detach.
    pub(crate) keys: Vec<u8>,
    /// The same as the daemon takes them; empty for docker's own.
    pub(crate) key_text: String,
    /// Whether it goes by itself when it ends.
    pub(crate) auto_remove: bool,
    /// Whether it is only started.
    pub(crate) detach: bool,
    /// Whether our signals are forwarded to it.
    pub(crate) sig_proxy: bool,
}

/// Starts a container, and ends as it ends.
pub(crate) fn attend(cli: &Cli, id: &str, attendance: &Attendance) -> Outcome {
    let Attendance { streams, tty, auto_remove, detach, sig_proxy, .. } = *attendance;
    let client = cli.client()?;
    // Before start: neither output nor the end of a short-lived container is missed.
    let attached = streams.stdin || streams.stdout || streams.stderr;
    let stream = match attached {
        true => {
            let mut query = vec![("stream", "1".to_owned())];
            for (name, wanted) in
                [("stdin", streams.stdin), ("stdout", streams.stdout), ("stderr", streams.stderr)]
            {
                if wanted {
                    query.push((name, "1".to_owned()));
                }
            }
            if !attendance.key_text.is_empty() {
                query.push(("detachKeys", attendance.key_text.clone()));
            }
            Some(
                client
                    .hijack(&path(id, "/attach"), &query, Payload::None)
                    .map_err(|error| cli.with_help(125, error))?,
            )
        }
        false => None,
    };
    let condition = if auto_remove { "removed" } else { "next-exit" };
    let waiting = match detach {
        false => Some(client.call(
            "POST",
            &path(id, "/wait"),
            &[("condition", condition.to_owned())],
            Payload::None,
        )?),
        true => None,
    };
    if sig_proxy && !detach {
        proxy_signals(cli, id)?;
    }
    if let Err(error) = client.act(&path(id, "/start"), &[]) {
        let text = error.to_string();
        drop(stream);
        if auto_remove && let Some(waiting) = waiting {
            // The container goes by itself; its name is free once this command has ended.
            let _ = waiting.json();
        }
        return Err(cli.with_help(start_code(&text), text));
    }
    let Some(waiting) = waiting else { return show(&format!("{id}\n")) };
    if !attached {
        show(&format!("{id}\n"))?;
    }
    if tty && (streams.stdin || streams.stdout) {
        follow_size(cli, &path(id, ""), false)?;
    }
    if let Some(stream) = stream {
        match copy(
            stream,
            Attached {
                stdin: streams.stdin,
                output: streams.stdout || streams.stderr,
                tty,
                keys: attendance.keys.clone(),
            },
        )? {
            End::Detached => return Ok(()),
            End::Closed => {}
            End::Broken(error) => return Err(Failure { code: 125, text: error.to_string() }),
        }
    }
    match exit_code(&waiting.json().map_err(|error| Failure { code: 125, text: error.to_string() })?)? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_starts_have_dockers_codes() {
        assert_eq!(start_code("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(start_code("exec: \"/etc\": is a directory: permission denied"), 126);
        assert_eq!(start_code("port is already allocated"), 125);
    }
}
