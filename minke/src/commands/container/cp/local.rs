//! This machine's side of a copy: files to a tar stream, and a tar stream to files.
//!
//! A container may send any archive. Nothing is written outside of the destination: names stay below
//! it, and no directory on the way is a link that leads out.

use super::target;
use crate::cli::Failure;
use crate::commands::go_error;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::{Archive, Builder, EntryType, Header};

/// A file or directory to be sent.
pub(crate) struct Source {
    path: PathBuf,
    /// What its first entry is called.
    pub(crate) name: String,
    /// Whether it is a directory.
    pub(crate) is_directory: bool,
}

impl Source {
    /// Looks at `path`, following a link at its end when asked.
    pub(crate) fn find(path: &str, follow: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::new(format!("lstat {}: {}", minke_model::go::clean(path), go_error(&error)))
        };
        let (_, name) = target::split(path);
        let real = if follow || path.ends_with('/') || name == "." {
            fs::canonicalize(path).map_err(failed)?
        } else {
            PathBuf::from(minke_model::go::clean(path))
        };
        let meta = fs::symlink_metadata(&real).map_err(failed)?;
        Ok(Self { path: real, name, is_directory: meta.is_dir() })
    }

    /// Its archive, the first entry called `name`; written by a thread as it is read.
    pub(crate) fn archive(self, name: String) -> io::Result<Box<dyn Read + Send>> {
        let (read, write) = io::pipe()?;
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut builder = Builder::new(io::BufWriter::with_capacity(64 * 1024, write));
            let mut links = HashMap::new();
            let added =
                add(&mut builder, &self.path, &name, &mut links).and_then(|()| builder.into_inner()?.flush());
            let _ = tell.send(added);
        });
        Ok(Box::new(Checked { from: read, told }))
    }
}

/// Ends with the writer's error, when it had one: a torn archive must not look whole.
struct Checked {
    from: io::PipeReader,
    told: std::sync::mpsc::Receiver<io::Result<()>>,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        if count == 0
            && let Ok(Err(error)) = self.told.recv()
        {
            return Err(error);
        }
        Ok(count)
    }
}

fn add(
    builder: &mut Builder<impl Write>,
    path: &Path,
    name: &str,
    links: &mut HashMap<(u64, u64), String>,
) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    if kind.is_socket() {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    header.set_metadata(&meta);
    header.set_size(0);
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        return builder.append_link(&mut header, name, fs::read_link(path)?);
    }
    if meta.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, format!("{name}/"), io::empty())?;
        let mut entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let child = entry.file_name();
            add(builder, &entry.path(), &format!("{name}/{}", child.to_string_lossy()), links)?;
        }
        return Ok(());
    }
    if meta.nlink() > 1 {
        if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            header.set_entry_type(EntryType::Link);
            return builder.append_link(&mut header, name, first);
        }
        links.insert((meta.dev(), meta.ino()), name.to_owned());
    }
    if !kind.is_file() {
        return builder.append_data(&mut header, name, io::empty());
    }
    header.set_size(meta.len());
    let file = File::open(path)?;
    // A file that grows meanwhile must not spill over its header's size.
    builder.append_data(&mut header, name, file.take(meta.len()))
}

/// Extracts an archive below `directory`; `rename` replaces the first part of its names.
pub(crate) fn extract(
    from: impl Read,
    directory: &Path,
    rename: Option<(String, String)>,
) -> Result<(), Failure> {
    let root = fs::canonicalize(directory)?;
    let mut archive = Archive::new(from);
    let mut times: Vec<(PathBuf, u64)> = Vec::new();
    let new_name = |name: &Path| -> PathBuf {
        let text = name.to_string_lossy();
        match &rename {
            Some((from, to)) => target::renamed(&text, from, to).into(),
            None => text.into_owned().into(),
        }
    };
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = new_name(&entry.path()?);
        let escapes = || Failure::new(format!("{} is outside of {}", name.display(), root.display()));
        if !target::stays_below(&name) {
            return Err(escapes());
        }
        let path = root.join(&name);
        let parent = path.parent().unwrap_or(&root);
        fs::create_dir_all(parent)?;
        if path != root && !fs::canonicalize(parent)?.starts_with(&root) {
            return Err(escapes());
        }
        let kind = entry.header().entry_type();
        check_kinds(&path, kind == EntryType::Directory, directory)?;
        match kind {
            EntryType::Directory => {
                if fs::symlink_metadata(&path).is_err() {
                    fs::create_dir(&path)?;
                }
                if path != root {
                    fs::set_permissions(&path, fs::Permissions::from_mode(entry.header().mode()?))?;
                    times.push((path, entry.header().mtime()?));
                }
            }
            EntryType::Link => {
                let first = new_name(&entry.link_name()?.ok_or_else(escapes)?);
                let first = root.join(&first);
                let inside = target::stays_below(first.strip_prefix(&root).unwrap_or(Path::new("..")))
                    && fs::canonicalize(first.parent().unwrap_or(&root))?.starts_with(&root);
                if !inside {
                    return Err(escapes());
                }
                replace(&path)?;
                fs::hard_link(first, &path)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                replace(&path)?;
                make_node(&path, kind, entry.header())?;
            }
            _ => {
                entry.set_preserve_permissions(true);
                entry.set_preserve_mtime(true);
                entry.set_unpack_xattrs(false);
                replace(&path)?;
                entry.unpack(&path)?;
            }
        }
    }
    // What is left is padding; the sender is heard to its end.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    // Last: writing into a directory changes its time.
    for (path, seconds) in times {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        File::open(path)?.set_modified(time)?;
    }
    Ok(())
}

