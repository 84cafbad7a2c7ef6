//! The log of a container: output split into lines as Docker does, written in large pieces, rotated by size.
//!
//! Never: waits for a reader, or stops a container for a full disk: what cannot be written is dropped.

pub mod clock;
mod json;
mod lines;
pub mod local;

use crate::plan::{Log as Plan, LogDriver};
use clock::Clock;
use lines::Lines;
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
};

/// Where output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// A writer of a log.
pub(crate) struct Log {
    plan: Plan,
    file: File,
    /// Bytes in the newest file.
    size: u64,
    /// Not yet written; whole records only.
    buffer: Vec<u8>,
    /// Bytes of attributes, ready for every line (JSON), or for the first record of a file (local).
    attributes: Vec<u8>,
    clock: Clock,
    lines: [Lines; 2],
}

/// Records are written once this many bytes wait, or nothing more is to be read.
const FLUSH: usize = 256 << 10;

impl Log {
    /// Opens (or goes on with) a log; `None` when nobody writes one.
    pub(crate) fn open(plan: &Plan) -> io::Result<Option<Log>> {
        let attributes = match plan.driver {
            LogDriver::None => return Ok(None),
            LogDriver::JsonFile => json::attributes(&plan.attributes),
            LogDriver::Local => local::attributes(&plan.attributes),
        };
        let file = open_file(&plan.path)?;
        let size = file.metadata()?.len();
        let mut log = Log {
            plan: plan.clone(),
            file,
            size,
            buffer: Vec::new(),
            attributes,
            clock: Clock::default(),
            lines: Default::default(),
        };
        log.begin_file();
        Ok(Some(log))
    }

    /// The first record of a file, where its format has one.
    fn begin_file(&mut self) {
        if self.plan.driver == LogDriver::Local && self.size == 0 {
            self.buffer.extend_from_slice(&self.attributes);
        }
    }

    /// Takes output as it comes.
    pub(crate) fn take(&mut self, stream: Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Log { lines, buffer, clock, attributes, plan, .. } = self;
            let lines = &mut lines[stream as usize - 1];
            let used = lines.take(bytes, clock, |line, time, clock| {
                match plan.driver {
                    LogDriver::Local => local::record(buffer, stream, line, time),
                    _ => json::record(buffer, stream, line, time, clock, attributes),
                }
                buffer.len() < FLUSH
            });
            bytes = &bytes[used..];
            if self.buffer.len() >= FLUSH {
                self.flush();
            }
        }
    }

    /// What waits goes to the file.
    pub(crate) fn flush(&mut self) {
        let mut start = 0;
        while start < self.buffer.len() {
            let mut end = self.buffer.len();
            if self.plan.max_size != 0 {
                // As much as fits, whole records; one record always.
                let room = self.plan.max_size.saturating_sub(self.size) as usize;
                if end - start > room {
                    end = start + self.whole_records(start, room);
                    if end == start && self.size > 0 && self.rotate() {
                        continue;
                    }
                    if end == start {
                        end = start + self.whole_records(start, usize::MAX);
                    }
                }
            }
            // A full disk must not stop the container: this piece is lost, and no half of a record stays.
            if self.file.write_all(&self.buffer[start..end]).is_ok() {
                self.size += (end - start) as u64;
            } else if self.file.metadata().is_ok_and(|m| m.len() > self.size) {
                let _ = self.file.set_len(self.size);
            }
            start = end;
        }
        self.buffer.clear();
    }

    /// Bytes of whole records from `start` that fit in `room`; with endless room, of the first one.
    fn whole_records(&self, start: usize, room: usize) -> usize {
        let bytes = &self.buffer[start..];
        match self.plan.driver {
            LogDriver::Local => local::whole(bytes, room),
            _ if room == usize::MAX => bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| n + 1),
            _ => bytes[..room.min(bytes.len())].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1),
        }
    }

    /// The newest file becomes `.1`, `.1` becomes `.2`…; the oldest goes. `false`: not now, since the daemon is about to
    /// put a compressed file in the place of another.
    fn rotate(&mut self) -> bool {
        let path = &self.plan.path;
        let name = |n: u32| if n == 0 { path.clone() } else { format!("{path}.{n}") };
        let last = self.plan.max_files.max(1) - 1;
        let names = self.plan.compress.then(|| names(path)).transpose();
        if names.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            return false;
        }
        // Missing files are no error: the first rounds have few.
        for n in (0..last).rev() {
            let moved = std::fs::rename(name(n), name(n + 1)).is_ok();
            if !self.plan.compress {
                continue;
            }
            let compressed = |n: u32| format!("{}.gz", name(n));
            if moved {
                let _ = std::fs::remove_file(compressed(n + 1));
            } else if n > 0 && std::fs::rename(compressed(n), compressed(n + 1)).is_ok() {
                let _ = std::fs::remove_file(name(n + 1));
            }
        }
        if last == 0 {
            let _ = self.file.set_len(0);
        } else if let Ok(file) = open_file(path) {
            self.file = file;
        }
        self.size = 0;
        if self.plan.driver == LogDriver::Local && self.file.write_all(&self.attributes).is_ok() {
            self.size = self.attributes.len() as u64;
        }
        true
    }

    /// Nothing more comes: lines without an end are written as they are.
    pub(crate) fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Log { lines, buffer, clock, attributes, plan, .. } = self;
            lines[stream as usize - 1].finish(|line, time| match plan.driver {
                LogDriver::Local => local::record(buffer, stream, line, time),
                _ => json::record(buffer, stream, line, time, clock, attributes),
            });
        }
        self.flush();
    }

    /// Gives memory back while nothing comes.
    pub(crate) fn rest(&mut self) {
        self.flush();
        self.buffer = Vec::new();
        self.lines.iter_mut().for_each(Lines::rest);
    }
}

/// The right to rename a log's files, until it is dropped. The daemon holds it for two renames, and this is not where to
/// wait for it.
fn names(path: &str) -> io::Result<File> {
    let dir = File::open(std::path::Path::new(path).parent().unwrap_or(std::path::Path::new("/")))?;
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(dir)
}

fn open_file(path: &str) -> io::Result<File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests;
