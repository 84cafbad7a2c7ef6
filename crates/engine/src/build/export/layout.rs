//! An OCI image layout of what was built: made in a directory first, since a manifest names its blobs by their digests.
//!
//! Sources: OCI image spec, image-layout.md; BuildKit `exporter/oci`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minke_build::{BuildError, Result};
use minke_image::{BlobForm, Chain, ImageConfig, Reference, platform};
use minke_model::{Kind, id::Digest, image::Platform};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::Arc,
};

const TYPE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TYPE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// One image of a layout.
pub(super) struct Image {
    pub(super) chain: Chain,
    pub(super) config: Arc<ImageConfig>,
    pub(super) platform: Platform,
}

/// What is to be laid out.
pub(super) struct Wanted {
    pub(super) images: Vec<Image>,
    pub(super) names: Vec<Reference>,
    pub(super) form: BlobForm,
    pub(super) annotations: Annotations,
    /// With Docker's list of images.
    pub(super) docker: bool,
    /// An index even of one image.
    pub(super) index: bool,
}

/// Annotations, by where they belong (BuildKit: `annotation[-where].KEY`; a platform in brackets counts for all here).
#[derive(Default)]
pub(super) struct Annotations {
    manifest: Map<String, Value>,
    descriptor: Map<String, Value>,
    index: Map<String, Value>,
}

impl Annotations {
    pub(super) fn of(attributes: &BTreeMap<String, String>) -> Self {
        let mut all = Self::default();
        for (name, value) in attributes {
            let Some((place, key)) =
                name.split_once('.').filter(|(place, _)| place.starts_with("annotation"))
            else {
                continue;
            };
            let place = place.split('[').next().unwrap_or(place);
            let to = match place {
                "annotation" | "annotation-manifest" => &mut all.manifest,
                "annotation-manifest-descriptor" => &mut all.descriptor,
                "annotation-index" | "annotation-index-descriptor" => &mut all.index,
                _ => continue,
            };
            to.insert(key.to_owned(), json!(value));
        }
        all
    }
}

/// A layout in a directory; goes with it.
pub(super) struct Layout {
    dir: PathBuf,
    blobs: Vec<(Digest, u64, PathBuf)>,
    index: Vec<u8>,
    docker: Option<Vec<u8>>,
    /// The one image, or the index of several.
    top: Value,
    config: Digest,
}

impl Drop for Layout {
    fn drop(&mut self) {
        drop(crate::volume::remove_tree(&self.dir));
    }
}

fn json_bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|e| BuildError::other(Kind::Internal, format!("cannot write a manifest: {e}")))
}

