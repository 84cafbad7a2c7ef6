//! Recipes: what is needed beside a layer's files to write its tar again, bit for bit.
//!
//! A tar is its headers, paddings and end mark, with payloads between. The payloads lie unpacked in the layer; a
//! recipe keeps the rest, in order, and says where each payload lies. Written while the layer is unpacked; zstd.
//!
//! Steps, each a byte and variable-length numbers (LEB128): `1` length bytes — these bytes; `2` path offset length —
//! this range of this file; `3` length — zeros; `0` — the end. A file that a later entry of the same tar replaces is moved aside; the
//! list of moves is a file of its own.
//!
//! Never: trusts that the files are unchanged. Who rebuilds compares the digest.

use crate::{
    ImageError, Result, disk, path,
    tarball::{Tap, is_zero},
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::CStr,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
};

/// First bytes of the uncompressed stream: name and version.
const MAGIC: &[u8; 8] = b"MKRECIP1";

/// Raw bytes that are gathered before they become a step.
const GATHER: usize = 64 * 1024;

/// A path in a recipe; the kernel's own limit.
const MAX_PATH: u64 = 4096;

const END: u8 = 0;
const RAW: u8 = 1;
const RANGE: u8 = 2;
const ZEROS: u8 = 3;

/// Zeros in one piece from which on they are counted instead of kept.
const MANY_ZEROS: usize = 16 * 1024;

/// A file or tree that was replaced, and where it lies since.
#[derive(Debug, PartialEq, Eq)]
struct Moved {
    /// Steps before this one mean what lay there before.
    step: u64,
    path: Vec<u8>,
    /// Its name in the directory of what was moved aside.
    number: u64,
}

/// Writes a recipe beside a layer that is being unpacked.
pub(crate) struct RecipeWriter {
    out: zstd::Encoder<'static, BufWriter<File>>,
    gathered: Vec<u8>,
    /// After what is gathered.
    zeros: u64,
    steps: u64,
    aside: PathBuf,
    aside_fd: Option<OwnedFd>,
    moves: File,
    moved: u64,
    location: PathBuf,
}

impl RecipeWriter {
    /// Writes `recipe` and `moves` in `dir`, and moves replaced files to `aside` there.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let location = dir.join("recipe");
        let fail = |e| ImageError::io("write", &location, e);
        let file = File::create(&location).map_err(fail)?;
        let mut out = zstd::Encoder::new(BufWriter::with_capacity(GATHER, file), 1).map_err(fail)?;
        out.write_all(MAGIC).map_err(fail)?;
        let moves = File::create(dir.join("moves")).map_err(fail)?;
        let gathered = Vec::with_capacity(GATHER);
        let aside = dir.join("aside");
        Ok(Self { out, gathered, zeros: 0, steps: 0, aside, aside_fd: None, moves, moved: 0, location })
    }

    /// A range of a file of the layer, as the next part of the tar.
    pub(crate) fn range(&mut self, path: &[u8], offset: u64, length: u64) -> Result<()> {
        self.flush()?;
        let mut step = vec![RANGE];
        put_bytes(&mut step, path);
        put_number(&mut step, offset);
        put_number(&mut step, length);
        self.write(&step)
    }

    /// Moves a file or tree aside that the next entry replaces.
    pub(crate) fn replace(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        self.flush()?;
        let aside = match &self.aside_fd {
            Some(fd) => fd,
            None => {
                disk::make_dir(&self.aside)?;
                self.aside_fd.insert(disk::open_dir(&self.aside)?)
            }
        };
        rustix::fs::renameat(parent, name, aside, self.moved.to_string())
            .map_err(|e| ImageError::io("move aside", String::from_utf8_lossy(path).as_ref(), e))?;
        let mut line = Vec::new();
        put_number(&mut line, self.steps);
        put_bytes(&mut line, path);
        put_number(&mut line, self.moved);
        self.moves.write_all(&line).map_err(|e| ImageError::io("write", &self.location, e))?;
        self.moved += 1;
        Ok(())
    }

    /// Whether anything was replaced.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved > 0
    }

    /// Writes the end.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.write(&[END])?;
        let finish = |out: zstd::Encoder<'_, BufWriter<File>>| out.finish()?.flush();
        finish(self.out).map_err(|e| ImageError::io("write", &self.location, e))
    }

    fn flush(&mut self) -> Result<()> {
        self.flush_gathered()?;
        let zeros = std::mem::take(&mut self.zeros);
        if zeros == 0 {
            return Ok(());
        }
        let mut step = vec![ZEROS];
        put_number(&mut step, zeros);
        self.write(&step)
    }

    fn flush_gathered(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let mut step = vec![RAW];
        put_number(&mut step, gathered.len() as u64);
        self.out.write_all(&step).map_err(|e| ImageError::io("write", &self.location, e))?;
        self.write(&gathered)?;
        self.gathered = gathered;
        self.gathered.clear();
        Ok(())
    }

    fn write(&mut self, step: &[u8]) -> Result<()> {
        self.steps += 1;
        self.out.write_all(step).map_err(|e| ImageError::io("write", &self.location, e))
    }
}

