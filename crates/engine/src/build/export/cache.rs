//! Caches outside of this machine: in the image itself, in a registry, in a client's directory.
//!
//! A cache is an image like any other, whose configuration says under [`FIELD`] which keys its layers lie under. Of
//! `inline` that is the image that was built; else one made of all layers that the steps left, which nobody runs.
//!
//! Never: takes a layer by another digest than the configuration's.

use crate::build::{Inner, blocking, fetch, layout, view::chain_of};
use minke_build::{
    BuildError, Built, Client, Result,
    host::{About, At, Blobs, Left, Root},
    report::Reporter,
    request::{BuiltImage, CacheRef, CachedStep},
};
use minke_image::{Chain, ImageConfig, Quiet, Reference};
use minke_model::{Kind, Timestamp, id::Digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

/// The field of a configuration that says what is cached.
const FIELD: &str = "minke.build.cache.v1";
/// Most layers of a cache: as many as an image may have.
const MAX_LAYERS: usize = 400;
/// Most records that are taken from a cache outside.
const MAX_RECORDS: usize = 10_000;

const TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TYPE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TYPE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One key, and the layers under it: numbers into the configuration's.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    key: Digest,
    layers: Vec<usize>,
    created: Timestamp,
    #[serde(default)]
    description: String,
}

/// As progress names one.
pub(super) fn shown(cache: &CacheRef) -> String {
    match cache.kind.as_str() {
        "local" => "client directory".into(),
        kind => kind.to_owned(),
    }
}

/// The configuration of an image with what of it is cached (`inline`).
pub(super) fn inline(image: &BuiltImage) -> Result<Arc<ImageConfig>> {
    let numbers: HashMap<&Digest, usize> =
        image.config.diff_ids.iter().enumerate().rev().map(|(at, id)| (id, at)).collect();
    let steps = image.cache.iter().filter(|step| step.in_result);
    let records: Vec<Record> = steps.filter_map(|step| record(step, &numbers)).collect();
    let mut whole: Value = serde_json::from_slice(&image.config.raw).map_err(unreadable)?;
    whole[FIELD] = serde_json::to_value(records).map_err(unreadable)?;
    let raw = serde_json::to_vec(&whole).map_err(unreadable)?;
    Ok(Arc::new(ImageConfig::parse(&raw)?))
}

fn unreadable(error: serde_json::Error) -> BuildError {
    BuildError::other(Kind::Internal, format!("a cache's configuration: {error}"))
}

fn record(step: &CachedStep, numbers: &HashMap<&Digest, usize>) -> Option<Record> {
    let layers = step.root.chain().iter().map(|id| numbers.get(id).copied()).collect::<Option<Vec<_>>>()?;
    Some(Record {
        key: step.key.clone(),
        layers,
        created: step.created,
        description: step.description.clone(),
    })
}

/// An image of all layers that steps left; of `min` only those of the result.
struct CacheImage {
    config: Arc<ImageConfig>,
    chain: Chain,
}

fn cache_image(inner: &Inner, built: &Built, all: bool) -> Result<CacheImage> {
    let steps: Vec<&CachedStep> = built
        .images
        .iter()
        .flat_map(|image| image.cache.iter())
        .filter(|step| all || step.in_result)
        .collect();
    let mut layers: Vec<Digest> = Vec::new();
    let mut chain = Chain::default();
    for step in &steps {
        let Root::Layers { chain: ids, keep } = &step.root else { continue };
        let whole = chain_of(&inner.store, ids, keep)?;
        for (number, id) in ids.iter().enumerate() {
            if !layers.contains(id) && layers.len() < MAX_LAYERS {
                layers.push(id.clone());
                chain = chain.with(&whole.lowest(number + 1).above(number));
            }
        }
    }
    let numbers: HashMap<&Digest, usize> = layers.iter().enumerate().map(|(at, id)| (id, at)).collect();
    let records: Vec<Record> = steps.into_iter().filter_map(|step| record(step, &numbers)).collect();
    let platform = built.images.first().map(|image| image.platform.clone()).unwrap_or_default();
    let raw = serde_json::to_vec(&json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": layers },
        "history": layers.iter().map(|_| json!({ "created_by": "minke build cache" })).collect::<Vec<_>>(),
        FIELD: records,
    }))
    .map_err(unreadable)?;
    Ok(CacheImage { config: Arc::new(ImageConfig::parse(&raw)?), chain })
}

