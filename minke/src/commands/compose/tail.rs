//! What the containers of a project write, line by line on one stdout: each with its container's name in front.

mod monitor;

pub(crate) use monitor::{Happened, What, events, listen};

use crate::cli::Failure;
use crate::client::Client;
use crate::client::http::Payload;
use crate::commands::container::path;
use crate::stream::attach::copy_raw;
use crate::stream::{demux, terminal};
use minke_compose::running::Container;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Colours in docker compose's order: cyan, yellow, green, magenta, blue, then bright.
const COLOURS: [&str; 10] = ["36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1"];

/// A line is broken where it is longer.
const LINE_LIMIT: usize = 1 << 20;

/// Prints lines of several containers, each whole.
pub(crate) struct Printer {
    /// Whether names have colours.
    pub(crate) colour: bool,
    /// Whether lines begin with names.
    pub(crate) prefix: bool,
    /// Whether lines begin with the present time.
    pub(crate) timestamps: bool,
    names: Mutex<BTreeMap<String, &'static str>>,
}

impl Printer {
    /// A printer; colours are for terminals only.
    pub(crate) fn new(colour: bool, prefix: bool, timestamps: bool) -> Self {
        let colour = colour && terminal::stdout_is_terminal();
        Self { colour, prefix, timestamps, names: Mutex::default() }
    }

    /// A container by that name will write.
    pub(crate) fn register(&self, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let next = COLOURS[names.len() % COLOURS.len()];
        names.entry(name.to_owned()).or_insert(next);
    }

    /// Prints a line of `name`, without its end.
    pub(crate) fn line(&self, name: &str, line: &[u8], to_stderr: bool) -> io::Result<()> {
        let mut text = Vec::with_capacity(line.len() + 64);
        {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if self.prefix {
                let width = names.keys().map(String::len).max().unwrap_or(0) + 1;
                let prefix = format!("{name:width$} | ");
                text.extend_from_slice(self.coloured(names.get(name), &prefix).as_bytes());
            }
        }
        if self.timestamps {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ ");
            text.extend_from_slice(now.to_string().as_bytes());
        }
        text.extend_from_slice(line);
        text.push(b'\n');
        match to_stderr {
            true => io::stderr().lock().write_all(&text),
            false => io::stdout().lock().write_all(&text).and_then(|()| io::stdout().lock().flush()),
        }
    }

