//! Files in memory.

use minke_compose::{FileError, FileKind, Files};
use std::collections::BTreeMap;

/// Files by path.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<String, String>);

impl Files for Memory {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        match self.0.get(path) {
            Some(text) if text.len() as u64 > limit => Err(FileError::TooLarge { limit }),
            Some(text) => Ok(text.clone().into_bytes()),
            None => Err(FileError::NotFound),
        }
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let below = format!("{path}/");
        let directory = self.0.keys().any(|file| file.starts_with(&below));
        match (self.0.contains_key(path), directory) {
            (true, _) => Some(FileKind::File),
            (false, true) => Some(FileKind::Directory),
            (false, false) => None,
        }
    }

    fn resolve(&self, path: &str) -> Option<String> {
        self.kind(path).map(|_| path.to_owned())
    }
}
