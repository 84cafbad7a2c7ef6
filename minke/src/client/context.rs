//! Docker's context store: named daemons under `~/.docker/contexts`.
//!
//! A context is a directory named by the SHA-256 of its name, with `meta.json` in it.

use super::tls::Trust;
use crate::format::value::Value;
use sha2::{Digest, Sha256};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The context that stands for `DOCKER_HOST` or this machine's daemon; it lies nowhere.
pub(crate) const DEFAULT: &str = "default";

/// A named daemon.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Its name.
    pub(crate) name: String,
    /// What its maker wrote about it.
    pub(crate) description: String,
    /// The daemon's address.
    pub(crate) host: String,
    /// All that the file says.
    pub(crate) meta: Value,
}

/// The store under one configuration directory.
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// The store of `directory` (`~/.docker`).
    pub(crate) fn new(directory: &Path) -> Self {
        Self { root: directory.join("contexts") }
    }

    /// Where a context's own file is.
    pub(crate) fn meta_directory(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(key(name))
    }

    /// Where a context's certificates are.
    pub(crate) fn tls_directory(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(key(name))
    }

    /// A context by name. The error is docker's sentence.
    pub(crate) fn get(&self, name: &str) -> Result<Context, String> {
        let file = self.meta_directory(name).join("meta.json");
        let bytes = std::fs::read(&file).map_err(|_| {
            format!(
                "context {}: context not found: open {}: no such file or directory",
                minke_model::go::quote(name),
                file.display()
            )
        })?;
        let meta: Value = serde_json::from_slice(&bytes).map_err(|error| {
            format!("load context {}: {}: {error}", minke_model::go::quote(name), file.display())
        })?;
        Ok(Context {
            name: name.to_owned(),
            description: meta.text("Metadata.Description").to_owned(),
            host: meta.text("Endpoints.docker.Host").to_owned(),
            meta,
        })
    }

    /// The certificates of a context; `None` is no TLS.
    pub(crate) fn trust(&self, context: &Context) -> Option<Trust> {
        let any = context.meta.bool("Endpoints.docker.SkipTLSVerify");
        let trust = Trust::of_directory(&self.tls_directory(&context.name).join("docker"), !any);
        (any || trust.authority.is_some() || trust.certificate.is_some()).then_some(trust)
    }

    /// Keeps copies of a context's certificates: names are docker's.
    pub(crate) fn put_tls(&self, name: &str, files: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
        let directory = self.tls_directory(name).join("docker");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        for (file, bytes) in files {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            std::io::Write::write_all(&mut options.open(directory.join(file))?, bytes)?;
        }
        Ok(())
    }

    /// All contexts, by name.
    pub(crate) fn list(&self) -> Vec<Context> {
        let Ok(entries) = std::fs::read_dir(self.root.join("meta")) else { return Vec::new() };
        let metas = entries.flatten().filter_map(|entry| std::fs::read(entry.path().join("meta.json")).ok());
        let names = metas
            .filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .map(|meta| meta.text("Name").to_owned());
        let mut contexts: Vec<Context> = names.filter_map(|name| self.get(&name).ok()).collect();
        contexts.sort_by(|a, b| a.name.cmp(&b.name));
        contexts
    }

    /// Writes a context.
    pub(crate) fn put(&self, name: &str, meta: &serde_json::Value) -> std::io::Result<()> {
        let directory = self.meta_directory(name);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("meta.json"), meta.to_string())
    }

    /// Removes a context.
    pub(crate) fn remove(&self, name: &str) -> std::io::Result<()> {
        let tls = self.tls_directory(name);
        if tls.exists() {
            std::fs::remove_dir_all(tls)?;
        }
        std::fs::remove_dir_all(self.meta_directory(name))
    }
}

/// The name of a context's directory.
fn key(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_written_is_found_again() {
        let directory = std::env::temp_dir().join(format!("minke-context-{}", std::process::id()));
        let store = Store::new(&directory);
        store.put("far", &serde_json::json!({"Name": "far", "Metadata": {"Description": "d"}, "Endpoints": {"docker": {"Host": "ssh://x"}}})).unwrap();
        assert_eq!(store.list().len(), 1);
        assert_eq!(store.get("far").unwrap().host, "ssh://x");
        store.remove("far").unwrap();
        assert!(store.get("far").unwrap_err().starts_with("context \"far\": context not found: open "));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
