//! The control plane's seal is the membership's.

use minke_cluster::{
    control::{ControlError, Sealer},
    membership::seal::Seal,
};
use minke_model::{Kind, secret::Sealed};

/// Seals with the cluster's data key.
pub(super) struct Sealing(pub(super) Seal);

impl Sealer for Sealing {
    fn seal(&self, plain: &[u8]) -> Result<Sealed, ControlError> {
        Ok(self.0.seal(plain))
    }

    fn open(&self, sealed: &Sealed) -> Result<Vec<u8>, ControlError> {
        self.0.open(sealed).map_err(|e| ControlError::Plain { kind: Kind::Internal, message: e.to_string() })
    }
}