/// A directory never replaces something else, nor the other way round.
fn check_kinds(path: &Path, is_directory: bool, given: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() && !is_directory => {
            Err(Failure::new(format!("cannot overwrite directory {path:?} with non-directory {given:?}")))
        }
        Ok(meta) if !meta.is_dir() && is_directory => {
            Err(Failure::new(format!("cannot overwrite non-directory {path:?} with directory {given:?}")))
        }
        _ => Ok(()),
    }
}

fn replace(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_node(path: &Path, kind: EntryType, header: &Header) -> io::Result<()> {
    let device = makedev(header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
    let kind = match kind {
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    Ok(mknodat(CWD, path, kind, Mode::from_raw_mode(header.mode()? & 0o7777), device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own, gone at the end.
    struct Room(PathBuf);

    impl Room {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("minke-cp-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Room {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_tree_travels_whole_under_its_new_name() {
        let room = Room::new("tree");
        fs::create_dir_all(room.0.join("src/sub")).unwrap();
        fs::write(room.0.join("src/sub/f"), "text").unwrap();
        fs::set_permissions(room.0.join("src/sub/f"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::hard_link(room.0.join("src/sub/f"), room.0.join("src/sub/g")).unwrap();
        std::os::unix::fs::symlink("f", room.0.join("src/sub/l")).unwrap();
        fs::create_dir(room.0.join("dst")).unwrap();
        let source = Source::find(&room.0.join("src").display().to_string(), false).unwrap();
        assert!(source.is_directory);
        let archive = source.archive("src".into()).unwrap();
        extract(archive, &room.0.join("dst"), Some(("src".into(), "new".into()))).unwrap();
        let out = room.0.join("dst/new/sub");
        assert_eq!(fs::read_to_string(out.join("g")).unwrap(), "text");
        assert_eq!(fs::metadata(out.join("f")).unwrap().mode() & 0o777, 0o751);
        assert_eq!(fs::metadata(out.join("f")).unwrap().nlink(), 2);
        assert_eq!(fs::read_link(out.join("l")).unwrap(), Path::new("f"));
    }

    #[test]
    fn nothing_is_written_outside() {
        let room = Room::new("escape");
        fs::create_dir(room.0.join("dst")).unwrap();
        let mut link = Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        let mut file = Header::new_gnu();
        file.set_size(1);
        file.set_mode(0o644);
        let mut builder = Builder::new(Vec::new());
        builder.append_link(&mut link, "a", room.0.as_path()).unwrap();
        builder.append_data(&mut file, "a/evil", &b"x"[..]).unwrap();
        let failure = extract(&builder.into_inner().unwrap()[..], &room.0.join("dst"), None).unwrap_err();
        assert!(failure.text.contains("outside"), "{}", failure.text);
        assert!(!room.0.join("evil").exists());
    }

    #[test]
    fn a_directory_is_not_replaced_by_a_file() {
        let room = Room::new("kinds");
        fs::create_dir_all(room.0.join("dst/x")).unwrap();
        fs::write(room.0.join("x"), "").unwrap();
        let source = Source::find(&room.0.join("x").display().to_string(), false).unwrap();
        let failure = extract(source.archive("x".into()).unwrap(), &room.0.join("dst"), None).unwrap_err();
        assert!(failure.text.starts_with("cannot overwrite directory"));
    }
}