/// Writes a build's steps to a cache outside.
pub(super) async fn export(
    inner: &Arc<Inner>,
    built: &Arc<Built>,
    wish: &CacheRef,
    client: &Arc<dyn Client>,
    reporter: &Reporter,
) -> Result<BTreeMap<String, String>> {
    let get = |name: &str| wish.attributes.get(name).map(String::as_str);
    let all = get("mode") == Some("max");
    let image = {
        let (inner, built) = (inner.clone(), built.clone());
        blocking(move || cache_image(&inner, &built, all)).await?
    };
    match wish.kind.as_str() {
        // It went with the image.
        "inline" => Ok(BTreeMap::new()),
        "registry" => {
            let name = reference(get("ref"))?;
            push(inner, image, &name, client).await?;
            reporter.status(&format!("pushing cache to {}", name.full()), 0, 0, Timestamp::now(), true);
            Ok(BTreeMap::new())
        }
        "local" => {
            let dest =
                get("dest").ok_or_else(|| BuildError::invalid("local cache exporter requires dest"))?;
            let blobs = client.blobs(&format!("local:{dest}"));
            let blobs =
                blobs.ok_or_else(|| BuildError::invalid(format!("the client has no directory {dest}")))?;
            local(inner, image, blobs).await
        }
        kind => Err(BuildError::unsupported(format!(
            "unknown cache exporter: {kind:?}: use inline, registry or local"
        ))),
    }
}

fn reference(text: Option<&str>) -> Result<Reference> {
    let text = text.ok_or_else(|| BuildError::invalid("a cache of type registry requires ref"))?;
    Reference::parse(text).map(Reference::or_latest).map_err(|e| BuildError::invalid(e.to_string()))
}

/// Pushes a cache by the name that it has for as long as that takes; what had it before gets it back.
async fn push(
    inner: &Arc<Inner>,
    image: CacheImage,
    name: &Reference,
    client: &Arc<dyn Client>,
) -> Result<()> {
    let before = inner.store.resolve(&name.full()).ok();
    let (store, named) = (inner.store.clone(), name.clone());
    let id = blocking(move || Ok(store.register_built(&image.config.raw, &image.chain, &[named])?)).await?;
    let auth = client.auth(name.domain()).await?;
    let registries = inner.images.registries();
    let request = minke_image::push::PushRequest { reference: name.clone(), auth };
    let pushed = inner.store.push(request, &registries, Arc::new(Quiet)).await;
    let (store, name) = (inner.store.clone(), name.clone());
    blocking(move || {
        store.untag(&name)?;
        if let Some(before) = before.filter(|before| *before != id) {
            store.tag(&before, &name)?;
        }
        if store.get(&id).is_ok_and(|image| image.tags.is_empty()) {
            store.remove(&id)?;
        }
        Ok(())
    })
    .await?;
    pushed.map(drop).map_err(BuildError::Image)
}

/// Writes a cache as blobs of the client's, and tells its manifest, which the client notes.
async fn local(
    inner: &Arc<Inner>,
    image: CacheImage,
    blobs: Arc<dyn Blobs>,
) -> Result<BTreeMap<String, String>> {
    let scratch = Scratch(inner.scratch.join(minke_model::ContainerId::random().short()));
    std::fs::create_dir_all(&scratch.0).map_err(BuildError::io("make a directory for a cache"))?;
    let mut layers = Vec::new();
    for (number, diff_id) in image.config.diff_ids.iter().enumerate() {
        let size = image.chain.tar_size(number);
        layers.push(json!({ "mediaType": TYPE_LAYER, "digest": diff_id, "size": size }));
        if blobs.has(diff_id).await? {
            continue;
        }
        let (chain, path) = (image.chain.clone(), scratch.0.join("layer"));
        let to = path.clone();
        blocking(move || {
            let mut file = std::fs::File::create(&to).map_err(BuildError::io("write a layer of a cache"))?;
            Ok(chain.write_tar(number, &mut file)?)
        })
        .await?;
        blobs.write(diff_id, size, path).await?;
    }
    let config = image.config.raw.clone();
    let config_id = put(&scratch, &*blobs, &config).await?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": TYPE_MANIFEST,
        "config": { "mediaType": TYPE_CONFIG, "digest": config_id, "size": config.len() },
        "layers": layers,
    }))
    .map_err(unreadable)?;
    let digest = put(&scratch, &*blobs, &manifest).await?;
    let descriptor = json!({ "mediaType": TYPE_MANIFEST, "digest": digest, "size": manifest.len() });
    Ok(BTreeMap::from([("cache.manifest".to_owned(), descriptor.to_string())]))
}

