//! What a service sees of files: mounts, configs and secrets, files of variables. Pure.

use super::{
    Bytes, FileMode,
    shape::{Form, Part, Reader, shape},
};
use crate::{
    node::{Data, Node},
    value::Value,
};
use std::collections::BTreeMap;

shape! {
    /// A mount.
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe`, `cluster`.
        r#type: String = "type",
        /// A path, or a volume's key.
        source: String = "source",
        /// Where in the container.
        target: String = "target",
        /// Not to be written.
        read_only: bool = "read_only",
        /// Ignored on Linux.
        consistency: String = "consistency",
        /// Of a bind mount.
        bind: Option<BindOptions> = "bind",
        /// Of a volume.
        volume: Option<VolumeOptions> = "volume",
        /// Of a tmpfs.
        tmpfs: Option<TmpfsOptions> = "tmpfs",
        /// Of an image.
        image: Option<ImageOptions> = "image",
    }
}

shape! {
    /// Options of a bind mount.
    pub struct BindOptions {
        /// `z` or `Z`.
        selinux: String = "selinux",
        /// `rprivate`, `rshared`, …
        propagation: String = "propagation",
        /// Whether a missing path is made as a directory.
        create_host_path: bool = "create_host_path",
        /// `enabled`, `disabled`, `writable`, `readonly`.
        recursive: String = "recursive",
    }
}

shape! {
    /// Options of a mounted volume.
    pub struct VolumeOptions {
        /// Labels of one made for it.
        labels: BTreeMap<String, String> = "labels",
        /// Whether the image's files are not copied in.
        nocopy: bool = "nocopy",
        /// A directory of the volume instead of all.
        subpath: String = "subpath",
    }
}

shape! {
    /// Options of a tmpfs.
    pub struct TmpfsOptions {
        /// Its size.
        size: Bytes = "size",
        /// Its mode.
        mode: u32 = "mode",
    }
}

shape! {
    /// Options of a mounted image.
    pub struct ImageOptions {
        /// A directory of the image instead of all.
        subpath: String = "subpath",
    }
}

shape! {
    /// A config or secret as a file of a container or build.
    pub struct FileMount {
        /// The config's or secret's key.
        source: String = "source",
        /// The file.
        target: String = "target",
        /// Its owner.
        uid: String = "uid",
        /// Its group.
        gid: String = "gid",
        /// Its mode.
        mode: Option<FileMode> = "mode",
    }
}

/// A file with variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// Its path.
    pub path: String,
    /// Whether it must exist.
    pub required: bool,
    /// `raw`, or none for the syntax of `.env`.
    pub format: String,
}

impl Part for EnvFile {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let Data::Map(map) = &node.data else {
            return EnvFile { path: node.plain(), required: true, format: String::new() };
        };
        EnvFile {
            path: map.get("path").map(Node::plain).unwrap_or_default(),
            required: map.get("required").is_some_and(|value| bool::read_any(value, reader)),
            format: map.get("format").map(Node::plain).unwrap_or_default(),
        }
    }
    fn show(&self, form: Form) -> Value {
        if self.required {
            return Value::Text(self.path.clone());
        }
        let mut entries = vec![
            ("path".to_owned(), Value::Text(self.path.clone())),
            ("required".to_owned(), Value::Bool(self.required)),
        ];
        if form == Form::Json && !self.format.is_empty() {
            entries.push(("format".to_owned(), Value::Text(self.format.clone())));
        }
        Value::Map(entries)
    }
    fn is_empty(&self, _: Form) -> bool {
        false
    }
}
