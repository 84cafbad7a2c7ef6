//! Which network is being made or removed, written down before the kernel hears of it: what a crash in between leaves is
//! taken away at the next start. A reboot ends both, the note and the device.

use crate::error::Result;
use minke_model::network::Network;
use std::path::{Path, PathBuf};

/// The note, beside the daemon's sockets: one network is made or removed at a time.
const NAME: &str = "changing-network";

/// A note that goes when the change is through, or has been taken back.
pub(super) struct Intent(PathBuf);

impl Intent {
    /// Notes that `network` changes.
    pub(super) fn note(exec_root: &Path, network: &Network) -> Result<Self> {
        let path = exec_root.join(NAME);
        let text = serde_json::to_vec(network).map_err(std::io::Error::from);
        text.and_then(|text| std::fs::write(&path, text))
            .map_err(crate::Error::io(format!("write {}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        // One that stays costs a look at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The network whose change a crash cut off. A note that was not written whole was made before anything else.
pub(super) fn left(exec_root: &Path) -> Option<Network> {
    let text = std::fs::read(exec_root.join(NAME)).ok()?;
    let _ = std::fs::remove_file(exec_root.join(NAME));
    serde_json::from_slice(&text).ok()
}
