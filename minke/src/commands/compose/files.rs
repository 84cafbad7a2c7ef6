//! Files as a project's loader asks for them, and digests of the configs and secrets that services get.

use crate::cli::Failure;
use minke_compose::{FileError, FileKind, FileObject, Files, Project, Service};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;

/// A config or secret is not looked at beyond this.
const CONTENT_LIMIT: u64 = 64 << 20;

/// This machine's files.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let other = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FileError::NotFound,
            std::io::ErrorKind::IsADirectory => FileError::Directory,
            _ => FileError::Other(crate::commands::go_error(&error)),
        };
        let mut bytes = Vec::new();
        let source: Box<dyn Read> = match path {
            "-" => Box::new(std::io::stdin()),
            path => Box::new(std::fs::File::open(path).map_err(other)?),
        };
        source.take(limit + 1).read_to_end(&mut bytes).map_err(other)?;
        if bytes.len() as u64 > limit {
            return Err(FileError::TooLarge { limit });
        }
        Ok(bytes)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let meta = std::fs::metadata(path).ok()?;
        Some(if meta.is_dir() { FileKind::Directory } else { FileKind::File })
    }

    fn resolve(&self, path: &str) -> Option<String> {
        Some(std::fs::canonicalize(path).ok()?.to_string_lossy().into_owned())
    }
}

/// For each service `config:app=1a2b3c4d,secret:key=…`: changes when the bytes of one of them do. Few digits: enough to
/// see a change, too few to guess a secret from.
pub(crate) fn digests(project: &Project) -> BTreeMap<String, String> {
    let of = |service: &Service| {
        let mut digests = Vec::new();
        for (kind, files, objects) in
            [("config", &service.configs, &project.configs), ("secret", &service.secrets, &project.secrets)]
        {
            for file in files {
                if let Some(digest) = objects.get(&file.source).and_then(|object| digest(project, object)) {
                    digests.push(format!("{kind}:{}={digest}", file.source));
                }
            }
        }
        digests.join(",")
    };
    project.services.iter().map(|(name, service)| (name.clone(), of(service))).collect()
}

fn digest(project: &Project, object: &FileObject) -> Option<String> {
    let bytes = match (object.content.as_str(), object.environment.as_str(), object.file.as_str()) {
        ("", "", "") => return None,
        // What cannot be read, a directory say, is left to the engine.
        ("", "", file) => Disk.read(file, CONTENT_LIMIT).ok()?,
        ("", variable, _) => project.environment.get(variable)?.clone().into_bytes(),
        (content, ..) => content.as_bytes().to_vec(),
    };
    Some(Sha256::digest(bytes).iter().take(4).map(|byte| format!("{byte:02x}")).collect())
}

/// The caller's environment and directory.
pub(crate) fn surroundings() -> Result<(BTreeMap<String, String>, String), Failure> {
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    Ok((environment, std::env::current_dir()?.to_string_lossy().into_owned()))
}
