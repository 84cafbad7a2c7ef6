//! `load`: an archive is read once, from front to end, as it arrives.
//!
//! What each file is shows only at the end, in a list that may come last. So whatever looks like a layer is unpacked
//! at once, by a thread of its own, hashed meanwhile; JSON is kept in memory. Then the list says which of them are
//! layers of what. The others are dropped; a layer that could not be unpacked is an error only if the list names it.

use super::{
    ANNOTATION_NAME, ANNOTATION_REF, Descriptor, INDEX, Index, Item, MANIFEST, Manifest, REPOSITORIES,
    TYPE_INDEX, blob_path, legacy,
};
use crate::{
    ImageError, Images, Progress, ProgressEvent, Reference, Result,
    config::{ImageConfig, MAX_BYTES},
    decompress::{self, Compression},
    gc,
    layer::{LayerLease, Pending},
    path, pipe, platform,
    state::ImageRecord,
    tarball::{BLOCK, Entry, EntryKind, NoTap, TarReader},
};
use minke_model::{ImageId, id::Digest, image::Platform};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{PipeReader, PipeWriter, Read, Write},
    thread::{Scope, ScopedJoinHandle},
};

/// Files in one archive.
const MAX_FILES: usize = 100_000;

/// JSON of one archive that is kept in memory.
const MAX_JSON: u64 = 64 << 20;

/// Bytes that wait for one unpacking thread. What is read ahead lets the next layer's thread begin.
const AHEAD: usize = 16 << 20;

/// Indexes inside of indexes.
const MAX_NESTING: usize = 4;

/// What a load has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A name, which now means the image that came.
    Reference(Reference),
    /// An image without a name.
    Id(ImageId),
}

/// A file of the archive.
enum Part {
    /// Kept in memory: a config, a list.
    Json(Vec<u8>),
    /// Unpacked, or why not.
    Layer(Result<Pending>),
    /// A layer that is here already, by its name in the archive, and was not read.
    Known(LayerLease),
    /// Elsewhere in the archive.
    Link(Vec<u8>),
}

/// An image that the list tells of.
pub(super) struct Wanted {
    pub(super) config: ImageConfig,
    /// Paths in the archive, from the bottom.
    pub(super) layers: Vec<Vec<u8>>,
    pub(super) names: Vec<Reference>,
    pub(super) parent: Option<String>,
    /// Nobody asked for it: it came as the parent of another.
    pub(super) base: bool,
}

