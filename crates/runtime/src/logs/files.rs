//! The files of a log as one: from the oldest to the newest, or from so many lines before the end, and on across
//! rotations. Blocking.

use super::{
    Attributes, Batch, Line,
    aside::{Identity, Kept, identity_at, numbered},
    json_file, local,
};
use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt, path::PathBuf};

/// Bytes read at once: large enough that reading costs nothing beside parsing, small enough for many readers.
const CHUNK: usize = 256 << 10;
/// A record longer than this is damage. Lines are cut at 16 KiB, which escaping may make six times as long.
const LONGEST: usize = 4 << 20;
/// A rotation at work leaves one number free at a time, and a second when it overtakes the one who looks.
const GAP: u32 = 2;
/// How often the file after a renamed one is looked for while names move.
const ROUNDS: u32 = 1000;
/// The most files of a log that are looked for.
pub(super) const MOST_FILES: u32 = 10_000;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Docker's JSON lines.
    Json,
    /// The shim's binary records.
    Local,
}

/// What a read found.
#[derive(Debug)]
pub(super) enum Read {
    /// Some lines.
    Lines(Batch),
    /// Nothing more now.
    End,
    /// Nothing more ever: a line after `until` was seen.
    Done,
}

/// A file being read.
#[derive(Debug)]
struct Open {
    file: File,
    /// Of what it was found as.
    identity: Identity,
    offset: u64,
    /// It is not the newest any more: its next end is its last.
    rotated: bool,
    attributes: Option<Attributes>,
}

impl Open {
    fn identity(&self) -> io::Result<Identity> {
        self.identity.now(&self.file)
    }
}

/// A file that has not had its turn.
#[derive(Debug)]
enum Waiting {
    /// From its beginning.
    Whole(Kept),
    /// From somewhere on.
    Part(Open),
}

impl Waiting {
    fn identity(&self) -> io::Result<Identity> {
        match self {
            Waiting::Whole(kept) => kept.identity(),
            Waiting::Part(open) => open.identity(),
        }
    }
}

/// A place in a log.
#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    format: Format,
    since: i64,
    until: i64,
    tail: Option<usize>,
    follow: bool,
    /// Files before the first read: not looked for yet.
    started: bool,
    current: Option<Open>,
    /// Newer files that were there at the start, not looked into yet.
    queue: VecDeque<Waiting>,
    /// Bytes read and not parsed: the beginning of a record.
    rest: Vec<u8>,
    times: json_file::Times,
    /// The last record's attributes as JSON, and parsed.
    seen: Option<(Vec<u8>, Attributes)>,
}

impl Cursor {
    /// Times are nanoseconds since 1970.
    pub(super) fn new(
        path: PathBuf,
        format: Format,
        since: Option<i64>,
        until: Option<i64>,
        tail: Option<usize>,
        follow: bool,
    ) -> Self {
        Cursor {
            path,
            format,
            since: since.unwrap_or(i64::MIN),
            until: until.unwrap_or(i64::MAX),
            tail,
            follow,
            started: false,
            current: None,
            queue: VecDeque::new(),
            rest: Vec::new(),
            times: json_file::Times::default(),
            seen: None,
        }
    }

