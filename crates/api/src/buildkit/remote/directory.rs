//! Directories on a session, both ways: fsutil's protocol, the halves that a daemon does not have (tonistiigi/fsutil
//! `send.go`, `receive.go`).

use crate::buildkit::{
    grpc::Pieces,
    mode,
    proto::fsutil::{self, Packet, Stat},
    send,
};
use futures_util::stream::poll_fn;
use minke_engine::build::host::{Files, Wanted};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming, metadata::MetadataMap};

/// Messages that wait for the daemon.
const WAITING: usize = 32;

/// What of a directory is wanted (BuildKit `session/filesync/filesync.go`).
pub(super) fn wanted(fields: &MetadataMap) -> Wanted {
    let list = |name: &str| {
        let encoded = fields.get(format!("{name}-encoded")).is_some();
        let text = |value: &str| if encoded { crate::query::decode(value, true) } else { value.to_owned() };
        let values = fields.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.map(text).collect::<Vec<_>>()
    };
    Wanted {
        include: list("include-patterns"),
        exclude: list("exclude-patterns"),
        follow: list("followpaths"),
    }
}

/// Gives a directory: every entry, then the bytes of those that are asked for.
pub(super) fn give(files: Arc<dyn Files>, asks: Streaming<Packet>) -> Pieces<Packet> {
    let (say, mut said) = mpsc::channel::<Result<Packet, Status>>(WAITING);
    tokio::spawn(async move {
        let (packets, mut come) = mpsc::channel::<Packet>(WAITING);
        let carry = async {
            while let Some(packet) = come.recv().await {
                if say.send(Ok(packet)).await.is_err() {
                    return;
                }
            }
        };
        let (exchanged, ()) =
            tokio::join!(send::exchange(files, packets, std::future::ready(Ok(asks))), carry);
        if let Err(e) = exchanged {
            // It may be gone.
            let _ = say.send(Err(e)).await;
        }
    });
    Box::pin(poll_fn(move |cx| said.poll_recv(cx)))
}

/// Takes files below a directory.
pub(super) fn take(into: PathBuf, packets: Streaming<Packet>) -> Pieces<Packet> {
    let (say, mut said) = mpsc::unbounded_channel::<Result<Packet, Status>>();
    tokio::spawn(async move {
        if let Err(e) = taking(into, packets, &say).await {
            // It may be gone.
            let _ = say.send(Err(e));
        }
    });
    Box::pin(poll_fn(move |cx| said.poll_recv(cx)))
}

/// Files that were asked for and have not ended, by number: made, and closed.
type Open = HashMap<u32, (PathBuf, Stat)>;

async fn taking(
    into: PathBuf,
    mut packets: Streaming<Packet>,
    say: &mpsc::UnboundedSender<Result<Packet, Status>>,
) -> Result<(), Status> {
    let tell = |packet| say.send(Ok(packet)).map_err(|_| Status::unavailable("the daemon reads no more"));
    let mut open = Open::new();
    // The one that bytes came for last: thousands are asked for at once, and descriptors are few.
    let mut current: Option<(u32, File)> = None;
    let (mut count, mut listed, mut finished) = (0u32, false, false);
    // Modes and times of directories, once nothing is made in them any more.
    let mut directories: Vec<(PathBuf, Stat)> = Vec::new();
    fs::create_dir_all(&into).map_err(failed(&into))?;
    loop {
        if listed && open.is_empty() && !finished {
            finished = true;
            tell(Packet { kind: fsutil::FIN, ..Packet::default() })?;
        }
        let Some(packet) = packets.message().await? else { break };
        match packet.kind {
            fsutil::STAT => {
                let Some(stat) = packet.stat else {
                    listed = true;
                    continue;
                };
                let id = count;
                count += 1;
                let path = place(&into, &stat.path)?;
                if mode::from_go(stat.mode).is_some_and(|m| m & 0o170_000 == 0o040_000) {
                    directories.push((path.clone(), stat.clone()));
                }
                if make(&into, &path, &stat)? {
                    open.insert(id, (path, stat));
                    tell(Packet { kind: fsutil::REQ, id, ..Packet::default() })?;
                }
            }
            fsutil::DATA if packet.data.is_empty() => {
                if let Some((path, stat)) = open.remove(&packet.id) {
                    current = None;
                    finish(&path, &stat)?;
                }
            }
            fsutil::DATA => {
                let Some((path, _)) = open.get(&packet.id) else {
                    return Err(Status::invalid_argument(format!(
                        "bytes of a file that was not asked for: {}",
                        packet.id
                    )));
                };
                if current.as_ref().is_none_or(|(id, _)| *id != packet.id) {
                    current =
                        Some((packet.id, File::options().append(true).open(path).map_err(failed(path))?));
                }
                if let Some((_, file)) = &mut current {
                    file.write_all(&packet.data).map_err(failed(path))?;
                }
            }
            fsutil::FIN => break,
            fsutil::ERR => {
                let why = String::from_utf8_lossy(&packet.data).into_owned();
                return Err(Status::unknown(format!("error from sender: {why}")));
            }
            other => return Err(Status::invalid_argument(format!("a packet of unknown type {other}"))),
        }
    }
    for (path, stat) in directories.iter().rev() {
        finish(path, stat)?;
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Status {
    move |e| Status::unknown(format!("cannot write {}: {e}", path.display()))
}

/// Where an entry goes; refused where that is not below the directory.
fn place(into: &Path, path: &str) -> Result<PathBuf, Status> {
    let clean =
        !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !clean || path.contains('\0') {
        return Err(Status::invalid_argument(format!(
            "the daemon sends {path:?}, which is no path below the directory"
        )));
    }
    let path = into.join(path);
    // Nothing is written through a link that the daemon sent.
    let mut above = path.parent();
    while let Some(directory) = above.filter(|d| *d != into) {
        if fs::symlink_metadata(directory).is_ok_and(|meta| meta.is_symlink()) {
            return Err(Status::invalid_argument(format!(
                "{} would be written through a link",
                path.display()
            )));
        }
        above = directory.parent();
    }
    Ok(path)
}

/// Makes an entry in place of what is there; a regular file's bytes are still to come.
fn make(into: &Path, path: &Path, stat: &Stat) -> Result<bool, Status> {
    let kind = mode::from_go(stat.mode).unwrap_or_default() & 0o170_000;
    let is_directory = kind == 0o040_000;
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() && is_directory => return Ok(false),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).map_err(failed(path))?,
        Ok(_) => fs::remove_file(path).map_err(failed(path))?,
        Err(_) => {}
    }
    match kind {
        0o040_000 => fs::create_dir(path).map_err(failed(path)).map(|()| false),
        0o120_000 => symlink(&stat.linkname, path).map_err(failed(path)).map(|()| false),
        0o100_000 if !stat.linkname.is_empty() => {
            let first = place(into, &stat.linkname)?;
            fs::hard_link(first, path).map_err(failed(path)).map(|()| false)
        }
        0o100_000 => File::create_new(path).map_err(failed(path)).map(|_| true),
        // Devices, pipes and sockets are for who runs the tree, not for a directory of a user's.
        _ => Ok(false),
    }
}

/// Mode and time, once the content is there.
fn finish(path: &Path, stat: &Stat) -> Result<(), Status> {
    let mode = mode::from_go(stat.mode).unwrap_or(0o644);
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)).map_err(failed(path))?;
    let nanos = u64::try_from(stat.mod_time).unwrap_or_default();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
    let file = File::open(path).map_err(failed(path))?;
    file.set_modified(time).map_err(failed(path))
}
