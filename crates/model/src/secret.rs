//! Secrets and configs: small files that tasks get.

use crate::{ConfigId, Labels, SecretId, object::Meta};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Largest secret, in bytes.
pub const LARGEST_SECRET: usize = 500 * 1024;
/// Largest config, in bytes.
pub const LARGEST_CONFIG: usize = 1000 * 1024;

/// A secret's record `secret/<id>`. Its data is sealed before it reaches any store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Unique.
    pub id: SecretId,
    /// Of name and labels; the data never changes.
    pub meta: Meta,
    /// Unique among secrets.
    pub name: String,
    /// The user's.
    pub labels: Labels,
    /// `golang`: its data is a template over the task that gets it; empty is plain.
    pub templating: String,
    /// Its data, sealed with the cluster's data key.
    pub sealed: Sealed,
}

/// A config's record `config/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Unique.
    pub id: ConfigId,
    /// Of name and labels; the data never changes.
    pub meta: Meta,
    /// Unique among configs.
    pub name: String,
    /// The user's.
    pub labels: Labels,
    /// As of a secret.
    pub templating: String,
    /// As given.
    pub data: Vec<u8>,
}

/// Bytes that only who holds the data key can read. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which data key.
    pub key: u32,
    /// Of the cipher.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.bytes.len())
    }
}
