//! Reports of the prunes.

use super::is_default;
use serde::Serialize;

/// `POST /containers/prune`. `null` when nothing went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Containers {
    pub(crate) containers_deleted: Option<Vec<String>>,
    pub(crate) space_reclaimed: u64,
}

/// `POST /volumes/prune`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volumes {
    pub(crate) volumes_deleted: Option<Vec<String>>,
    pub(crate) space_reclaimed: u64,
}

/// `POST /networks/prune`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Networks {
    pub(crate) networks_deleted: Option<Vec<String>>,
}

/// `POST /images/prune`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Images {
    pub(crate) images_deleted: Option<Vec<Removal>>,
    pub(crate) space_reclaimed: u64,
}

/// `POST /build/prune`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Caches {
    pub(crate) caches_deleted: Option<Vec<String>>,
    pub(crate) space_reclaimed: u64,
}

/// What a removal of an image did: a name went, or the image itself.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Removal {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) untagged: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) deleted: Option<String>,
}
