//! `GET /images/{name}/verify`, Minke's own: each part of an image, and what is wrong with it.

use minke_engine::{Image, image::Part};
use serde::Serialize;

/// An image's parts, read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Verified {
    id: String,
    /// All parts are what their digests say.
    whole: bool,
    parts: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    kind: &'static str,
    digest: String,
    size: u64,
    /// Empty: it is what it should be.
    damage: String,
}

impl Verified {
    pub(crate) fn new(image: &Image, parts: &[Part]) -> Self {
        let row = |part: &Part| Row {
            kind: part.kind,
            digest: part.digest.to_string(),
            size: part.bytes,
            damage: part.damage.clone().unwrap_or_default(),
        };
        Self {
            id: image.id.to_string(),
            whole: parts.iter().all(|part| part.damage.is_none()),
            parts: parts.iter().map(row).collect(),
        }
    }
}
