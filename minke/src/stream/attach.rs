//! An attached stream: this command's standard streams on one side, a container's on the other.

use super::detach::Watch;
use super::{demux, terminal};
use crate::client::Stream;
use std::io::{self, Read, Write};
use std::sync::mpsc;

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
    let Stream { reader, mut writer } = stream;
    let (tell, ended) = mpsc::channel();
    // Raw only while attached: it is restored on every way out of here.
    let raw = if attached.stdin && attached.tty { terminal::Raw::enter()? } else { None };
    let input_counts = !attached.output;
    if attached.stdin {
        let tell = tell.clone();
        let mut watch = Watch::new(attached.keys);
        let mut input = terminal::stdin()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            loop {
                match input.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        let (passed, detached) = watch.pass(&buffer[..count]);
                        if !passed.is_empty()
                            && writer.write_all(&passed).and_then(|()| writer.flush()).is_err()
                        {
                            break;
                        }
                        if detached {
                            let _ = tell.send(End::Detached);
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            // End of input is passed on; the output may still have much to say.
            writer.finish();
            if input_counts {
                let _ = tell.send(End::Closed);
            }
        });
    }
    if attached.output {
        let (mut out, mut err) = (terminal::stdout()?, terminal::stderr()?);
        std::thread::spawn(move || {
            let copied = if attached.tty {
                copy_raw(reader, &mut out)
            } else {
                demux::copy(reader, &mut out, &mut err)
            };
            let _ = tell.send(copied.map_or_else(End::Broken, |()| End::Closed));
        });
    }
    let end = ended.recv().unwrap_or(End::Closed);
    drop(raw);
    Ok(end)
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
