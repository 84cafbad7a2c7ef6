//! What the tests of this room share: directories that go away, tars made by hand, small images.

use crate::{
    Images, ImportRequest, Reference, Result,
    tarball::{Entry, EntryKind, TarWriter},
    unpack::Limits,
};
use minke_model::{ContainerId, ImageId};
use std::path::{Path, PathBuf};

/// Enough for every test.
pub(crate) const LIMITS: Limits = Limits { bytes: 1 << 30, entries: 1 << 20 };

/// A directory that goes when it is dropped, with all that is in it.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("minke-image-{}", ContainerId::random().short()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        crate::disk::remove_dir(&self.0).unwrap();
    }
}

/// Images in a directory of their own.
pub(crate) fn images() -> (Temp, Images) {
    let temp = Temp::new();
    let images = Images::open(&temp.path("image")).unwrap();
    (temp, images)
}

/// An entry with sane values.
pub(crate) fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.into(),
        link: Vec::new(),
        kind,
        mode: if kind == EntryKind::Dir { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        mtime: (1_700_000_000, 0),
        atime: None,
        size: 0,
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: None,
    }
}

/// A tar made entry by entry.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(mut self, mut entry: Entry, content: &[u8]) -> Self {
        entry.size = content.len() as u64;
        TarWriter::new(&mut self.0).append_bytes(&entry, content).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.add(entry(path, EntryKind::File), content.as_bytes())
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.add(entry(path, EntryKind::Dir), &[])
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.add(Entry { link: target.into(), ..entry(path, EntryKind::Symlink) }, &[])
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.add(Entry { link: target.into(), ..entry(path, EntryKind::Link) }, &[])
    }

    /// Blocks made elsewhere.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A header of any kind and size, with a right checksum, and a payload padded to blocks.
pub(crate) fn block(path: &[u8], flag: u8, size: u64, payload: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(tar::EntryType::new(flag));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A pax header with these records.
pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while body + length.to_string().len() != length {
            length = body + length.to_string().len();
        }
        data.extend_from_slice(format!("{length} {key}=").as_bytes());
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    block(b"PaxHeaders/x", b'x', data.len() as u64, &data)
}

/// An image of one layer.
pub(crate) fn import(images: &Images, tar: Vec<u8>, name: &str) -> Result<ImageId> {
    let reference = Some(Reference::parse(name).unwrap());
    images.import(tar.as_slice(), ImportRequest { reference, ..ImportRequest::default() })
}

/// An image of these layers, from the bottom, by way of an archive.
pub(crate) fn load(images: &Images, layers: &[Vec<u8>], name: &str) -> Result<ImageId> {
    images.load(archive(layers, name).as_slice(), None, &crate::Quiet)?;
    images.resolve(name)
}

/// A docker-archive of one image with these layers.
pub(crate) fn archive(layers: &[Vec<u8>], name: &str) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|l| crate::config::digest(l)).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"], "Labels": null},
        "rootfs": {"type": "layers", "diff_ids": ids},
    })
    .to_string();
    let paths: Vec<_> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": [name], "Layers": paths}]).to_string();
    let mut tar = Tar::new().file("c.json", &config);
    for (path, layer) in paths.iter().zip(layers) {
        tar = tar.add(entry(path, EntryKind::File), layer);
    }
    tar.file("manifest.json", &manifest).end()
}

/// All files below a directory with their content, links and devices by what they are; sorted.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    fn walk(dir: &Path, prefix: &str, all: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().unwrap();
            let meta = entry.metadata().unwrap();
            all.push(match kind {
                _ if kind.is_dir() => format!("{name}/"),
                _ if kind.is_symlink() => {
                    format!("{name} -> {}", std::fs::read_link(entry.path()).unwrap().display())
                }
                _ if kind.is_char_device() && meta.rdev() == 0 => format!("{name} gone"),
                _ if kind.is_file() => {
                    format!("{name}={}", String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()))
                }
                _ => format!("{name} special"),
            });
            if kind.is_dir() {
                walk(&entry.path(), &format!("{name}/"), all);
            }
        }
    }
    let mut all = Vec::new();
    walk(root, "", &mut all);
    all.sort();
    all
}