impl Images {
    /// Takes the images of an archive in; of several platforms the one asked for, or this machine's.
    ///
    /// Reads `tar` to its end. Reports `Loading layer` lines, and a line for each name that another image loses.
    pub fn load(
        &self,
        tar: impl Read + Send,
        wanted: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>> {
        let parts = std::thread::scope(|scope| self.read_archive(scope, tar, progress))?;
        let mut parts = Parts(parts);
        let images = parts.images(wanted)?;
        let loaded = self.adopt(parts, images, progress);
        if loaded.is_err() {
            // Layers whose image could not be made known.
            gc::collect(&self.0, &[])?;
        }
        loaded
    }

    fn read_archive<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        tar: impl Read + Send,
        progress: &'env dyn Progress,
    ) -> Result<HashMap<Vec<u8>, Part>> {
        let (compression, head) = decompress::sniff(tar)?;
        let mut reader = TarReader::new(compression.inflate(head)?);
        let mut parts = HashMap::new();
        let mut json = 0;
        let mut workers: VecDeque<(Vec<u8>, ScopedJoinHandle<'scope, Result<Pending>>)> = VecDeque::new();
        // Two at least: while one ends, the next begins.
        let most = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
        while let Some(entry) = reader.next(&mut NoTap)? {
            if parts.len() + workers.len() >= MAX_FILES {
                return Err(ImageError::TooLarge {
                    what: "the number of files of an archive".into(),
                    limit: MAX_FILES as u64,
                });
            }
            let Some(name) = path::clean(&entry.path).filter(|name| !name.is_empty()) else { continue };
            match entry.kind {
                EntryKind::Symlink => {
                    let (parent, _) = path::split(&name);
                    if let Some(target) = path::clean(&path::join(parent, &entry.link)) {
                        parts.insert(name, Part::Link(target));
                    }
                }
                EntryKind::Link => {
                    if let Some(target) = path::clean(&entry.link) {
                        parts.insert(name, Part::Link(target));
                    }
                }
                EntryKind::File => match self.sort(&name, &entry, &mut reader)? {
                    Sort::Json => {
                        json += entry.size;
                        if json > MAX_JSON {
                            return Err(ImageError::TooLarge {
                                what: "the JSON of an archive".into(),
                                limit: MAX_JSON,
                            });
                        }
                        parts.insert(name, Part::Json(read_all(&mut reader)?));
                    }
                    Sort::Known(layer) => drop(parts.insert(name, Part::Known(layer))),
                    Sort::Layer => {
                        if workers.len() >= most
                            && let Some((name, worker)) = workers.pop_front()
                        {
                            parts.insert(name, Part::Layer(joined(worker)));
                        }
                        let (stream, mut writer) = pipe::channel(AHEAD)?;
                        let size = entry.size;
                        workers
                            .push_back((name, scope.spawn(move || self.unpack_part(stream, size, progress))));
                        feed(&mut reader, &mut writer)?;
                    }
                    Sort::Other => {}
                },
                _ => {}
            }
        }
        // The client is not left with a broken pipe, and the stream's own end is seen.
        reader.finish(&mut NoTap)?;
        parts.extend(workers.into_iter().map(|(name, worker)| (name, Part::Layer(joined(worker)))));
        Ok(parts)
    }

    /// What a file of the archive is, by its first bytes.
    fn sort<R: Read>(&self, name: &[u8], entry: &Entry, reader: &mut TarReader<R>) -> Result<Sort> {
        let last = path::split(name).1;
        let last = last.strip_suffix(b".tar").unwrap_or(last);
        let digest = std::str::from_utf8(last).ok().and_then(|hex| Digest::parse(&format!("sha256:{hex}")));
        if let Some(layer) = digest.and_then(|digest| self.lease_layer(&digest)) {
            return Ok(Sort::Known(layer));
        }
        if entry.sparse.is_some() {
            return Ok(Sort::Other);
        }
        let head = reader.peek()?;
        if Compression::of(head) != Compression::None || is_tar(head) {
            return Ok(Sort::Layer);
        }
        let first = head.iter().find(|b| !b.is_ascii_whitespace());
        let is_json = entry.size <= MAX_BYTES && matches!(first, Some(b'{' | b'['));
        Ok(if is_json { Sort::Json } else { Sort::Other })
    }

    fn unpack_part(&self, stream: PipeReader, size: u64, progress: &dyn Progress) -> Result<Pending> {
        let pending = self
            .0
            .limits()
            .and_then(|limits| Pending::unpack(self.0.ingest_dir(), stream, u64::MAX, None, limits));
        if let Ok(pending) = &pending {
            progress.report(ProgressEvent {
                id: Some(pending.diff_id.short().to_owned()),
                status: "Loading layer".into(),
                current: Some(size),
                total: Some(size),
            });
        }
        pending
    }

    /// Makes the images known that the archive has.
    fn adopt(&self, mut parts: Parts, images: Vec<Wanted>, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let mut leases: HashMap<Vec<u8>, LayerLease> = HashMap::new();
        let mut pending: BTreeMap<Vec<u8>, Pending> = BTreeMap::new();
        for image in &images {
            for (number, (layer, expected)) in image.layers.iter().zip(&image.config.diff_ids).enumerate() {
                let path = parts.follow(layer);
                let actual = match (leases.get(&path), pending.get(&path)) {
                    (Some(lease), _) => lease.diff_id().clone(),
                    (None, Some(pending)) => pending.diff_id.clone(),
                    (None, None) => match parts.0.remove(&path) {
                        Some(Part::Known(lease)) => {
                            let diff_id = lease.diff_id().clone();
                            leases.insert(path, lease);
                            diff_id
                        }
                        Some(Part::Layer(unpacked)) => {
                            let unpacked = unpacked?;
                            let diff_id = unpacked.diff_id.clone();
                            pending.insert(path, unpacked);
                            diff_id
                        }
                        _ => return Err(missing(layer)),
                    },
                };
                if &actual != expected {
                    let detail = format!(
                        "invalid diffID for layer {number}: expected \"{expected}\", got \"{actual}\""
                    );
                    return Err(ImageError::Archive { detail });
                }
            }
        }
        // What the list does not name goes while the rest is synced.
        drop(parts);
        let held = self.0.commit_layers(pending.into_values().collect())?;
        let mut loaded = Vec::new();
        for image in images {
            loaded.extend(self.adopt_image(image, progress)?);
        }
        drop((held, leases));
        Ok(loaded)
    }

    fn adopt_image(&self, image: Wanted, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let id = image.config.id();
        let _writing = self.0.writing();
        let parent =
            image.parent.as_deref().and_then(Digest::parse).filter(|parent| self.get(parent).is_ok());
        self.0.add_image(image.config, ImageRecord::new(None, parent))?;
        if image.names.is_empty() {
            return Ok(if image.base { Vec::new() } else { vec![Loaded::Id(id)] });
        }
        for name in &image.names {
            if let Some(old) = self.find_name(name).filter(|old| *old != id) {
                // Docker's words.
                let status = format!(
                    "The image {name} already exists, renaming the old one with ID {old} to empty string"
                );
                progress.report(ProgressEvent { status, ..ProgressEvent::default() });
            }
        }
        self.0.set_names(&id, &image.names)?;
        Ok(image.names.into_iter().map(Loaded::Reference).collect())
    }
}

enum Sort {
    Json,
    Layer,
    Known(LayerLease),
    Other,
}

/// Whether it begins as a tar does: with a header whose checksum is right, or with the end mark.
fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..BLOCK) else { return false };
    if block.iter().all(|&b| b == 0) {
        return true;
    }
    let header = tar::Header::from_byte_slice(block);
    let outside = block[..148].iter().chain(&block[156..]).map(|&b| u32::from(b)).sum::<u32>();
    header.cksum().is_ok_and(|sum| sum == outside + 8 * u32::from(b' '))
}

