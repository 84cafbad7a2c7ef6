//! Devices as their vendors describe them: files that say what a device brings into a container (CNCF's Container Device
//! Interface, SPEC.md 1.0; Docker's `--device vendor.com/class=name`).
//!
//! Read anew for each question: a vendor's tool rewrites its file whenever the hardware changes.
//!
//! Never: hooks. A program of the host that runs while a container is made is refused with its device.

mod document;

use document::{Document, Edit};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A file of so many bytes is no description of devices.
const LARGEST: u64 = 4 << 20;
/// So many files of one directory are read.
const MOST: usize = 256;

/// Where the descriptions lie; of two that describe the same device, the one in the later directory counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cdi {
    directories: Vec<PathBuf>,
}

/// What devices bring into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Nodes of the host: where, where inside, `rwm`.
    pub nodes: Vec<(String, String, String)>,
    /// Files and directories of the host: where, where inside, whether they may be written.
    pub mounts: Vec<(String, String, bool)>,
    /// Further groups of the process.
    pub groups: Vec<u32>,
}

/// Why devices cannot be given to a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdiError {
    /// No file describes them, or two files of one directory do.
    #[error("CDI device injection failed: unresolvable CDI devices {}", .0.join(", "))]
    Unresolvable(Vec<String>),
    /// A device asks for what is not done here.
    #[error("CDI device injection failed: {device} asks for {what}, which the daemon does not do")]
    Unsupported {
        /// Its name.
        device: String,
        /// `hooks`, `intelRdt`, `netDevices`, a mount's type.
        what: String,
    },
}

/// One device: its own edits, and those that come with any device of its file.
struct Described {
    own: Edit,
    common: Edit,
    /// Its file, so that what is common comes once.
    file: PathBuf,
}

impl Cdi {
    /// Looks into these directories; those that are missing are empty.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// Where it looks.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The names of all devices, sorted.
    pub fn devices(&self) -> Vec<String> {
        self.read().into_iter().filter_map(|(name, device)| device.map(|_| name)).collect()
    }

    /// What the devices of these names bring, in their order.
    ///
    /// # Errors
    /// When one is not described, or asks for what is not done here. All that are missing are named.
    pub fn edits(&self, names: &[String]) -> Result<Edits, CdiError> {
        let known = self.read();
        let found = |name: &String| known.get(name).and_then(Option::as_ref);
        let missing: Vec<String> = names.iter().filter(|name| found(name).is_none()).cloned().collect();
        if !missing.is_empty() {
            return Err(CdiError::Unresolvable(missing));
        }
        let (mut edits, mut files) = (Edits::default(), Vec::new());
        for (name, device) in names.iter().filter_map(|name| Some((name, found(name)?))) {
            if !files.contains(&&device.file) {
                files.push(&device.file);
                device.common.add_to(&mut edits, name)?;
            }
            device.own.add_to(&mut edits, name)?;
        }
        Ok(edits)
    }

    /// All devices; `None` for a name that two files of one directory claim.
    fn read(&self) -> BTreeMap<String, Option<Described>> {
        let mut all = BTreeMap::new();
        for directory in &self.directories {
            let mut here: BTreeMap<String, Option<Described>> = BTreeMap::new();
            for file in files(directory) {
                let document = match read(&file) {
                    Ok(document) => document,
                    Err(error) => {
                        tracing::warn!("{} describes no devices: {error}", file.display());
                        continue;
                    }
                };
                for (name, own) in document.devices() {
                    let device = Described { own, common: document.common(), file: file.clone() };
                    let claimed = here.contains_key(&name);
                    here.insert(name, (!claimed).then_some(device));
                }
            }
            all.extend(here);
        }
        all
    }
}

/// The descriptions in a directory, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let kind = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "json" || kind == "yaml");
    let mut files: Vec<PathBuf> = entries.filter(kind).take(MOST).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Result<Document, String> {
    let size = fs::metadata(file).map_err(|e| e.to_string())?.len();
    if size > LARGEST {
        return Err(format!("it has {size} bytes, {LARGEST} are the most"));
    }
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    Document::parse(&text, file.extension().is_some_and(|kind| kind == "json"))
}

#[cfg(test)]
mod tests;
