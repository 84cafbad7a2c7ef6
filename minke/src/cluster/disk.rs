//! What a member keeps on its disk: its key, its certificate, whom it trusts, and where managers are.
//!
//! All of it under `<data-root>/cluster`, readable by root only. A file is replaced as a whole, so that a crash leaves
//! the old one or the new one. With autolock the key and the data keys are wrapped by the unlock key.

use minke_cluster::membership::{
    MembershipError,
    ca::NodeKey,
    seal::{Seal, UnlockKey, Wrapped, WrappingKey},
};
use minke_model::{ClusterId, ClusterNodeId, node::Role};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Of this file's form.
const VERSION: u32 = 1;

/// Where the cluster's records are, for a manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Store {
    /// On this disk: it leads.
    Here,
    /// With another manager.
    #[default]
    Elsewhere,
    /// In etcd, of which this manager runs a member.
    Etcd,
}

/// A member as its disk remembers it; no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// Of which cluster.
    pub(super) cluster: ClusterId,
    /// Who it is.
    pub(super) node: ClusterNodeId,
    /// As what its certificate was last made.
    pub(super) role: Role,
    /// Where it listens, should it be a manager.
    pub(super) listen: SocketAddr,
    /// Where others find it; an unspecified address is the one that it comes from.
    pub(super) advertise: SocketAddr,
    /// Where its data travels, when that was told.
    pub(super) data_address: Option<IpAddr>,
    /// Managers that it knows, by id.
    pub(super) managers: Vec<(Option<ClusterNodeId>, SocketAddr)>,
    /// Where records are, for a manager.
    #[serde(default)]
    pub(super) store: Store,
    /// Certificate and all between it and a root, PEM.
    pub(super) chain: String,
    /// Trusted authorities, PEM.
    pub(super) trusted: String,
}

impl State {
    /// Of a new member.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        cluster: ClusterId,
        node: ClusterNodeId,
        role: Role,
        at: &super::address::Addresses,
        managers: Vec<(Option<ClusterNodeId>, SocketAddr)>,
        chain: String,
        trusted: String,
    ) -> Self {
        State {
            version: VERSION,
            cluster,
            node,
            role,
            listen: at.listen,
            advertise: at.advertise,
            data_address: at.data,
            managers,
            store: Store::Elsewhere,
            chain,
            trusted,
        }
    }
}

/// The node's key and the data keys, as they lie on disk.
#[derive(Serialize, Deserialize)]
enum Secrets {
    /// As they are; the data keys wrapped by a key that only the node's own gives.
    Open { key: String, data_keys: Option<Wrapped> },
    /// Both by the unlock key.
    Locked { key: Wrapped, data_keys: Option<Wrapped> },
}

/// Secrets that were read.
pub(super) enum Opened {
    /// They are there.
    Open { key: NodeKey, seal: Option<Seal> },
    /// They need the unlock key.
    Locked,
}

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn new(directory: PathBuf) -> Self {
        Disk(directory)
    }

    /// Where the store of a single manager lies.
    pub(super) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// Where this manager's member of etcd lives.
    pub(super) fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    /// Makes the directory, for root only.
    pub(super) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    /// The member that it remembers; `None`: none.
    pub(super) fn state(&self) -> Result<Option<State>, String> {
        let path = self.0.join("state.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
        };
        let state: State =
            serde_json::from_slice(&bytes).map_err(|e| format!("{} is damaged: {e}", path.display()))?;
        if state.version > VERSION {
            return Err(format!("{} was written by a newer minke, start that one", path.display()));
        }
        Ok(Some(state))
    }

    /// Remembers a member.
    pub(super) fn save_state(&self, state: &State) -> Result<(), String> {
        self.replace("state.json", &serde_json::to_vec_pretty(state).map_err(|e| e.to_string())?)
    }

    /// The secrets, if no unlock key is needed; with one, tries that.
    pub(super) fn secrets(&self, unlock: Option<&UnlockKey>) -> Result<Opened, String> {
        let path = self.0.join("secrets.json");
        let bytes = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let secrets: Secrets =
            serde_json::from_slice(&bytes).map_err(|e| format!("{} is damaged: {e}", path.display()))?;
        let said = |e: MembershipError| e.to_string();
        let (key, data_keys, wrapping) = match (secrets, unlock) {
            (Secrets::Open { key, data_keys }, _) => {
                let key = NodeKey::from_pem(&key).map_err(said)?;
                let wrapping = WrappingKey::of_node(&key.to_der());
                (key, data_keys, wrapping)
            }
            (Secrets::Locked { .. }, None) => return Ok(Opened::Locked),
            (Secrets::Locked { key, data_keys }, Some(unlock)) => {
                let wrapping = WrappingKey::of_unlock_key(unlock);
                let pem = String::from_utf8(wrapping.unwrap(&key).map_err(said)?)
                    .map_err(|_| said(MembershipError::WrongKey))?;
                (NodeKey::from_pem(&pem).map_err(said)?, data_keys, wrapping)
            }
        };
        let seal = data_keys.map(|wrapped| Seal::unwrap(&wrapped, &wrapping)).transpose().map_err(said)?;
        Ok(Opened::Open { key, seal })
    }

    /// Keeps the secrets; with an unlock key nobody reads them without it.
    pub(super) fn save_secrets(
        &self,
        key: &NodeKey,
        seal: Option<&Seal>,
        unlock: Option<&UnlockKey>,
    ) -> Result<(), String> {
        let secrets = match unlock {
            None => {
                let wrapping = WrappingKey::of_node(&key.to_der());
                Secrets::Open { key: key.to_pem(), data_keys: seal.map(|seal| seal.wrap(&wrapping)) }
            }
            Some(unlock) => {
                let wrapping = WrappingKey::of_unlock_key(unlock);
                Secrets::Locked {
                    key: wrapping.wrap(key.to_pem().as_bytes()),
                    data_keys: seal.map(|seal| seal.wrap(&wrapping)),
                }
            }
        };
        self.replace("secrets.json", &serde_json::to_vec(&secrets).map_err(|e| e.to_string())?)
    }

    /// Forgets everything.
    pub(super) fn forget(&self) -> Result<(), String> {
        // First what makes it a member: what a crash leaves behind is no half member.
        for name in ["state.json", "secrets.json"] {
            if let Err(e) = fs::remove_file(self.0.join(name))
                && e.kind() != io::ErrorKind::NotFound
            {
                return Err(format!("cannot remove {name} of {}: {e}", self.0.display()));
            }
        }
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {e}", self.0.display()))
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.0.join(name);
        write(&path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
    }
}

/// Writes a file that only root reads: as a whole, and so that a power cut does not undo it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let hidden = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&hidden)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&hidden, path)?;
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}
