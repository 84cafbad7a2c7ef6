//! Images that lie in an OCI image layout of the client's: contexts of type `oci-layout`, and caches of type `local`.
//!
//! Documents and layers are read by digest from the client's store of blobs, and verified (OCI image spec,
//! `image-layout.md`, `image-index.md`).
//!
//! Never: keeps a layer by another digest than the configuration's.

use super::{Inner, blocking, fetch::image_key};
use minke_build::{
    BuildError, Result,
    host::{At, Blobs, ImageFound},
};
use minke_image::{Chain, ImageConfig, platform::Matcher};
use minke_model::{Kind, id::Digest, image::Platform};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What references of such images begin with.
const SCHEME: &str = "oci-layout://";
/// Largest index, manifest or configuration, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
/// Largest layer, which comes whole, in bytes.
const MAX_LAYER: u64 = 1 << 30;
/// Indexes inside of each other.
const MAX_DEPTH: usize = 4;

/// An image in a client's store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    store: String,
    /// Of its manifest, or of an index.
    pub(super) digest: Digest,
}

/// Reads `oci-layout://STORE[:TAG]@DIGEST`; `None` where it is another sort of name.
pub(super) fn parse(reference: &str) -> Result<Option<Place>> {
    let Some(rest) = reference.strip_prefix(SCHEME) else { return Ok(None) };
    let bad = || BuildError::invalid(format!("invalid OCI layout reference {reference:?}: it has no digest"));
    let (name, digest) = rest.split_once('@').ok_or_else(bad)?;
    let store = name.split(':').next().unwrap_or_default().to_owned();
    let digest = Digest::parse(digest).filter(|_| !store.is_empty()).ok_or_else(bad)?;
    Ok(Some(Place { store, digest }))
}

/// The image's configuration. Its layers come with it, into the cache.
pub(super) async fn image_config(
    inner: &Arc<Inner>,
    place: &Place,
    platform: &Platform,
    at: &At,
) -> Result<ImageFound> {
    let key = image_key(&place.digest, platform);
    let found = |config| ImageFound { digest: Some(place.digest.clone()), config };
    if let Some(config) = inner.cache.config(&key) {
        return Ok(found(config));
    }
    let blobs = at.client.blobs(&format!("oci:{}", place.store));
    let blobs =
        blobs.ok_or_else(|| BuildError::invalid(format!("the client has no OCI layout {}", place.store)))?;
    let (config, chain) = read(inner, &place.digest, Some(platform), &*blobs).await?;
    let (inner, kept, shown) = (inner.clone(), config.clone(), place.digest.clone());
    blocking(move || inner.cache.keep_image(&key, &kept, chain, &format!("OCI layout {shown}"))).await?;
    Ok(found(config))
}

/// An image of the client's: its configuration, and its layers, which are taken in. `platform` chooses from an index.
pub(super) async fn read(
    inner: &Arc<Inner>,
    digest: &Digest,
    platform: Option<&Platform>,
    blobs: &dyn Blobs,
) -> Result<(Arc<ImageConfig>, Chain)> {
    let bad =
        || BuildError::invalid(format!("{digest} in the client's directory is no manifest that can be read"));
    let manifest = manifest(digest, platform, blobs).await?;
    let config = manifest.get("config").and_then(digest_of).ok_or_else(bad)?;
    let config = Arc::new(ImageConfig::parse(&document(&config, blobs).await?)?);
    let layers: Vec<Digest> = list(&manifest, "layers").filter_map(digest_of).collect();
    if layers.len() != config.diff_ids.len() {
        return Err(bad());
    }
    let mut chain = Chain::default();
    for (blob, diff_id) in layers.iter().zip(&config.diff_ids) {
        let layer = match inner.store.chain(std::slice::from_ref(diff_id)) {
            Some(layer) => layer,
            None => {
                let bytes = blobs.read(blob, MAX_LAYER).await?;
                let (store, expected) = (inner.store.clone(), diff_id.clone());
                blocking(move || Ok(store.layer_of_tar(&bytes[..], Some(&expected))?)).await?
            }
        };
        chain = chain.with(&layer);
    }
    Ok((config, chain))
}

