//! What this side has for a build: directories, secrets, agents, credentials, and places for what was made.

use super::wish::{Destination, Secret};
use crate::client::config_file::ConfigFile;
use minke_api::remote::{Local, Sink};
use minke_engine::build::{
    Directory,
    host::{Files, Wanted},
};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// The largest secret, bytes (BuildKit's own bound).
const MOST_SECRET: u64 = 500 << 10;

/// All of it.
pub(super) struct Here {
    /// What the context is kept under between builds: where it is.
    pub(super) shared_key: Option<PathBuf>,
    /// Directories by their names in the request.
    pub(super) directories: HashMap<String, PathBuf>,
    /// The context, where it is a stream: its name, and the stream, given once.
    pub(super) upload: Mutex<Option<(String, Box<dyn Read + Send>)>>,
    pub(super) secrets: Vec<Secret>,
    /// Sockets of agents by name.
    pub(super) agents: HashMap<String, PathBuf>,
    pub(super) config: ConfigFile,
    /// Directories of caches that are used.
    pub(super) stores: Vec<String>,
    /// In the order of the request's exporters.
    pub(super) destinations: Vec<Destination>,
}

impl Local for Here {
    fn directory(&self, name: &str, wanted: &Wanted) -> io::Result<Option<Arc<dyn Files>>> {
        let Some(root) = self.directories.get(name) else { return Ok(None) };
        let directory = Directory::new(root, wanted).map_err(io::Error::other)?;
        Ok(Some(Arc::new(directory)))
    }

    fn upload(&self, name: &str) -> Option<Box<dyn Read + Send>> {
        let mut upload = self.upload.lock().unwrap_or_else(|e| e.into_inner());
        match upload.take() {
            Some((known, stream)) if known == name => Some(stream),
            other => {
                *upload = other;
                None
            }
        }
    }

    fn secret(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(secret) = self.secrets.iter().find(|secret| secret.id == id) else { return Ok(None) };
        if let Some(variable) = &secret.variable {
            return Ok(std::env::var_os(variable).map(std::os::unix::ffi::OsStringExt::into_vec));
        }
        let Some(path) = &secret.file else { return Ok(None) };
        let failed =
            |e: io::Error| io::Error::new(e.kind(), format!("cannot read secret {id} from {path}: {e}"));
        let mut bytes = Vec::new();
        File::open(path).map_err(failed)?.take(MOST_SECRET + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MOST_SECRET {
            return Err(io::Error::other(format!("secret {id} is larger than {MOST_SECRET} bytes")));
        }
        Ok(Some(bytes))
    }

    fn agent(&self, id: &str) -> Option<PathBuf> {
        self.agents.get(id).cloned()
    }

    fn credentials(&self, host: &str) -> io::Result<Option<(String, String)>> {
        self.config.pair(host).map_err(io::Error::other)
    }

    fn store(&self, name: &str) -> Option<PathBuf> {
        let path = name.strip_prefix("local:")?;
        self.stores.iter().any(|known| known == path).then(|| PathBuf::from(path))
    }

    fn sink(&self, exporter: &str, _: &BTreeMap<String, String>) -> io::Result<Option<Sink>> {
        // A daemon that names none means the only one.
        let number = exporter.parse().unwrap_or(0);
        let destination = self.destinations.get(number).or(self.destinations.first());
        Ok(match destination {
            None | Some(Destination::None) => None,
            Some(Destination::Stdout) => Some(Sink::Stream(Box::new(crate::stream::terminal::stdout()?))),
            Some(Destination::File(path)) => {
                let path = PathBuf::from(path);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                Some(Sink::Stream(Box::new(File::create(path)?)))
            }
            Some(Destination::Directory(path)) => Some(Sink::Directory(path.into())),
        })
    }
}