fn joined(worker: ScopedJoinHandle<'_, Result<Pending>>) -> Result<Pending> {
    worker
        .join()
        .unwrap_or_else(|_| Err(ImageError::Archive { detail: "a layer could not be unpacked".into() }))
}

fn read_all<R: Read>(reader: &mut TarReader<R>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !reader.payload()?.is_empty() {
        let chunk = reader.payload()?;
        let length = chunk.len();
        bytes.extend_from_slice(chunk);
        reader.consume(length);
    }
    Ok(bytes)
}

/// Hands the present entry's payload to a thread.
fn feed<R: Read>(reader: &mut TarReader<R>, to: &mut PipeWriter) -> Result<()> {
    while !reader.payload()?.is_empty() {
        let chunk = reader.payload()?;
        let length = chunk.len();
        // A thread that has ended has its own error to tell.
        if to.write_all(chunk).is_err() {
            return Ok(());
        }
        reader.consume(length);
    }
    Ok(())
}

pub(super) fn missing(path: &[u8]) -> ImageError {
    ImageError::Archive { detail: format!("it has no {}", String::from_utf8_lossy(path)) }
}

/// The files of an archive by their clean paths.
pub(super) struct Parts(HashMap<Vec<u8>, Part>);

impl Parts {
    /// Where a path leads, through the archive's own links.
    fn follow(&self, path: &[u8]) -> Vec<u8> {
        let mut path = path::clean(path).unwrap_or_default();
        for _ in 0..40 {
            match self.0.get(&path) {
                Some(Part::Link(target)) => path = target.clone(),
                _ => break,
            }
        }
        path
    }

