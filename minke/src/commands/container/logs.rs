//! `logs`: what a container wrote. With `--follow`, also across a restart of the daemon.

use super::{get, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::client::{Client, ClientError, revival};
use crate::options::moment;
use crate::stream::{attach::copy_raw, demux, terminal};
use std::io::{self, Read, Write};

/// `logs`
pub(crate) static COMMAND: Command = command!(LogsFlags, logs, {
    name: "logs",
    known_as: &["container logs", "logs"],
    usage: "[OPTIONS] CONTAINER",
    about: "Show what a container wrote",
    arity: Arity::Exactly(1),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `logs`.
    struct LogsFlags {
        details: bool ["details"], "Show the attributes that a log carries";
        follow: bool ["follow" 'f'], "Go on with what is written from now on";
        since: String ["since"], "Only from then on (e.g. \"2013-01-02T13:23:37Z\", or \"42m\" for 42 minutes ago)";
        tail: String ["tail" 'n'] = "all", "Number of lines from the end";
        timestamps: bool ["timestamps" 't'], "Show when each line was written";
        until: String ["until"], "Only before then (e.g. \"2013-01-02T13:23:37Z\", or \"42m\" for 42 minutes ago)";
    }
}

fn logs(cli: &Cli, flags: LogsFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let container = get(client, &args[0])?;
    let (id, tty) = (container.text("Id"), container.bool("Config.Tty"));
    let now = jiff::Timestamp::now();
    let mut query =
        vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned()), ("tail", flags.tail.clone())];
    for (name, text) in [("since", &flags.since), ("until", &flags.until)] {
        if !text.is_empty() {
            let moment = moment::parse(text, now).map_err(|why| {
                Failure::new(format!("invalid value for {}: {why}", minke_model::go::quote(name)))
            })?;
            query.push((name, moment));
        }
    }
    for (name, given) in [("details", flags.details), ("follow", flags.follow)] {
        if given {
            query.push((name, "1".to_owned()));
        }
    }
    if flags.follow {
        return follow(client, id, tty, query, flags.timestamps);
    }
    if flags.timestamps {
        query.push(("timestamps", "1".into()));
    }
    let answer = client.call("GET", &path(id, "/logs"), &query, Payload::None)?;
    let (mut out, mut err) = (terminal::stdout()?, terminal::stderr()?);
    if tty {
        copy_raw(answer.body, &mut out)?
    } else {
        demux::copy(answer.body, &mut out, &mut err)?
    }
    Ok(())
}

/// Follows until the container's log has ended. When the daemon goes away meanwhile, it waits for the
/// next one on the same socket and goes on after the last line that was shown.
fn follow(
    client: &Client,
    id: &str,
    tty: bool,
    mut query: Vec<(&'static str, String)>,
    timestamps: bool,
) -> Outcome {
    query.push(("timestamps", "1".into()));
    let mut out = Lines::new(terminal::stdout()?, timestamps);
    let mut err = Lines::new(terminal::stderr()?, timestamps);
    loop {
        let ended = match client.call("GET", &path(id, "/logs"), &query, Payload::None) {
            Ok(answer) => copy(answer.body, tty, &mut out, &mut err),
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) if query.iter().any(|(name, _)| *name == "until") || !still_runs(client, id) => {
                return Ok(());
            }
            Ok(()) => {}
            Err(error) if error.is_lost() => {}
            Err(error) => return Err(error.into()),
        }
        let last = out.last.clone().max(err.last.clone());
        revival::wait(client).map_err(Failure::new)?;
        query.retain(|(name, _)| *name != "tail" && (*name != "since" || last.is_empty()));
        if let Some(moment) = jiff_moment(&last) {
            query.push(("since", moment));
        }
        out.resume(&last);
        err.resume(&last);
    }
}

fn copy(body: impl Read, tty: bool, out: &mut Lines, err: &mut Lines) -> Result<(), ClientError> {
    let copied = if tty { copy_raw(body, out) } else { demux::copy(body, out, err) };
    Ok(copied?)
}

/// Whether the stream ended because its daemon did, rather than the container.
fn still_runs(client: &Client, id: &str) -> bool {
    match client.get(&path(id, "/json"), &[]) {
        Ok(container) => container.bool("State.Running") && !container.bool("State.Restarting"),
        Err(error) => error.is_lost(),
    }
}

fn jiff_moment(text: &str) -> Option<String> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(format!("{}.{:09}", moment.as_second(), moment.subsec_nanosecond()))
}

/// Lines that come with their time in front: remembers the last one, and shows it only when asked.
struct Lines {
    to: std::fs::File,
    shown: bool,
    last: String,
    skip_until: String,
    head: Vec<u8>,
    in_line: bool,
    skipping: bool,
}

/// A time is never longer; what is longer is no time.
const HEAD_LIMIT: usize = 64;

impl Lines {
    fn new(to: std::fs::File, shown: bool) -> Self {
        Self {
            to,
            shown,
            last: String::new(),
            skip_until: String::new(),
            head: Vec::new(),
            in_line: false,
            skipping: false,
        }
    }

    /// Skips lines up to `last`, which were shown before.
    fn resume(&mut self, last: &str) {
        self.skip_until = last.to_owned();
        self.head.clear();
        self.in_line = false;
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            if !self.in_line {
                let space = rest.iter().position(|&byte| byte == b' ');
                let taken = space.map_or(rest.len(), |at| at + 1);
                self.head.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                if space.is_none() && self.head.len() < HEAD_LIMIT {
                    continue;
                }
                let time = String::from_utf8_lossy(&self.head).trim_end().to_owned();
                self.skipping = !self.skip_until.is_empty() && time <= self.skip_until;
                if self.shown && !self.skipping {
                    out.extend_from_slice(&self.head);
                }
                self.last = time.max(std::mem::take(&mut self.last));
                self.head.clear();
                self.in_line = true;
                continue;
            }
            let end = rest.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(rest.len(), |at| at + 1);
            if !self.skipping {
                out.extend_from_slice(&rest[..taken]);
            }
            rest = &rest[taken..];
            self.in_line = end.is_none();
        }
        self.to.write_all(&out)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom};

    #[test]
    fn times_are_hidden_and_lines_not_shown_twice() {
        let path = std::env::temp_dir().join(format!("minke-lines-{}", std::process::id()));
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut reader = file.try_clone().unwrap();
        let mut lines = Lines::new(file, false);
        for part in ["2026-01-01T00:00:01.1Z a\n2026-01-", "01T00:00:02.0Z b c\n"] {
            lines.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(lines.last, "2026-01-01T00:00:02.0Z");
        lines.resume("2026-01-01T00:00:02.0Z");
        lines.write_all(b"2026-01-01T00:00:02.0Z b c\n2026-01-01T00:00:03.0Z d\n").unwrap();
        let mut text = String::new();
        reader.seek(SeekFrom::Start(0)).unwrap();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\nb c\nd\n");
        std::fs::remove_file(path).unwrap();
    }
}