    /// Reads on until there are lines, or the end.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        if !self.started {
            self.start()?;
            self.started = true;
        }
        loop {
            if self.current.is_none() && !self.next_file()? {
                return Ok(Read::End);
            }
            let got = self.fill()?;
            if got == 0 {
                if !self.at_end()? {
                    self.rest.shrink_to(CHUNK);
                    return Ok(Read::End);
                }
                continue;
            }
            let mut batch = Batch::default();
            let done = self.parse(&mut batch);
            if !batch.is_empty() {
                if done {
                    // The rest is not looked at again; the next read says so.
                    self.until = i64::MIN;
                    self.rest.clear();
                }
                return Ok(Read::Lines(batch));
            }
            if done {
                return Ok(Read::Done);
            }
        }
    }

    /// Opens the files from the newest back: one that is renamed meanwhile is then seen twice, not missed.
    fn start(&mut self) -> io::Result<()> {
        let mut wanted = self.tail.unwrap_or(usize::MAX);
        let mut files: VecDeque<Waiting> = VecDeque::new();
        let mut missing = 0;
        for number in 0..=MOST_FILES {
            let Some(kept) = Kept::open(&numbered(&self.path, number))? else {
                missing += 1;
                if missing > GAP {
                    break;
                }
                continue;
            };
            missing = 0;
            let identity = kept.identity()?;
            if files.iter().any(|file| file.identity().is_ok_and(|seen| seen.is(identity))) {
                continue;
            }
            if self.tail.is_some() {
                let mut open = self.open(kept, !files.is_empty())?;
                let size = open.file.metadata()?.len();
                let (offset, found) = match self.format {
                    Format::Json => lines_from_end(&open.file, size, wanted)?,
                    Format::Local => local::from_end(&open.file, size, wanted)?,
                };
                open.offset = offset;
                wanted = wanted.saturating_sub(found);
                files.push_front(Waiting::Part(open));
            } else if !files.is_empty() && kept.written_before(self.since)? {
                // Nothing in it is late enough, nor in any before it.
                break;
            } else {
                files.push_front(Waiting::Whole(kept));
            }
            if wanted == 0 {
                break;
            }
        }
        self.queue = files;
        Ok(())
    }

    /// Ready to be read from its beginning.
    fn open(&self, kept: Kept, rotated: bool) -> io::Result<Open> {
        let identity = kept.identity()?;
        let file = kept.content(self.path.parent().unwrap_or(&self.path))?;
        let attributes = if self.format == Format::Local { local::first_attributes(&file) } else { None };
        Ok(Open { file, identity, offset: 0, rotated, attributes })
    }

    /// Goes on with the next of the files that were there at the start, or the first one ever.
    fn next_file(&mut self) -> io::Result<bool> {
        self.rest.clear();
        self.current = match self.queue.pop_front() {
            Some(Waiting::Part(open)) => Some(open),
            Some(Waiting::Whole(kept)) => Some(self.open(kept, !self.queue.is_empty())?),
            None if self.follow => Kept::open(&self.path)?.map(|kept| self.open(kept, false)).transpose()?,
            None => None,
        };
        Ok(self.current.is_some())
    }

    /// Reads a chunk behind the rest; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        let Some(open) = &mut self.current else { return Ok(0) };
        let have = self.rest.len();
        self.rest.resize(have + CHUNK, 0);
        let result = open.file.read_at(&mut self.rest[have..], open.offset);
        self.rest.truncate(have + *result.as_ref().unwrap_or(&0));
        let got = result?;
        open.offset += got as u64;
        Ok(got)
    }

    /// At the end of the current file: whether there may be more to read at once.
    fn at_end(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.current else { return Ok(false) };
        if !self.queue.is_empty() {
            return self.next_file();
        }
        if !self.follow {
            return Ok(false);
        }
        let newest = identity_at(&self.path)?;
        let identity = open.identity()?;
        if newest.is_some_and(|newest| newest.is(identity)) {
            open.rotated = false;
            if open.file.metadata()?.len() < open.offset {
                // A log of one file is emptied instead of renamed.
                open.offset = 0;
                self.rest.clear();
                return Ok(true);
            }
            return Ok(false);
        }
        if !open.rotated {
            // It was written to until it was renamed: once more to its end.
            open.rotated = true;
            return Ok(true);
        }
        self.after_rotation()
    }

    /// The file that follows the current one, which was renamed, perhaps more than once. A rotation at work moves the
    /// names under us; then it is looked for anew.
    fn after_rotation(&mut self) -> io::Result<bool> {
        let Some(current) = self.current.as_ref().map(Open::identity).transpose()? else { return Ok(false) };
        for round in 0..ROUNDS {
            let last_round = round + 1 == ROUNDS;
            let (place, oldest) = self.find(current)?;
            // When it is gone, all that came before the oldest is.
            let first = place.map_or(oldest, |number| number - 1);
            if place.is_none() && round < 2 {
                continue;
            }
            // A number that stays free was taken away by someone: what comes after it is still true.
            let lowest = if last_round { 0 } else { first };
            for number in (lowest..=first).rev() {
                let Some(kept) = Kept::open(&numbered(&self.path, number))? else { continue };
                let is_current = |found: io::Result<Option<Identity>>| {
                    found.is_ok_and(|found| found.is_some_and(|found| found.is(current)))
                };
                let unmoved = place.is_none_or(|at| is_current(identity_at(&numbered(&self.path, at))));
                if unmoved && !is_current(kept.identity().map(Some)) {
                    self.rest.clear();
                    self.current = Some(self.open(kept, number != 0)?);
                    return Ok(true);
                }
            }
            if first == 0 && identity_at(&self.path)?.is_none() {
                // Renamed, and the new one not made yet: its making is told.
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(false)
    }

    /// The number that a file has now, and the oldest one's.
    fn find(&self, wanted: Identity) -> io::Result<(Option<u32>, u32)> {
        let (mut oldest, mut missing) = (0, 0);
        for number in 1..=MOST_FILES {
            match identity_at(&numbered(&self.path, number))? {
                Some(identity) if identity.is(wanted) => return Ok((Some(number), oldest)),
                Some(_) => (oldest, missing) = (number, 0),
                None if missing >= GAP => break,
                None => missing += 1,
            }
        }
        Ok((None, oldest))
    }

    /// Parses whole records; true when one after `until` was met.
    fn parse(&mut self, batch: &mut Batch) -> bool {
        let bytes = std::mem::take(&mut self.rest);
        batch.text.reserve(bytes.len());
        let (used, done) = match self.format {
            Format::Json => self.parse_json(&bytes, batch),
            Format::Local => self.parse_local(&bytes, batch),
        };
        self.rest = bytes;
        self.rest.drain(..used);
        if self.rest.len() > LONGEST {
            self.rest.clear();
        }
        done
    }

    /// Takes a record whose text is at the end of the batch's; `None` ends the reading.
    fn keep(&self, batch: &mut Batch, start: usize, line: Line) -> Option<()> {
        if line.at > self.until {
            batch.text.truncate(start);
            return None;
        }
        if line.at < self.since {
            batch.text.truncate(start);
        } else {
            batch.lines.push(Line { end: batch.text.len() as u32, ..line });
        }
        Some(())
    }

    fn parse_json(&mut self, bytes: &[u8], batch: &mut Batch) -> (usize, bool) {
        let mut at = 0;
        while let Some(length) = json_file::newline(&bytes[at..]) {
            let line = &bytes[at..at + length];
            at += length + 1;
            let start = batch.text.len();
            // A damaged line is passed over: what comes after it is still true.
            let Some(record) = json_file::parse(line, &mut batch.text, &mut self.times) else { continue };
            let attributes = record.attributes.map_or(0, |json| {
                let attributes = self.attributes(json);
                batch.attribute_number(&attributes)
            });
            let line = Line { at: record.at, end: 0, attributes, stream: record.stream };
            if self.keep(batch, start, line).is_none() {
                return (at, true);
            }
        }
        (at, false)
    }

    /// Parsed once for as long as they stay the same.
    fn attributes(&mut self, json: &[u8]) -> Attributes {
        match &self.seen {
            Some((same, attributes)) if same == json => attributes.clone(),
            _ => {
                let attributes = json_file::attributes(json);
                self.seen = Some((json.to_vec(), attributes.clone()));
                attributes
            }
        }
    }

    fn parse_local(&mut self, bytes: &[u8], batch: &mut Batch) -> (usize, bool) {
        let mut at = 0;
        while let Some((record, length)) = local::parse(&bytes[at..]) {
            at += length;
            let Some(stream) = record.stream else {
                if let Some(open) = &mut self.current {
                    open.attributes = local::attributes(record.line);
                }
                continue;
            };
            let start = batch.text.len();
            batch.text.extend_from_slice(record.line);
            if record.whole {
                batch.text.push(b'\n');
            }
            let own = self.current.as_ref().and_then(|open| open.attributes.clone());
            let attributes = own.map_or(0, |attributes| batch.attribute_number(&attributes));
            let line = Line { at: record.time, end: 0, attributes, stream };
            if self.keep(batch, start, line).is_none() {
                return (at, true);
            }
        }
        (at, false)
    }
}

/// Where the last `wanted` lines of a file begin, and how many there are of them. An unfinished line does not count.
fn lines_from_end(file: &File, size: u64, wanted: usize) -> io::Result<(u64, usize)> {
    const BLOCK: u64 = 64 << 10;
    let mut block = vec![0u8; BLOCK as usize];
    let mut found = 0usize;
    let mut high = size;
    let mut ended = false;
    while high > 0 {
        let low = high.saturating_sub(BLOCK);
        let part = &mut block[..(high - low) as usize];
        file.read_exact_at(part, low)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = low + at as u64 + 1;
            // The newest newline ends a line, each one before it begins one.
            if ended {
                found += 1;
            }
            ended = true;
            if found == wanted {
                return Ok((after, found));
            }
        }
        high = low;
    }
    // The first line has no newline before it.
    Ok((0, found + usize::from(ended)))
}