    pub(super) fn json(&self, path: &str) -> Result<&[u8]> {
        match self.0.get(&self.follow(path.as_bytes())) {
            Some(Part::Json(bytes)) => Ok(bytes),
            _ => Err(missing(path.as_bytes())),
        }
    }

    /// The digest of a layer's tar.
    pub(super) fn diff_id(&self, path: &[u8]) -> Result<Digest> {
        match self.0.get(&self.follow(path)) {
            Some(Part::Known(lease)) => Ok(lease.diff_id().clone()),
            Some(Part::Layer(Ok(pending))) => Ok(pending.diff_id.clone()),
            Some(Part::Layer(Err(e))) => Err(ImageError::Archive {
                detail: format!("{} cannot be unpacked: {e}", String::from_utf8_lossy(path)),
            }),
            _ => Err(missing(path)),
        }
    }

    /// The images that the archive's list tells of.
    fn images(&mut self, wanted: Option<&Platform>) -> Result<Vec<Wanted>> {
        let images = if self.json(MANIFEST).is_ok() {
            self.docker_images()?
        } else if self.json(INDEX).is_ok() {
            self.oci_images(wanted)?
        } else if self.json(REPOSITORIES).is_ok() {
            legacy::images(self)?
        } else {
            return Err(ImageError::Archive { detail: format!("it has neither {MANIFEST} nor {INDEX}") });
        };
        let Some(wanted) = wanted else { return Ok(images) };
        let (fit, other): (Vec<_>, Vec<_>) =
            images.into_iter().partition(|image| platform::suits(wanted, &image.config.platform()));
        if let (true, Some(other)) = (fit.is_empty(), other.first()) {
            let (wanted, is) = (platform::format(wanted), platform::format(&other.config.platform()));
            let detail = format!("requested platform ({wanted}) not found: image platform is {is}");
            return Err(ImageError::Archive { detail });
        }
        Ok(fit)
    }

    fn docker_images(&self) -> Result<Vec<Wanted>> {
        let items: Vec<Item> = parse(MANIFEST, self.json(MANIFEST)?)?;
        let mut images = Vec::new();
        for item in items {
            let config = ImageConfig::parse(self.json(&item.config)?)?;
            let layers = item.layers.unwrap_or_default();
            if layers.len() != config.diff_ids.len() {
                let (expected, got) = (layers.len(), config.diff_ids.len());
                let detail =
                    format!("invalid manifest, layers length mismatch: expected {expected}, got {got}");
                return Err(ImageError::Archive { detail });
            }
            let names = item.repo_tags.unwrap_or_default();
            let names =
                names.iter().map(|name| Ok(Reference::parse(name)?.or_latest())).collect::<Result<_>>()?;
            let layers = layers.into_iter().map(String::into_bytes).collect();
            images.push(Wanted { config, layers, names, parent: item.parent, base: false });
        }
        Ok(images)
    }

    fn oci_images(&self, wanted: Option<&Platform>) -> Result<Vec<Wanted>> {
        let index: Index = parse(INDEX, self.json(INDEX)?)?;
        let mut images: Vec<Wanted> = Vec::new();
        let mut found = Vec::new();
        for descriptor in index.manifests.unwrap_or_default() {
            let names = names(&descriptor);
            if is_index(&descriptor, self) {
                let chosen = self.choose(&descriptor, wanted, 0)?;
                found.extend(chosen.map(|descriptor| (descriptor, names)));
            } else if is_image(&descriptor) {
                found.push((descriptor, names));
            }
        }
        for (descriptor, names) in found {
            let raw = self.json(&blob_path(&descriptor.digest))?;
            let manifest: Manifest = parse("a manifest", raw)?;
            let config = ImageConfig::parse(self.json(&blob_path(&manifest.config.digest))?)?;
            if config.id() != manifest.config.digest {
                return Err(ImageError::DigestMismatch {
                    what: "an image's config".into(),
                    expected: manifest.config.digest,
                    actual: config.id(),
                });
            }
            // The same image under one more name.
            if let Some(known) = images.iter_mut().find(|known| known.config.id() == config.id()) {
                known.names.extend(names);
                continue;
            }
            let layers = manifest.layers.unwrap_or_default();
            if layers.len() != config.diff_ids.len() {
                return Err(ImageError::Archive {
                    detail: "a manifest and its config differ in layers".into(),
                });
            }
            let layers = layers.iter().map(|layer| blob_path(&layer.digest).into_bytes()).collect();
            images.push(Wanted { config, layers, names, parent: None, base: false });
        }
        Ok(images)
    }

