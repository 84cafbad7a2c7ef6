//! Archives of images: what `docker save` writes and `docker load` reads, and the OCI image layout.
//!
//! What is read: what Docker wrote before 1.10, its `manifest.json` with layers anywhere in the tar (also as links to each other, as old
//! versions and skopeo write them), and OCI's `index.json`, nested too; each whole and each layer compressed or not.
//! What is written is both in one, as Docker 25 and later do.

mod legacy;
mod load;
mod save;

pub use load::Loaded;

use minke_model::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Docker's list of images.
const MANIFEST: &str = "manifest.json";

/// Docker's list of names, for very old readers.
const REPOSITORIES: &str = "repositories";

/// OCI's list of manifests.
const INDEX: &str = "index.json";

/// OCI's mark.
const LAYOUT: &str = "oci-layout";

/// Where OCI and newer Docker keep blobs.
const BLOBS: &str = "blobs/sha256";

const TYPE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TYPE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TYPE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The annotation of a descriptor with the image's full name, containerd's.
const ANNOTATION_NAME: &str = "io.containerd.image.name";

/// The annotation with a tag, or a whole name: OCI's.
const ANNOTATION_REF: &str = "org.opencontainers.image.ref.name";

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer_sources: Option<BTreeMap<String, Source>>,
}

/// Where a layer's content is, in `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    size: u64,
    digest: Digest,
}

/// OCI's index.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

/// OCI's manifest of one image.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Descriptor,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

/// OCI's reference to a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<WirePlatform>,
}

/// OCI's platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WirePlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    variant: String,
}

/// Where a blob lies.
fn blob_path(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

#[cfg(test)]
mod tests;
