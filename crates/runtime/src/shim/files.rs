//! A shim's files below exec-root: `shim/<container>/{identity,plan,record,sock,exit}`.
//!
//! Never: waits. All files lie in memory, usually.

use crate::{Exit, RuntimeError};
use minke_model::{Container, ContainerId, Timestamp, id::hex};
use minke_shim::protocol::{Id, RECORD, Reply, parse_id};
use rustix::fs::{Mode, OFlags};
use std::{
    fs, io,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

/// Who a shim is, beside the path of its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The kernel's boot_id when it began.
    pub(crate) boot: String,
    /// Its container's cgroup, below every hierarchy's root.
    pub(crate) cgroup: String,
    /// Random; it answers to nobody else.
    pub(crate) token: Id,
}

/// The directory of one shim.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    path: PathBuf,
}

/// The id of this boot.
fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

impl Files {
    /// Of a container.
    pub(crate) fn of(exec_root: &Path, id: &ContainerId) -> Files {
        Files { path: exec_root.join("shim").join(id.as_str()) }
    }

    /// Every container that has such a directory.
    pub(crate) fn all(exec_root: &Path) -> Vec<ContainerId> {
        let entries = fs::read_dir(exec_root.join("shim")).into_iter().flatten().flatten();
        entries.filter_map(|e| ContainerId::parse(e.file_name().to_str()?)).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lays all out for a new shim; what an earlier start left is taken away. Returns its listening socket.
    pub(crate) fn make(
        &self,
        cgroup: &str,
        plan: &[u8],
        record: &[u8],
    ) -> Result<(Identity, UnixListener), RuntimeError> {
        let named = |what: &str| RuntimeError::io(format!("{what} {}", self.path.display()));
        self.remove().map_err(named("clear"))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(named("make"))?;
        let mut token = Id::default();
        fs::File::open("/dev/urandom")
            .and_then(|mut f| f.read_exact(&mut token))
            .map_err(RuntimeError::io("read /dev/urandom"))?;
        let identity = Identity {
            boot: boot_id().map_err(RuntimeError::io("read the boot id"))?,
            cgroup: cgroup.to_owned(),
            token,
        };
        let text = format!("{}\n{}\n{}\n", identity.boot, identity.cgroup, hex(&identity.token));
        self.write("identity", text.as_bytes()).map_err(named("write the identity in"))?;
        self.write("plan", plan).map_err(named("write the plan in"))?;
        self.write("record", record).map_err(named("write the record in"))?;
        let dir = self.open().map_err(named("open"))?;
        // By descriptor: a socket's path may have 107 bytes only, and exec-root may be deep.
        let listener = UnixListener::bind(socket_path(&dir)).map_err(named("listen in"))?;
        fs::set_permissions(socket_path(&dir), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(named("protect the socket in"))?;
        Ok((identity, listener))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join(name))?
            .write_all(bytes)
    }

    fn open(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// A connection to the shim; refused when it is gone.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        let dir = self.open()?;
        let stream = UnixStream::connect(socket_path(&dir))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Who is there; `None` for nobody, or somebody of an earlier boot.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let text = fs::read_to_string(self.path.join("identity")).ok()?;
        let mut lines = text.lines();
        let identity = Identity {
            boot: lines.next()?.into(),
            cgroup: lines.next()?.into(),
            token: parse_id(lines.next()?)?,
        };
        (identity.boot == boot_id().ok()?).then_some(identity)
    }

    /// The exit that a shim left.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let bytes = fs::read(self.path.join("exit")).ok()?;
        exit_of(&Reply::decode(bytes.first_chunk::<RECORD>()?)?)
    }

    /// The container's record as it was at its start.
    pub(crate) fn container(&self) -> Option<Container> {
        serde_json::from_slice(&fs::read(self.path.join("record")).ok()?).ok()
    }

    /// Takes all away; what is missing is no error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn socket_path(dir: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/sock", dir.as_raw_fd()))
}

/// The exit that a record tells.
pub(crate) fn exit_of(reply: &Reply) -> Option<Exit> {
    (reply.phase == minke_shim::protocol::Phase::Exited).then(|| Exit {
        code: reply.code,
        at: Timestamp::from_nanos(reply.time),
        oom: reply.oom,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shims_files_are_private_found_again_and_gone() {
        let root =
            std::env::temp_dir().join(format!("minke-files-{}-{}", std::process::id(), "x".repeat(90)));
        let id = ContainerId::random();
        let files = Files::of(&root, &id);
        let (identity, _listener) = files.make("/minke-x/y", b"plan", b"{}").unwrap();
        assert_eq!(files.identity(), Some(identity));
        assert_eq!(Files::all(&root), [id]);
        let mode = |p: PathBuf| {
            std::os::unix::fs::PermissionsExt::mode(&fs::symlink_metadata(p).unwrap().permissions()) & 0o777
        };
        assert_eq!(
            (mode(files.path().into()), mode(files.path().join("sock")), mode(files.path().join("plan"))),
            (0o700, 0o600, 0o600)
        );
        files.connect().unwrap();
        fs::write(files.path().join("identity"), "another-boot\n/c\n00\n").unwrap();
        assert_eq!(files.identity(), None);
        files.remove().unwrap();
        files.remove().unwrap();
        fs::remove_dir_all(root).unwrap();
    }
}