    /// The one of an index's manifests that suits best and is in the archive.
    fn choose(
        &self,
        index: &Descriptor,
        wanted: Option<&Platform>,
        depth: usize,
    ) -> Result<Option<Descriptor>> {
        if depth > MAX_NESTING {
            return Err(ImageError::Archive { detail: "its indexes are nested too deeply".into() });
        }
        let index: Index = parse("an index", self.json(&blob_path(&index.digest))?)?;
        let here =
            index.manifests.unwrap_or_default().into_iter().filter(|descriptor| {
                is_image(descriptor) && self.json(&blob_path(&descriptor.digest)).is_ok()
            });
        let entries = here.map(|descriptor| {
            let platform = descriptor.platform.clone().map(|p| Platform {
                os: p.os,
                architecture: p.architecture,
                variant: p.variant,
            });
            (descriptor, platform)
        });
        let entries: Vec<_> = entries.collect();
        // A layout with the image of one other platform alone is taken as it is.
        let only = match (&entries[..], wanted) {
            ([(only, _)], None) => Some(only.clone()),
            _ => None,
        };
        let chosen = platform::Matcher::new(wanted).choose(entries).into_iter().next().or(only);
        match chosen {
            Some(chosen) if is_index(&chosen, self) => self.choose(&chosen, wanted, depth + 1),
            other => Ok(other),
        }
    }
}

/// An attestation is no image.
fn is_image(descriptor: &Descriptor) -> bool {
    let annotated =
        descriptor.annotations.as_ref().is_some_and(|a| a.contains_key("vnd.docker.reference.type"));
    let unknown =
        descriptor.platform.as_ref().is_some_and(|p| p.architecture == "unknown" && p.os == "unknown");
    !annotated && !unknown
}

/// By its type, or, where that is not given, by its content.
fn is_index(descriptor: &Descriptor, parts: &Parts) -> bool {
    match descriptor.media_type.as_str() {
        TYPE_INDEX | "application/vnd.docker.distribution.manifest.list.v2+json" => true,
        "" => parts
            .json(&blob_path(&descriptor.digest))
            .ok()
            .and_then(|raw| serde_json::from_slice::<Index>(raw).ok())
            .is_some_and(|index| index.manifests.is_some()),
        _ => false,
    }
}

/// containerd's full name, or OCI's where that is a name and not a tag alone.
fn names(descriptor: &Descriptor) -> Vec<Reference> {
    let annotation = |name| descriptor.annotations.as_ref().and_then(|a| a.get(name)).map(String::as_str);
    let name = annotation(ANNOTATION_NAME)
        .or_else(|| annotation(ANNOTATION_REF).filter(|name| name.contains([':', '/'])));
    let reference = name.and_then(|name| Reference::parse(name).ok());
    reference.filter(|r| r.digest().is_none()).map(Reference::or_latest).into_iter().collect()
}

pub(super) fn parse<T: for<'de> serde::Deserialize<'de>>(what: &str, raw: &[u8]) -> Result<T> {
    serde_json::from_slice(raw)
        .map_err(|e| ImageError::Archive { detail: format!("cannot read {what}: {e}") })
}
