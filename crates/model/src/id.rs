//! Identities: never a bare string.

use serde::{Deserialize, Serialize};
use std::fmt;

/// 64 lower-case hex digits of 256 random bits.
fn random_hex() -> String {
    let mut bytes = [0u8; 32];
    // Without the kernel's random numbers no id is unique: there is no way on.
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    hex(&bytes)
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[(b >> 4) as usize] as char, DIGITS[(b & 15) as usize] as char])
        .collect()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new identity from 256 random bits. Never all digits in its short form, which Docker's
            /// clients would take for a number.
            pub fn random() -> Self {
                loop {
                    let id = random_hex();
                    if id[..12].bytes().any(|b| b.is_ascii_alphabetic()) {
                        return Self(id);
                    }
                }
            }

            /// Takes 64 lower-case hex digits; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                let good = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                good.then(|| Self(text.to_owned()))
            }

            /// All 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12 digits, as people see it.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
    )*};
}

ids! {
    /// A container's identity.
    ContainerId;
    /// The identity of one exec in a container.
    ExecId;
    /// A network's identity.
    NetworkId;
    /// The identity of one container's place in one network.
    EndpointId;
}

/// 25 characters of `0-9a-z` of 125 random bits, as Swarm's ids are (swarmkit, identity/doc.go).
fn random_base36() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut bytes = [0u8; 16];
    // Without the kernel's random numbers no id is unique: there is no way on.
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    base36(u128::from_le_bytes(bytes) >> 3, DIGITS)
}

fn base36(mut number: u128, digits: &[u8; 36]) -> String {
    let mut text = [b'0'; 25];
    for place in text.iter_mut().rev() {
        *place = digits[(number % 36) as usize];
        number /= 36;
    }
    text.iter().map(|&b| b as char).collect()
}

macro_rules! cluster_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// A new identity from 125 random bits.
            pub fn random() -> Self {
                Self(random_base36().into())
            }

            /// The identity that `bits` always give: of a key's fingerprint, or of a simulation's seed.
            pub fn from_bits(bits: u128) -> Self {
                Self(base36(bits >> 3, b"0123456789abcdefghijklmnopqrstuvwxyz").into())
            }

            /// Takes 25 characters of `0-9a-z`; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                let good = text.len() == 25 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'));
                good.then(|| Self(text.into()))
            }

            /// All 25 characters.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12, as people see it.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text).ok_or_else(|| format!("invalid id {text:?}"))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
    )*};
}

cluster_ids! {
    /// A cluster's identity.
    ClusterId;
    /// The identity of a machine in a cluster.
    ClusterNodeId;
    /// A service's identity.
    ServiceId;
    /// A task's identity.
    TaskId;
    /// A secret's identity.
    SecretId;
    /// A config's identity.
    ConfigId;
}

/// A content digest, `sha256:` and 64 lower-case hex digits (OCI image spec, descriptor.md#digests).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Takes `sha256:` and 64 lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let good = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        good.then(|| Self(text.to_owned()))
    }

    /// From the 32 bytes of a finished SHA-256.
    pub fn from_sha256(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(bytes)))
    }

    /// With its algorithm: `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits alone.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// The first 12 digits, as people see it.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("invalid digest {text:?}"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// An image's identity: the digest of its configuration.
pub type ImageId = Digest;