    /// Says what happened to a container.
    pub(crate) fn status(&self, name: &str, what: &str) {
        let colour = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        let reset = if terminal::stdout_is_terminal() { "\r\x1b[K" } else { "" };
        let text = self.coloured(colour.as_ref(), &format!("{reset}{name} {what}\n"));
        // Who closed stdout does not want to know.
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    fn coloured(&self, colour: Option<&&'static str>, text: &str) -> String {
        match colour {
            Some(colour) if self.colour => format!("\x1b[{colour}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// Cuts what a container writes into lines for the printer.
struct Lines<'a> {
    printer: &'a Printer,
    name: &'a str,
    to_stderr: bool,
    part: Vec<u8>,
}

impl Lines<'_> {
    fn print(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.part);
        self.printer.line(self.name, line.strip_suffix(b"\r").unwrap_or(&line), self.to_stderr)
    }

    fn end(mut self) -> io::Result<()> {
        if self.part.is_empty() { Ok(()) } else { self.print() }
    }
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.part.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if piece.ends_with(b"\n") || self.part.len() > LINE_LIMIT {
                self.print()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a stream of the daemon's until it ends.
fn print(printer: &Printer, name: &str, from: impl io::Read, tty: bool, split: bool) -> io::Result<()> {
    let lines = |to_stderr| Lines { printer, name, to_stderr, part: Vec::new() };
    let (mut out, mut err) = (lines(false), lines(split));
    match tty {
        true => copy_raw(from, &mut out)?,
        false => demux::copy(from, &mut out, &mut err)?,
    }
    out.end()?;
    err.end()
}

/// Prints what the daemon has of a container's output, and with `follow` in `query` what comes.
pub(crate) fn logs(
    client: &Client,
    printer: &Printer,
    (id, name): (&str, &str),
    query: &[(&'static str, String)],
) -> Result<(), Failure> {
    let tty = client.get(&path(id, "/json"), &[])?.bool("Config.Tty");
    let mut all = vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    all.extend_from_slice(query);
    match client.call("GET", &path(id, "/logs"), &all, Payload::None) {
        Ok(answer) => Ok(print(printer, name, answer.body, tty, false)?),
        // Its log goes where it cannot be read.
        Err(crate::client::ClientError::Daemon { status: 501, message }) => {
            super::warn(&format!("Can't retrieve logs for {}: {message}", minke_model::go::quote(name)));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints what a container writes from now on, also before it is started.
pub(crate) fn attach(
    client: &Arc<Client>,
    printer: &Arc<Printer>,
    container: &Container,
) -> Result<JoinHandle<()>, Failure> {
    let tty = client.get(&path(&container.id, "/json"), &[])?.bool("Config.Tty");
    let query = [("stream", "1".to_owned()), ("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    let stream = client.hijack(&path(&container.id, "/attach"), &query, Payload::None)?;
    let (printer, name) = (Arc::clone(printer), container.short_name().to_owned());
    Ok(std::thread::spawn(move || {
        let crate::client::Stream { reader, writer } = stream;
        // A stream that breaks ends: what is left to say comes from the daemon's events.
        let _ = print(&printer, &name, reader, tty, true);
        drop(writer);
    }))
}

/// Containers whose output is followed, and what happens to them.
pub(crate) struct Tail {
    client: Arc<Client>,
    printer: Arc<Printer>,
    /// Those that may still write, by id.
    alive: BTreeSet<String>,
    streams: BTreeMap<String, JoinHandle<()>>,
    /// Their events, and whatever else the caller waits for.
    pub(crate) messages: Receiver<Message>,
    /// For further sources of messages.
    pub(crate) tell: Sender<Message>,
}

/// What a tail waits for.
pub(crate) enum Message {
    /// Something happened to a container.
    Happened(Happened),
    /// The daemon tells no more.
    Ended(String),
    /// A signal came.
    Signal,
    /// The work beside the tail ended.
    Done(Result<(), Failure>),
}

impl Tail {
    /// A tail of nothing yet.
    pub(crate) fn new(client: Arc<Client>, printer: Arc<Printer>) -> Self {
        let (tell, messages) = channel();
        Self { client, printer, alive: BTreeSet::new(), streams: BTreeMap::new(), messages, tell }
    }

    /// Counts a container as one whose end is waited for.
    pub(crate) fn expect(&mut self, id: &str) {
        self.alive.insert(id.to_owned());
    }

    /// Takes in a stream that is printed already.
    pub(crate) fn took(&mut self, id: &str, stream: JoinHandle<()>) {
        self.streams.insert(id.to_owned(), stream);
    }

    /// Whether nobody is left to write.
    pub(crate) fn is_over(&self) -> bool {
        self.alive.is_empty()
    }

    /// Follows a container's log.
    pub(crate) fn follow(&mut self, id: &str, name: &str, mut query: Vec<(&'static str, String)>) {
        query.push(("follow", "1".to_owned()));
        self.printer.register(name);
        let (client, printer) = (Arc::clone(&self.client), Arc::clone(&self.printer));
        let (id_, name) = (id.to_owned(), name.to_owned());
        let stream = std::thread::spawn(move || {
            if let Err(failure) = logs(&client, &printer, (&id_, &name), &query) {
                super::warn(&failure.text);
            }
        });
        self.streams.insert(id.to_owned(), stream);
    }

    /// Takes in what happened, and says it. `again` is how a container that starts is followed.
    pub(crate) fn happened(&mut self, happened: &Happened, again: &[(&'static str, String)]) {
        match &happened.what {
            What::Created { replaces } => {
                self.alive.insert(happened.id.clone());
                if let Some(replaced) = replaces {
                    self.printer.status(replaced, "has been recreated");
                }
            }
            What::Started { at } => {
                self.alive.insert(happened.id.clone());
                if self.streams.get(&happened.id).is_none_or(JoinHandle::is_finished) {
                    let mut query = again.to_vec();
                    query.push(("since", at.clone()));
                    self.follow(&happened.id, &happened.name, query);
                }
            }
            What::Died { code, restarts } => {
                // Its last words come first.
                if let Some(stream) = self.streams.remove(&happened.id) {
                    let _ = stream.join();
                }
                let more = if *restarts { " (restarting)" } else { "" };
                self.printer.status(&happened.name, &format!("exited with code {code}{more}"));
                if !restarts {
                    self.alive.remove(&happened.id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_they_arrive() {
        let printer = Printer::new(true, true, false);
        let mut lines = Lines { printer: &printer, name: "a-1", to_stderr: false, part: Vec::new() };
        lines.write_all(b"half").unwrap();
        assert_eq!(lines.part, b"half");
        lines.write_all(b" a line\r\nnext").unwrap();
        assert_eq!(lines.part, b"next");
    }
}