/// Hashes and counts what is written through it.
struct Counting<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Layout {
    /// Makes a layout in `dir`, which is made. Blocks.
    pub(super) fn make(dir: PathBuf, wanted: &Wanted) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(BuildError::io(format!("make {}", dir.display())))?;
        let empty = Digest::from_sha256(&[0; 32]);
        let mut layout =
            Self { dir, blobs: Vec::new(), index: Vec::new(), docker: None, top: Value::Null, config: empty };
        let mut manifests = Vec::new();
        let mut items = Vec::new();
        for image in &wanted.images {
            let (manifest, item) = layout.image(image, wanted)?;
            manifests.push(manifest);
            items.push(item);
        }
        let mut top = match (&manifests[..], wanted.index) {
            ([only], false) => only.clone(),
            _ => {
                let mut index =
                    json!({ "schemaVersion": 2, "mediaType": TYPE_INDEX, "manifests": manifests });
                if !wanted.annotations.index.is_empty() {
                    index["annotations"] = Value::Object(wanted.annotations.index.clone());
                }
                let bytes = json_bytes(&index)?;
                let (digest, size) = layout.put(&bytes)?;
                json!({ "mediaType": TYPE_INDEX, "digest": digest, "size": size })
            }
        };
        layout.top = top.clone();
        let mut listed = Vec::new();
        for name in &wanted.names {
            let name = name.clone().or_latest();
            let annotations = top["annotations"].as_object_mut().map(std::mem::take).unwrap_or_default();
            let mut annotations = annotations;
            annotations.insert("io.containerd.image.name".into(), json!(name.full()));
            annotations
                .insert("org.opencontainers.image.ref.name".into(), json!(name.tag().unwrap_or_default()));
            let mut entry = top.clone();
            entry["annotations"] = Value::Object(annotations);
            listed.push(entry);
        }
        if listed.is_empty() {
            listed.push(top);
        }
        layout.index =
            json_bytes(&json!({ "schemaVersion": 2, "mediaType": TYPE_INDEX, "manifests": listed }))?;
        if wanted.docker {
            layout.docker = Some(json_bytes(&json!(items))?);
        }
        Ok(layout)
    }

    /// One image: its descriptor, and its line in Docker's list.
    fn image(&mut self, image: &Image, wanted: &Wanted) -> Result<(Value, Value)> {
        let mut layers = Vec::new();
        let mut paths = Vec::new();
        for number in 0..image.chain.len() {
            let path = self.dir.join(format!("layer-{}", self.blobs.len()));
            let failed = |e| BuildError::io(format!("write {}", path.display()))(e);
            let file = BufWriter::new(File::create(&path).map_err(failed)?);
            let mut out = Counting { out: file, hash: Sha256::new(), size: 0 };
            image.chain.write_blob(number, wanted.form, &mut out)?;
            out.flush().map_err(failed)?;
            let (digest, size) = (Digest::from_sha256(&out.hash.finalize()), out.size);
            layers.push(json!({ "mediaType": wanted.form.media_type(), "digest": digest, "size": size }));
            paths.push(blob_path(&digest));
            self.add(digest, size, path);
        }
        let raw = image.config.raw.clone();
        let (config, size) = self.put(&raw)?;
        self.config = config.clone();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": TYPE_MANIFEST,
            "config": { "mediaType": TYPE_CONFIG, "digest": config, "size": size },
            "layers": layers,
        });
        if !wanted.annotations.manifest.is_empty() {
            manifest["annotations"] = Value::Object(wanted.annotations.manifest.clone());
        }
        let (digest, size) = self.put(&json_bytes(&manifest)?)?;
        let platform = platform::normalize(&image.platform);
        let mut shown = json!({ "architecture": platform.architecture, "os": platform.os });
        if !platform.variant.is_empty() {
            shown["variant"] = json!(platform.variant);
        }
        let mut descriptor =
            json!({ "mediaType": TYPE_MANIFEST, "digest": digest, "size": size, "platform": shown });
        if !wanted.annotations.descriptor.is_empty() {
            descriptor["annotations"] = Value::Object(wanted.annotations.descriptor.clone());
        }
        let tags: Vec<String> = wanted.names.iter().map(|name| name.clone().or_latest().familiar()).collect();
        let item = json!({
            "Config": blob_path(&config),
            "RepoTags": if tags.is_empty() { Value::Null } else { json!(tags) },
            "Layers": paths,
        });
        Ok((descriptor, item))
    }

    /// A document, as a blob.
    fn put(&mut self, bytes: &[u8]) -> Result<(Digest, u64)> {
        let digest = Digest::from_sha256(&Sha256::digest(bytes));
        let path = self.dir.join(format!("document-{}", self.blobs.len()));
        std::fs::write(&path, bytes).map_err(BuildError::io(format!("write {}", path.display())))?;
        self.add(digest.clone(), bytes.len() as u64, path);
        Ok((digest, bytes.len() as u64))
    }

    fn add(&mut self, digest: Digest, size: u64, path: PathBuf) {
        if !self.blobs.iter().any(|(known, ..)| *known == digest) {
            self.blobs.push((digest, size, path));
        }
    }

    /// Digest, size and file of each blob.
    pub(super) fn blobs(&self) -> &[(Digest, u64, PathBuf)] {
        &self.blobs
    }

    /// What the client is told.
    pub(super) fn response(&self) -> BTreeMap<String, String> {
        let digest = self.top["digest"].as_str().unwrap_or_default().to_owned();
        BTreeMap::from([
            ("containerimage.digest".into(), digest),
            ("containerimage.config.digest".into(), self.config.to_string()),
            ("containerimage.descriptor".into(), STANDARD.encode(self.top.to_string())),
        ])
    }

    /// Writes it as one tar. Blocks.
    pub(super) fn write_tar(&self, out: &mut dyn Write) -> Result<()> {
        let write = || -> io::Result<()> {
            let mut tar = tar::Builder::new(out);
            for dir in ["blobs/", "blobs/sha256/"] {
                let mut header = header(0, 0o755);
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, dir, io::empty())?;
            }
            for (digest, size, path) in &self.blobs {
                tar.append_data(&mut header(*size, 0o444), blob_path(digest), File::open(path)?)?;
            }
            let mut files = vec![
                ("index.json", &self.index[..]),
                ("oci-layout", &br#"{"imageLayoutVersion":"1.0.0"}"#[..]),
            ];
            files.extend(self.docker.as_deref().map(|docker| ("manifest.json", docker)));
            for (name, bytes) in files {
                tar.append_data(&mut header(bytes.len() as u64, 0o444), name, bytes)?;
            }
            tar.into_inner()?.flush()
        };
        write().map_err(BuildError::io("write an archive"))
    }
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
