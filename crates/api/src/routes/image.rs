//! Images as they are here: list, inspect, history, names, removal.

use super::{Routes, lowered, ok, repository_and_tag, to_its_end};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::{
        image::{Inspect, Summary, history, tag_names},
        prune,
        verified::Verified,
    },
};
use http::StatusCode;
use minke_engine::{
    Image,
    image::{ImageListOptions, Removal, RemoveImage},
};
use std::{collections::BTreeMap, sync::Arc};

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let images = routes.engine.images.clone();
    let query = &ask.query;
    match ask.endpoint {
        E::ImageList => {
            let options = ImageListOptions {
                all: query.flag("all"),
                shared_size: query.flag("shared-size"),
                containers: true,
            };
            let found = images.list(&ask.filters()?, options)?;
            let row = |i: &minke_engine::image::ImageSummary| {
                Summary::new(&i.image, &i.tags, &i.digests, i.shared_size, i.containers)
            };
            let rows: Vec<Summary> = found.iter().map(row).collect();
            lowered(&ask.version, ask.endpoint, StatusCode::OK, &rows)
        }
        E::ImageInspect => {
            let wanted = super::platform_json(query.get("platform"))?;
            if wanted.is_some() && query.flag("manifests") {
                return Err(ApiError::invalid(
                    "conflicting options: manifests and platform options cannot both be set",
                ));
            }
            let image = images.get_for(&ask.name, wanted.as_ref())?;
            lowered(&ask.version, ask.endpoint, StatusCode::OK, &Inspect::new(&image, BTreeMap::new()))
        }
        E::ImageHistory => {
            let wanted = super::platform_json(query.get("platform"))?;
            let image = images.get_for(&ask.name, wanted.as_ref())?;
            let sizes = images.layer_sizes(&image.id)?;
            ok(&history(&image, &sizes, &ancestors(routes, &image)))
        }
        E::ImageVerify => {
            let (image, parts) = images.verify(&ask.name).await?;
            ok(&Verified::new(&image, &parts))
        }
        E::ImageTag => {
            let Some(reference) = repository_and_tag(query.get("repo"), query.get("tag"))? else {
                return Ok(response::empty(StatusCode::OK));
            };
            if reference.familiar_name() == "sha256" {
                return Err(ApiError::invalid(
                    "refusing to create an ambiguous tag using digest algorithm as name",
                ));
            }
            images.tag(&ask.name, &reference)?;
            Ok(response::empty(StatusCode::CREATED))
        }
        E::ImageRemove => {
            if ask.name.trim().is_empty() {
                return Err(ApiError::invalid("image name cannot be blank"));
            }
            let options = RemoveImage { force: query.flag("force"), no_prune: query.flag("noprune") };
            let name = ask.name.clone();
            let removed = to_its_end(async move { images.remove(&name, options).await }).await?;
            ok(&removals(removed))
        }
        _ => {
            let filters = ask.filters()?;
            let (removed, space_reclaimed) = to_its_end(async move { images.prune(&filters).await }).await?;
            let rows = removals(removed);
            ok(&prune::Images { images_deleted: (!rows.is_empty()).then_some(rows), space_reclaimed })
        }
    }
}

fn removals(removed: Vec<Removal>) -> Vec<prune::Removal> {
    let row = |removal| match removal {
        Removal::Untagged(name) => prune::Removal { untagged: Some(name), deleted: None },
        Removal::Deleted(id) => prune::Removal { untagged: None, deleted: Some(id) },
    };
    removed.into_iter().map(row).collect()
}

/// The image itself and those that it was built on, as far as they are here: with the number of their steps.
fn ancestors(routes: &Routes, image: &Arc<Image>) -> Vec<(usize, minke_model::ImageId, Vec<String>)> {
    let mut found = Vec::new();
    let mut next = Some(image.clone());
    // A chain of parents is never longer than the history of the last.
    while let Some(image) = next.filter(|_| found.len() <= image.config.history.len()) {
        found.push((image.config.history.len(), image.id.clone(), tag_names(&image)));
        next = image.parent.as_ref().and_then(|parent| routes.engine.images.get(parent.as_str()).ok());
    }
    found
}
