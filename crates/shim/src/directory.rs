//! A shim's own directory: what the daemon left for it to read, and the exit that it leaves for a daemon.

use crate::{
    plan::StartPlan,
    protocol::{self, Id, Reply},
};
use rustix::fs::{Mode, OFlags};
use std::{
    io::{self, Read},
    os::fd::OwnedFd,
};

/// The directory, by descriptor: its path may go.
pub(crate) struct Directory(OwnedFd);

impl Directory {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let fd = rustix::fs::openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(protocol::MAX_TAIL as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What to start.
    pub(crate) fn plan(&self) -> io::Result<StartPlan> {
        StartPlan::decode(&self.read("plan")?).map_err(|e| io::Error::other(e.to_string()))
    }

    /// What a daemon must know to be heard: the last line of `identity`, 64 hex digits.
    pub(crate) fn token(&self) -> io::Result<Id> {
        let text = String::from_utf8(self.read("identity")?).map_err(io::Error::other)?;
        text.lines()
            .last()
            .and_then(protocol::parse_id)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// Keeps the exit for a daemon that is not there now: whole, or not at all.
    pub(crate) fn keep_exit(&self, exit: &Reply) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(&self.0, "exit.new", flags, Mode::from_raw_mode(0o600))
            && rustix::io::write(&file, &exit.encode()).is_ok()
        {
            let _ = rustix::fs::renameat(&self.0, "exit.new", &self.0, "exit");
        }
    }
}
