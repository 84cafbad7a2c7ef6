//! A daemon that comes back: on the same Unix socket, after an upgrade or a crash.

use super::http::Payload;
use super::{Client, Host};
use rustix::fs::inotify;
use std::mem::MaybeUninit;
use std::path::Path;

/// Waits until a daemon answers on the client's Unix socket again; the kernel tells when one appears.
/// The error is a sentence: other kinds of address cannot be watched.
pub(crate) fn wait(client: &Client) -> Result<(), String> {
    let gone = |why: &str| format!("error from daemon in stream: {why}");
    let Host::Unix(socket) = client.host() else { return Err(gone("the connection was lost")) };
    let directory = socket.parent().unwrap_or(Path::new("/"));
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(|error| gone(&error.to_string()))?;
    let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ATTRIB;
    inotify::add_watch(&watch, directory, flags).map_err(|_| gone("the daemon has gone"))?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    loop {
        // A daemon that is up already was made before the watch was.
        match client.call("GET", "/_ping", &[], Payload::None).and_then(|answer| answer.drain()) {
            Err(error) if error.is_lost() => {}
            _ => return Ok(()),
        }
        events.next().map_err(|error| gone(&error.to_string()))?;
    }
}
