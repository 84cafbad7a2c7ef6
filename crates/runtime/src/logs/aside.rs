//! What a log's writer put aside, compressed: `path.1.gz`, `path.2.gz`… as dockerd has them (moby
//! `daemon/logger/loggerutils/logfile.go`). The shim renames, plain files and compressed ones; a compressed file takes
//! the place of the one that it is made from.
//!
//! Which file it was made from stands in its header: a follower that reads one which is compressed meanwhile finds the
//! next. Never: holds the right to rename for longer than it takes to rename.

use super::watch::Watcher;
use flate2::{Compression, GzBuilder, read::GzDecoder};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// More than this is in no file of a log.
const LARGEST: u64 = 64 << 30;
/// Names the header's field (RFC 1952, section 2.3.1.1): `Mk`, eight bytes.
const FIELD: [u8; 4] = [b'M', b'k', 8, 0];

/// Which file it is, whatever its name, also once it is compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    /// When it was last written to, in nanoseconds.
    modified: i128,
    compressed: bool,
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let modified = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Ok(Identity { device: meta.dev(), inode: meta.ino(), modified, compressed: false })
    }

    /// The same as it is now: one that is not compressed may be written to.
    pub(super) fn now(self, file: &File) -> io::Result<Self> {
        if self.compressed { Ok(self) } else { Identity::of(file) }
    }

    /// Whether both are of one file. The number of one that is compressed, and so gone, may have another now.
    pub(super) fn is(self, other: Identity) -> bool {
        let apart = (self.compressed || other.compressed) && self.modified != other.modified;
        (self.device, self.inode) == (other.device, other.inode) && !apart
    }
}

/// A file of a log.
#[derive(Debug)]
pub(super) struct Kept {
    file: File,
    /// The number of the file that it was made from.
    origin: Option<u64>,
}

impl Kept {
    /// The file of that name, or what it became; `None` when there is neither.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let open = |path: &Path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        if let Some(file) = open(path)? {
            return Ok(Some(Kept { file, origin: None }));
        }
        let Some(file) = open(&compressed(path))? else { return Ok(None) };
        let mut head = [0; 24];
        // Whoever else made it: then it is no file that anybody reads now.
        let origin = match file.read_exact_at(&mut head, 0) {
            Ok(()) if head[3] & 4 != 0 && head[12..16] == FIELD => u64::from_le_bytes([
                head[16], head[17], head[18], head[19], head[20], head[21], head[22], head[23],
            ]),
            _ => 0,
        };
        Ok(Some(Kept { file, origin: Some(origin) }))
    }

    pub(super) fn identity(&self) -> io::Result<Identity> {
        let own = Identity::of(&self.file)?;
        Ok(match self.origin {
            Some(inode) => Identity { inode, compressed: true, ..own },
            None => own,
        })
    }

    /// Whether all of it was written before a time, in nanoseconds since 1970.
    pub(super) fn written_before(&self, time: i64) -> io::Result<bool> {
        Ok(Identity::of(&self.file)?.modified < i128::from(time))
    }

    /// Its content: a copy on disk without a name, where it is compressed.
    pub(super) fn content(self, directory: &Path) -> io::Result<File> {
        if self.origin.is_none() {
            return Ok(self.file);
        }
        let mut plain = nameless(directory)?;
        io::copy(&mut GzDecoder::new(self.file).take(LARGEST), &mut plain)?;
        Ok(plain)
    }
}

fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

fn nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::from_raw_mode(0o640))?.into())
}

/// Compresses what is put aside of a log, also before, until `ended` turns true and nothing is left to do.
pub(super) async fn watch(
    watcher: Arc<Watcher>,
    path: PathBuf,
    mut ended: tokio::sync::watch::Receiver<bool>,
) {
    let Some(directory) = path.parent().map(Path::to_owned) else { return };
    let subscription = watcher.subscribe(&directory);
    let mut changes = match subscription {
        Ok(changes) => changes,
        Err(error) => {
            return tracing::warn!(log = %path.display(), %error, "old files of a log stay as they are");
        }
    };
    loop {
        let last = *ended.borrow();
        let (log, directory) = (path.clone(), directory.clone());
        let done = tokio::task::spawn_blocking(move || compress_all(&log, &directory)).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(log = %path.display(), %error, "cannot compress an old file of a log");
        }
        if last {
            return;
        }
        tokio::select! {
            () = changes.changed() => {}
            told = ended.changed() => if told.is_err() { return },
        }
    }
}

/// The oldest first: it is the next to go.
fn compress_all(path: &Path, directory: &Path) -> io::Result<()> {
    let plain: Vec<u32> = (1..super::files::MOST_FILES)
        .take_while(|n| exists(path, *n))
        .filter(|n| numbered(path, *n).exists())
        .collect();
    plain.into_iter().rev().try_for_each(|number| compress(path, directory, number))
}

fn exists(path: &Path, number: u32) -> bool {
    let name = numbered(path, number);
    name.exists() || compressed(&name).exists()
}

fn compress(path: &Path, directory: &Path, number: u32) -> io::Result<()> {
    let Some(mut kept) = Kept::open(&numbered(path, number))?.filter(|kept| kept.origin.is_none()) else {
        return Ok(());
    };
    let identity = kept.identity()?;
    let header = [&FIELD[..], &identity.inode.to_le_bytes()].concat();
    let small = nameless(directory)?;
    let mut encoder = GzBuilder::new().extra(header).write(small, Compression::default());
    io::copy(&mut kept.file, &mut encoder)?;
    let small = encoder.finish()?;
    let time = Timespec {
        tv_sec: (identity.modified / 1_000_000_000) as i64,
        tv_nsec: (identity.modified % 1_000_000_000) as _,
    };
    rustix::fs::futimens(&small, &Timestamps { last_access: time, last_modification: time })?;
    // The one that it takes the place of is gone at once.
    small.sync_all()?;

    let names = File::open(directory)?;
    rustix::fs::flock(&names, FlockOperation::LockExclusive)?;
    // It may have moved up meanwhile, even out of the log.
    let place = (number..super::files::MOST_FILES)
        .take_while(|n| exists(path, *n))
        .map(|n| numbered(path, n))
        .find(|name| {
            File::open(name).and_then(|file| Identity::of(&file)).is_ok_and(|other| other.is(identity))
        });
    let Some(place) = place else { return Ok(()) };
    let target = compressed(&place);
    match std::fs::remove_file(&target) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let own = format!("/proc/self/fd/{}", small.as_fd().as_raw_fd());
    rustix::fs::linkat(CWD, own, CWD, &target, AtFlags::SYMLINK_FOLLOW)?;
    std::fs::remove_file(&place)
}

/// `path`, `path.1`, `path.2`…
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Which file has a name now.
pub(super) fn identity_at(path: &Path) -> io::Result<Option<Identity>> {
    Kept::open(path)?.map(|kept| kept.identity()).transpose()
}
