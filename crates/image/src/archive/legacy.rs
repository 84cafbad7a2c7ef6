//! Archives from before Docker 1.10: a directory for each layer with its `json` and `layer.tar`, and `repositories`.
//!
//! Each layer was an image of its own, whose `json` named its parent. Docker 28 still reads them. Ids are of what is
//! written here, so they may differ from dockerd's for what Docker older than 1.8.3 saved: it rewrites those.

use super::{
    REPOSITORIES,
    load::{Parts, Wanted, missing, parse},
};
use crate::{ImageError, Reference, Result, config::ImageConfig};
use minke_model::id::Digest;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Layers of one image: as many as Docker's oldest drivers could stack.
const MAX_DEPTH: usize = 127;

/// What is dropped on the way: it was of the layer, not of the image.
const DROPPED: [&str; 7] = ["id", "parent", "Size", "parent_id", "layer_id", "throwaway", "history"];

/// Of one layer's `json`, what its history needs.
#[derive(Deserialize)]
struct Layer {
    #[serde(default)]
    parent: String,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: String,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    container_config: Option<Command>,
}

/// What made a layer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Command {
    #[serde(default)]
    cmd: Option<Vec<String>>,
}

/// A layer's image as it is now.
#[derive(Clone)]
struct Known {
    id: Digest,
    diff_ids: Vec<Digest>,
    history: Vec<Value>,
    layers: Vec<Vec<u8>>,
}

/// The images of such an archive, parents first.
pub(super) fn images(parts: &Parts) -> Result<Vec<Wanted>> {
    let names: BTreeMap<String, BTreeMap<String, String>> = parse(REPOSITORIES, parts.json(REPOSITORIES)?)?;
    let mut known = HashMap::new();
    let mut images: Vec<Wanted> = Vec::new();
    for (name, tags) in &names {
        for (tag, layer) in tags {
            let reference = Reference::parse(&format!("{name}:{tag}"))?;
            let id = stack(parts, layer, &mut known, &mut images)?;
            if let Some(image) = images.iter_mut().find(|image| image.config.id() == id) {
                image.names.push(reference);
            }
        }
    }
    Ok(images)
}

/// Makes the images of a layer and of all below it; the id of the topmost.
fn stack(
    parts: &Parts,
    top: &str,
    known: &mut HashMap<String, Known>,
    images: &mut Vec<Wanted>,
) -> Result<Digest> {
    let mut chain = Vec::new();
    let mut next = top.to_owned();
    while !next.is_empty() && !known.contains_key(&next) {
        if chain.len() == MAX_DEPTH {
            return Err(ImageError::TooLarge {
                what: "the number of layers of an image".into(),
                limit: MAX_DEPTH as u64,
            });
        }
        let path = format!("{next}/json");
        let layer: Layer = parse(&path, parts.json(&path)?)?;
        let parent = layer.parent.clone();
        chain.push((std::mem::replace(&mut next, parent), layer));
    }
    let mut below = known.get(&next).cloned();
    for (name, layer) in chain.into_iter().rev() {
        let image = image(parts, &name, &layer, below.as_ref())?;
        let now = Known {
            id: image.config.id(),
            diff_ids: image.config.diff_ids.clone(),
            history: history(&layer, below.as_ref()),
            layers: image.layers.clone(),
        };
        images.push(image);
        known.insert(name, now.clone());
        below = Some(now);
    }
    below.map(|image| image.id).ok_or_else(|| missing(top.as_bytes()))
}

fn image(parts: &Parts, name: &str, layer: &Layer, below: Option<&Known>) -> Result<Wanted> {
    let tar = format!("{name}/layer.tar").into_bytes();
    let mut diff_ids = below.map(|b| b.diff_ids.clone()).unwrap_or_default();
    diff_ids.push(parts.diff_id(&tar)?);
    let mut layers = below.map(|b| b.layers.clone()).unwrap_or_default();
    layers.push(tar);
    let path = format!("{name}/json");
    let mut config: BTreeMap<String, Value> = parse(&path, parts.json(&path)?)?;
    config.retain(|key, _| !DROPPED.contains(&key.as_str()));
    config.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
    config.insert("history".into(), Value::Array(history(layer, below)));
    let raw = serde_json::to_vec(&config)
        .map_err(|e| ImageError::Archive { detail: format!("cannot write the config of {name}: {e}") })?;
    let parent = below.map(|b| b.id.to_string());
    Ok(Wanted { config: ImageConfig::parse(&raw)?, layers, names: Vec::new(), parent, base: true })
}

/// What was done, from the bottom; Docker calls none of these layers empty.
fn history(layer: &Layer, below: Option<&Known>) -> Vec<Value> {
    let mut all = below.map(|b| b.history.clone()).unwrap_or_default();
    let cmd = layer.container_config.as_ref().and_then(|c| c.cmd.as_ref());
    let mut step = json!({"created": layer.created, "created_by": cmd.map(|c| c.join(" "))});
    for (key, value) in [("author", &layer.author), ("comment", &layer.comment)] {
        if !value.is_empty() {
            step[key] = json!(value);
        }
    }
    all.push(step);
    all
}
