//! What is mounted into a container: as asked, and as it is.

use crate::Labels;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a mount's content comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// An image's root.
    Image,
}

impl MountKind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Image => "image",
        }
    }
}

/// How mounts below travel between host and container (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// Not at all, with mounts below copied at start: Docker's default for binds.
    #[default]
    Rprivate,
    /// Both ways.
    Shared,
    /// Both ways, mounts below too.
    Rshared,
    /// From host to container.
    Slave,
    /// From host to container, mounts below too.
    Rslave,
}

impl Propagation {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Private => "private",
            Propagation::Rprivate => "rprivate",
            Propagation::Shared => "shared",
            Propagation::Rshared => "rshared",
            Propagation::Slave => "slave",
            Propagation::Rslave => "rslave",
        }
    }

    /// Docker's word back.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "private" => Propagation::Private,
            "rprivate" => Propagation::Rprivate,
            "shared" => Propagation::Shared,
            "rshared" => Propagation::Rshared,
            "slave" => Propagation::Slave,
            "rslave" => Propagation::Rslave,
            _ => return None,
        })
    }
}

/// A mount as `-v` asks for it: `[source:]target[:mode]`. Source and mode are as given; `api` has checked the form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindSpec {
    /// The whole text, as inspect shows it.
    pub text: String,
    /// An absolute host path (bind) or a volume's name.
    pub source: String,
    /// Absolute path inside.
    pub target: String,
    /// The part after the second colon, `ro,z,nocopy`; empty when none.
    pub mode: String,
    /// `ro` leaves mounts below writable, as before API 1.44.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shallow: bool,
}

/// A mount as `--mount` asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What is mounted.
    pub kind: MountKind,
    /// Host path, volume name (empty: anonymous) or image; empty for tmpfs.
    pub source: String,
    /// Absolute path inside.
    pub target: String,
    /// Nothing may write through it.
    pub read_only: bool,
    /// Kept for inspect; no meaning on Linux.
    pub consistency: String,
    /// For binds.
    pub bind: Option<BindOptions>,
    /// For volumes.
    pub volume: Option<VolumeOptions>,
    /// For tmpfs.
    pub tmpfs: Option<TmpfsOptions>,
    /// For images: a path inside the image to mount.
    pub image_subpath: Option<String>,
}

/// Options of a bind by `--mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindOptions {
    /// As asked.
    pub propagation: Option<Propagation>,
    /// Without mounts below.
    pub non_recursive: bool,
    /// Make the source directory when missing.
    pub create_mountpoint: bool,
    /// Leave mounts below writable under `read_only`.
    pub read_only_non_recursive: bool,
    /// Fail when mounts below cannot be made read-only.
    pub read_only_force_recursive: bool,
}

/// Options of a volume by `--mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOptions {
    /// Do not fill an empty volume from the image.
    pub no_copy: bool,
    /// For a volume made by this mount.
    pub labels: Labels,
    /// Driver for a volume made by this mount; empty is `local`.
    pub driver: String,
    /// Driver options for a volume made by this mount.
    pub driver_options: BTreeMap<String, String>,
    /// A path inside the volume.
    pub subpath: String,
}

/// Options of a tmpfs by `--mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsOptions {
    /// Bytes; 0 is the kernel's default (half of memory).
    pub size: i64,
    /// Permission bits; 0 is 1777.
    pub mode: u32,
    /// Further options: `[["exec"], ["uid", "5"]]`.
    pub options: Vec<Vec<String>>,
}

/// A mount as it is: decided at create, part of the container's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What is mounted.
    pub kind: MountKind,
    /// The volume's name; empty else.
    pub name: String,
    /// The path of the host that is mounted (for a volume its data, for an image its root); empty for tmpfs.
    pub source: String,
    /// Absolute path inside.
    pub destination: String,
    /// `local` for volumes; empty else.
    pub driver: String,
    /// The mode text that inspect shows.
    pub mode: String,
    /// May be written.
    pub writable: bool,
    /// How mounts below travel.
    pub propagation: Option<Propagation>,
    /// Without mounts below.
    pub non_recursive: bool,
    /// How far read-only goes.
    pub read_only_recursion: ReadOnlyRecursion,
    /// Fill from the image at first use, when empty.
    pub copy_up: bool,
    /// A path inside the volume or image; empty is its root.
    pub subpath: String,
    /// Mount data of a tmpfs: `size=…,mode=…`; empty else.
    pub tmpfs_options: String,
    /// Given by `--mount` (shown by inspect as it is), not by `-v`.
    pub from_mount_spec: bool,
}

/// How far `read_only` of a bind goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadOnlyRecursion {
    /// Recursive when the kernel can (mount_setattr, 5.12).
    #[default]
    IfPossible,
    /// The top mount only.
    Never,
    /// Recursive or an error.
    Always,
}