/// The manifest under a digest: its own, or through indexes the one for a platform.
async fn manifest(digest: &Digest, platform: Option<&Platform>, blobs: &dyn Blobs) -> Result<Value> {
    let mut digest = digest.clone();
    for _ in 0..MAX_DEPTH {
        let raw = document(&digest, blobs).await?;
        let bad = || BuildError::invalid(format!("{digest} in the client's directory is no manifest"));
        let value: Value = serde_json::from_slice(&raw).map_err(|_| bad())?;
        if value.get("manifests").is_none() {
            return Ok(value);
        }
        let entries =
            list(&value, "manifests").filter_map(|entry| Some((digest_of(entry)?, platform_of(entry))));
        let suiting = Matcher::new(platform).choose(entries);
        digest = suiting.into_iter().next().ok_or_else(|| {
            BuildError::not_found(format!("{digest}: no match for platform in manifest: not found"))
        })?;
    }
    Err(BuildError::invalid(format!("{digest}: more than {MAX_DEPTH} indexes inside of each other")))
}

/// A document, verified.
async fn document(digest: &Digest, blobs: &dyn Blobs) -> Result<Vec<u8>> {
    let bytes = blobs.read(digest, MAX_DOCUMENT).await?;
    let is = Digest::from_sha256(&Sha256::digest(&bytes));
    if is != *digest {
        let message = format!("a document in the client's directory is {is} and not {digest}");
        return Err(BuildError::other(Kind::DataLoss, message));
    }
    Ok(bytes.to_vec())
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn digest_of(value: &Value) -> Option<Digest> {
    value.get("digest").and_then(Value::as_str).and_then(Digest::parse)
}

/// What an index says that an entry is for; statements about images are for `unknown`, which nothing suits.
fn platform_of(entry: &Value) -> Option<Platform> {
    let platform = entry.get("platform")?;
    let get = |name: &str| platform.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Platform { os: get("os"), architecture: get("architecture"), variant: get("variant") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::{FutureExt as _, future::BoxFuture};
    use serde_json::json;
    use std::{collections::HashMap, path::PathBuf};

    /// A client's store in memory.
    #[derive(Default)]
    struct Memory(HashMap<Digest, Bytes>);

    impl Memory {
        fn put(&mut self, value: &Value) -> Digest {
            let bytes = value.to_string().into_bytes();
            let digest = Digest::from_sha256(&Sha256::digest(&bytes));
            self.0.insert(digest.clone(), bytes.into());
            digest
        }
    }

    impl Blobs for Memory {
        fn read<'a>(&'a self, digest: &'a Digest, _: u64) -> BoxFuture<'a, Result<Bytes>> {
            async { self.0.get(digest).cloned().ok_or_else(|| BuildError::not_found("no such blob")) }.boxed()
        }
        fn has<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool>> {
            async { Ok(self.0.contains_key(digest)) }.boxed()
        }
        fn write<'a>(&'a self, _: &'a Digest, _: u64, _: PathBuf) -> BoxFuture<'a, Result<()>> {
            async { Ok(()) }.boxed()
        }
    }

    #[test]
    fn a_reference_names_a_store_and_a_digest() {
        let digest = Digest::from_sha256(&[1; 32]);
        let place = parse(&format!("oci-layout://abc:latest@{digest}")).unwrap();
        assert_eq!(place, Some(Place { store: "abc".into(), digest }));
        assert_eq!(parse("docker.io/library/box:1").unwrap(), None);
        for wrong in ["oci-layout://abc", "oci-layout://abc@sha256:1", "oci-layout://@sha256:"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_index_leads_to_the_manifest_of_the_platform() {
        let mut store = Memory::default();
        let arm = store.put(&json!({ "layers": [], "config": { "digest": "arm" } }));
        let amd = store.put(&json!({ "layers": [], "config": { "digest": "amd" } }));
        let entry = |digest: &Digest, architecture: &str| json!({ "digest": digest, "platform": { "os": "linux", "architecture": architecture } });
        let said = json!({ "digest": arm, "platform": { "os": "unknown", "architecture": "unknown" } });
        let index = store.put(&json!({ "manifests": [said, entry(&arm, "arm64"), entry(&amd, "amd64")] }));
        let outer = store.put(&json!({ "manifests": [{ "digest": index }] }));
        let wanted = |architecture: &str| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: String::new(),
        };
        for (architecture, config) in [("arm64", "arm"), ("amd64", "amd")] {
            let found = manifest(&outer, Some(&wanted(architecture)), &store).await.unwrap();
            assert_eq!(found["config"]["digest"], config);
        }
        let none = manifest(&outer, Some(&wanted("s390x")), &store).await.unwrap_err();
        assert!(none.to_string().ends_with("no match for platform in manifest: not found"), "{none}");
    }
}
