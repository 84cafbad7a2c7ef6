//! What a door remembers of builds that ended: of each a short record and a long log, bytes that mean nothing here, in
//! files that a scan finds again.
//!
//! Files are named by the digest of the build's name, which a client chose. Not synced: a power cut may take the last.

use minke_build::{BuildError, Result};
use minke_model::id::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest file that is read again, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// Ends of the names of logs, and of what is still being written.
const LOG: &str = "log";
const UNFINISHED: &str = "new";

/// Builds of the past, on disk. All of it blocks.
#[derive(Clone, Debug)]
pub struct PastBuilds {
    root: Arc<PathBuf>,
}

impl PastBuilds {
    pub(super) fn open(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).map_err(BuildError::io(format!("make {}", root.display())))?;
        Ok(Self { root: Arc::new(root) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(Digest::from_sha256(&Sha256::digest(name)).hex())
    }

    /// All records, in no order. What was half written goes, and logs of builds that have no record.
    pub fn records(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&*self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                None => all.extend(read(&path)),
                Some(LOG) if path.with_extension("").exists() => {}
                Some(_) => drop(fs::remove_file(&path)),
            }
        }
        all
    }

    /// The log of one.
    pub fn log(&self, name: &str) -> Option<Vec<u8>> {
        read(&self.path(name).with_extension(LOG))
    }

    /// Keeps the record of a build instead of what was; a log too, where there is one.
    pub fn keep(&self, name: &str, record: &[u8], log: Option<&[u8]>) -> Result<()> {
        let path = self.path(name);
        let unfinished = path.with_extension(UNFINISHED);
        let put = |to: &Path, bytes: &[u8]| {
            fs::write(&unfinished, bytes)
                .and_then(|()| fs::rename(&unfinished, to))
                .map_err(BuildError::io(format!("write {}", to.display())))
        };
        if let Some(log) = log {
            put(&path.with_extension(LOG), log)?;
        }
        put(&path, record)
    }

    /// Forgets a build.
    pub fn forget(&self, name: &str) {
        let path = self.path(name);
        // One that was never kept is forgotten already.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(path.with_extension(LOG));
    }
}

/// A file that is not too large.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_FILE).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_again_and_what_was_half_written_is_not() {
        let id = minke_model::ContainerId::random();
        let root = std::env::temp_dir().join(format!("minke-past-{}", id.short()));
        let past = PastBuilds::open(root.clone()).unwrap();
        past.keep("../one", b"first", Some(b"said")).unwrap();
        past.keep("../one", b"second", None).unwrap();
        past.keep("two", b"other", Some(b"more")).unwrap();
        fs::write(root.join("half.new"), b"ha").unwrap();
        fs::write(root.join("nobody.log"), b"ha").unwrap();
        let past = PastBuilds::open(root.clone()).unwrap();
        let mut all = past.records();
        all.sort();
        assert_eq!(all, [b"other".to_vec(), b"second".to_vec()]);
        assert_eq!(past.log("../one"), Some(b"said".to_vec()));
        assert_eq!(fs::read_dir(&root).unwrap().count(), 4);
        past.forget("two");
        past.forget("never");
        assert_eq!((past.log("two"), past.records()), (None, vec![b"second".to_vec()]));
        fs::remove_dir_all(root).unwrap();
    }
}