impl Tap for RecipeWriter {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= MANY_ZEROS && is_zero(bytes) {
            self.zeros += bytes.len() as u64;
            return Ok(());
        }
        if self.zeros > 0 || self.gathered.len() + bytes.len() > GATHER {
            self.flush()?;
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }
}

/// Writes the tar of the layer in `dir`, whose files are in `tree`, to `out`.
pub(crate) fn rebuild(dir: &Path, tree: BorrowedFd<'_>, out: &mut dyn Write) -> Result<()> {
    let location = dir.join("recipe");
    let damaged = |detail: &str| ImageError::Record { path: location.clone(), detail: detail.into() };
    let fail = |e| ImageError::io("read", &location, e);
    let file = File::open(&location).map_err(fail)?;
    let mut recipe = BufReader::with_capacity(GATHER, zstd::Decoder::new(file).map_err(fail)?);
    let mut magic = [0; MAGIC.len()];
    recipe.read_exact(&mut magic).map_err(fail)?;
    if &magic != MAGIC {
        return Err(damaged("it is of another version"));
    }
    let moved = read_moves(&dir.join("moves"))?;
    let aside = if moved.is_empty() { None } else { Some(disk::open_dir(&dir.join("aside"))?) };
    let mut buffer = vec![0; 64 * 1024];
    for step in 0u64.. {
        let mut code = [0];
        recipe.read_exact(&mut code).map_err(fail)?;
        match code[0] {
            END => break,
            RAW => {
                let mut left = get_number(&mut recipe).map_err(fail)?;
                while left > 0 {
                    let have = recipe.fill_buf().map_err(fail)?;
                    let count = have.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if count == 0 {
                        return Err(damaged("it is cut off"));
                    }
                    put(out, &have[..count])?;
                    recipe.consume(count);
                    left -= count as u64;
                }
            }
            ZEROS => {
                let mut left = get_number(&mut recipe).map_err(fail)?;
                buffer.fill(0);
                while left > 0 {
                    let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    put(out, &buffer[..count])?;
                    left -= count as u64;
                }
            }
            RANGE => {
                let path = get_bytes(&mut recipe).map_err(fail)?;
                let offset = get_number(&mut recipe).map_err(fail)?;
                let length = get_number(&mut recipe).map_err(fail)?;
                let file = open_moved(step, &path, &moved, tree, aside.as_ref().map(|fd| fd.as_fd()))?;
                copy_range(&file, &path, offset, length, &mut buffer, out)?;
            }
            _ => return Err(damaged("it has a step of an unknown sort")),
        }
    }
    Ok(())
}

/// Opens what lay at `path` when `step` was written.
fn open_moved(
    step: u64,
    path: &[u8],
    moved: &[Moved],
    tree: BorrowedFd<'_>,
    aside: Option<BorrowedFd<'_>>,
) -> Result<File> {
    let since = moved.iter().filter(|m| m.step > step);
    let hit = since.into_iter().find_map(|m| match path.strip_prefix(m.path.as_slice())? {
        rest if rest.is_empty() || rest[0] == b'/' => Some((m.number, rest)),
        _ => None,
    });
    let opened = match (hit, aside) {
        (Some((number, rest)), Some(aside)) => path::open_beneath(
            aside,
            &[number.to_string().as_bytes(), rest].concat(),
            OFlags::RDONLY,
            Mode::empty(),
        ),
        _ => path::open_beneath(tree, path, OFlags::RDONLY, Mode::empty()),
    };
    opened.map(File::from).map_err(|e| ImageError::io("open", String::from_utf8_lossy(path).as_ref(), e))
}

fn copy_range(
    file: &File,
    path: &[u8],
    mut offset: u64,
    mut left: u64,
    buffer: &mut [u8],
    out: &mut dyn Write,
) -> Result<()> {
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let have = match file.read_at(&mut buffer[..want], offset) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other,
        };
        let have = have.map_err(|e| ImageError::io("read", String::from_utf8_lossy(path).as_ref(), e))?;
        put(out, &buffer[..have])?;
        offset += have as u64;
        left -= have as u64;
    }
    Ok(())
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(|source| ImageError::Stream { what: "write a layer".into(), source })
}

fn read_moves(location: &Path) -> Result<Vec<Moved>> {
    let fail = |e| ImageError::io("read", location, e);
    let mut file = match File::open(location) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => BufReader::new(other.map_err(fail)?),
    };
    let mut moves = Vec::new();
    while !file.fill_buf().map_err(fail)?.is_empty() {
        let step = get_number(&mut file).map_err(fail)?;
        let path = get_bytes(&mut file).map_err(fail)?;
        let number = get_number(&mut file).map_err(fail)?;
        moves.push(Moved { step, path, number });
    }
    Ok(moves)
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn get_number(from: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn get_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = get_number(from)?;
    if length > MAX_PATH {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Whether the error means that the layer's files were changed by someone.
pub(crate) fn is_damage(error: &ImageError) -> bool {
    let ImageError::Io { source, .. } = error else { return matches!(error, ImageError::Record { .. }) };
    source.kind() == io::ErrorKind::UnexpectedEof
        || source.raw_os_error().is_some_and(|e| {
            [Errno::NOENT, Errno::LOOP, Errno::NOTDIR, Errno::XDEV]
                .iter()
                .any(|known| known.raw_os_error() == e)
        })
}

#[cfg(test)]
mod tests;
