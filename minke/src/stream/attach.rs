//! An attached stream: this command's standard streams on one side, a container's on the other.

use super::detach::Watch;
use super::{demux, terminal};
use crate::client::Stream;
use crate::client::connection::Sender;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};

/// Which of our streams take part, and how.
pub(crate) struct Attached {
    /// Whether stdin is sent.
    pub(crate) stdin: bool,
    /// Whether output is shown at all.
    pub(crate) output: bool,
    /// Whether the other side is a terminal: one raw stream instead of frames.
    pub(crate) tty: bool,
    /// The keys that detach, when stdin is sent.
    pub(crate) keys: Vec<u8>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The other side closed the stream.
    Closed,
    /// The user typed the detach keys.
    Detached,
    /// The stream broke.
    Broken(io::Error),
}

/// Copies both ways until the output ends, or the user detaches.
pub(crate) fn run(stream: Stream, attached: Attached) -> io::Result<End> {
    Session::new(attached)?.run(stream)
}

/// Where what is typed goes at the moment.
#[derive(Default)]
struct Slot {
    writer: Option<Sender>,
    tell: Option<mpsc::Sender<End>>,
}

/// The slot and its bell.
type Shared = Arc<(Mutex<Slot>, Condvar)>;

/// Our side of an attachment. It may go on over several streams, when the daemon was away in between.
pub(crate) struct Session {
    attached: Attached,
    shared: Shared,
}

impl Session {
    /// Begins to read stdin, when it takes part.
    pub(crate) fn new(mut attached: Attached) -> io::Result<Self> {
        let shared = Shared::default();
        if attached.stdin {
            // Only at a terminal are keys typed: what comes from a file may have their bytes.
            let keys = if attached.tty { std::mem::take(&mut attached.keys) } else { Vec::new() };
            let watch = Watch::new(keys);
            let (input, shared, output) = (terminal::stdin()?, Arc::clone(&shared), attached.output);
            std::thread::spawn(move || pump(input, watch, &shared, output));
        }
        Ok(Self { attached, shared })
    }

    /// Copies both ways until the output of `stream` ends, or the user detaches.
    pub(crate) fn run(&self, stream: Stream) -> io::Result<End> {
        let Stream { reader, writer } = stream;
        let (tell, ended) = mpsc::channel();
        let Attached { stdin, output, tty, .. } = self.attached;
        // Raw only while attached: it is restored on every way out of here.
        let raw = if stdin && tty { terminal::Raw::enter()? } else { None };
        {
            let mut slot = lock(&self.shared);
            *slot = Slot { writer: Some(writer), tell: Some(tell.clone()) };
            self.shared.1.notify_all();
        }
        if output {
            let (mut out, mut err) = (terminal::stdout()?, terminal::stderr()?);
            std::thread::spawn(move || {
                let copied =
                    if tty { copy_raw(reader, &mut out) } else { demux::copy(reader, &mut out, &mut err) };
                let _ = tell.send(copied.map_or_else(End::Broken, |()| End::Closed));
            });
        }
        let end = ended.recv().unwrap_or(End::Closed);
        lock(&self.shared).writer = None;
        drop(raw);
        Ok(end)
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Slot> {
    shared.0.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Sends what is typed to the stream of the moment, until stdin ends or the user detaches.
fn pump(mut input: impl Read, mut watch: Watch, shared: &Shared, output: bool) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let (passed, detached) = watch.pass(&buffer[..count]);
                if !passed.is_empty() {
                    send(shared, &passed);
                }
                if detached {
                    if let Some(tell) = &lock(shared).tell {
                        let _ = tell.send(End::Detached);
                    }
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // The end of input is passed on; the output may still have much to say.
    let mut slot = lock(shared);
    if let Some(writer) = &mut slot.writer {
        writer.finish();
    }
    if let Some(tell) = slot.tell.as_ref().filter(|_| !output) {
        let _ = tell.send(End::Closed);
    }
}

/// Writes to the stream of the moment, or to the next one when there is none.
fn send(shared: &Shared, bytes: &[u8]) {
    let mut slot = lock(shared);
    loop {
        if let Some(writer) = &mut slot.writer {
            if writer.write_all(bytes).and_then(|()| writer.flush()).is_ok() {
                return;
            }
            slot.writer = None;
        }
        slot = shared.1.wait(slot).unwrap_or_else(|poison| poison.into_inner());
    }
}

/// Copies at once what comes, without holding any of it back.
pub(crate) fn copy_raw(mut from: impl Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