async fn put(scratch: &Scratch, blobs: &dyn Blobs, bytes: &[u8]) -> Result<Digest> {
    let digest = Digest::from_sha256(&Sha256::digest(bytes));
    if !blobs.has(&digest).await? {
        let path = scratch.0.join("document");
        std::fs::write(&path, bytes).map_err(BuildError::io("write a document of a cache"))?;
        blobs.write(&digest, bytes.len() as u64, path).await?;
    }
    Ok(digest)
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(crate::volume::remove_tree(&self.0));
    }
}

/// Makes the records of a cache outside known.
pub(in crate::build) async fn import(inner: &Arc<Inner>, wish: &CacheRef, at: &At) -> Result<()> {
    let get = |name: &str| wish.attributes.get(name).map(String::as_str);
    let (config, chain) = match wish.kind.as_str() {
        "registry" | "" => {
            let name = reference(get("ref"))?.full();
            let platform = minke_build::host::Host::platform(&crate::build::machine::Machine(inner.clone()));
            let found = fetch::image_config(inner, &name, &platform, false, at).await?;
            let full = match &found.digest {
                Some(digest) => format!("{name}@{digest}"),
                None => name,
            };
            let left = fetch::image(inner, &full, &platform, at).await?;
            let Root::Layers { chain, keep } = &left.root else { return Ok(()) };
            (found.config, chain_of(&inner.store, chain, keep)?)
        }
        "local" => {
            let src = get("src").ok_or_else(|| BuildError::invalid("local cache importer requires src"))?;
            let digest = get("digest").and_then(Digest::parse);
            let digest = digest.ok_or_else(|| BuildError::invalid("local cache importer requires digest"))?;
            let blobs = at.client.blobs(&format!("local:{src}"));
            let blobs =
                blobs.ok_or_else(|| BuildError::invalid(format!("the client has no directory {src}")))?;
            layout::read(inner, &digest, None, &*blobs).await?
        }
        // Nothing of its own to read.
        "inline" => return Ok(()),
        kind => {
            return Err(BuildError::unsupported(format!(
                "unknown cache importer: {kind:?}: use registry or local"
            )));
        }
    };
    let inner = inner.clone();
    blocking(move || take(&inner, &config, &chain)).await
}

/// Puts what a configuration says that its layers are into the cache. Blocks.
fn take(inner: &Inner, config: &ImageConfig, chain: &Chain) -> Result<()> {
    let whole: Value = serde_json::from_slice(&config.raw).map_err(unreadable)?;
    let Some(records) = whole.get(FIELD) else { return Ok(()) };
    let records: Vec<Record> = serde_json::from_value(records.clone()).map_err(unreadable)?;
    for record in records.into_iter().take(MAX_RECORDS) {
        if inner.cache.has(&record.key) {
            continue;
        }
        let mut layers = Chain::default();
        for number in &record.layers {
            if *number >= chain.len() {
                return Err(BuildError::invalid("the cache names a layer that it does not have"));
            }
            layers = layers.with(&chain.lowest(number + 1).above(*number));
        }
        let left = Left { root: Root::empty(), created: record.created };
        let about = About { description: record.description, kind: "regular" };
        inner.cache.keep(std::slice::from_ref(&record.key), &left, layers, about)?;
    }
    Ok(())
}
