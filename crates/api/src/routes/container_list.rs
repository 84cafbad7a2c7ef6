//! Containers as they are: one, and all.

use super::{Routes, lowered};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::Answer,
    router::Endpoint as E,
    wire::{
        container::{Inspect, Surroundings},
        settings::NetworkSettings,
        summary::Summary,
        system::layers,
    },
};
use http::StatusCode;
use minke_engine::container::ListOptions;
use minke_model::Timestamp;
use std::{collections::BTreeSet, path::Path};

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::ContainerInspect => inspect(routes, &ask).await,
        _ => list(routes, &ask).await,
    }
}

async fn list(routes: &Routes, ask: &Ask) -> Result<Answer> {
    let query = &ask.query;
    let mut filters = query.filters()?;
    // Old forms of the filters.
    for old in ["before", "since"] {
        if let Some(name) = query.filled(old) {
            filters.insert(old.to_owned(), BTreeSet::from([name]));
        }
    }
    let limit = query.number("limit")?.unwrap_or(0);
    let size = query.flag("size");
    let options = ListOptions { all: query.flag("all"), limit: usize::try_from(limit).unwrap_or(0), size };
    let rows = routes.engine.containers.list(&filters.into(), options).await?;
    let now = Timestamp::now();
    let rows: Vec<Summary> = rows.iter().map(|row| Summary::new(row, now)).collect();
    lowered(&ask.version, ask.endpoint, StatusCode::OK, &rows)
}

async fn inspect(routes: &Routes, ask: &Ask) -> Result<Answer> {
    if ask.name.is_empty() {
        return Err(ApiError::no_such_page());
    }
    let found = routes.engine.containers.inspect(&ask.name, ask.query.flag("size")).await?;
    let text = |path: &Path| path.display().to_string();
    let paths = &found.paths;
    let mut data = layers(&paths.lower, &paths.upper, &paths.work, &paths.merged);
    data.insert("ID", found.container.id.as_str().to_owned());
    let around = Surroundings {
        exec_ids: found.exec_ids.iter().flatten().map(|id| id.as_str().to_owned()).collect(),
        resolv_conf: text(&paths.resolv_conf),
        hostname: text(&paths.hostname),
        hosts: text(&paths.hosts),
        log: text(&paths.log),
        driver: "overlay2".to_owned(),
        apparmor: found.apparmor_profile,
        layers: data,
        size: found.size,
    };
    let settings =
        NetworkSettings::new(&found.container, &found.networks, found.sandbox_id, found.sandbox_key);
    lowered(&ask.version, ask.endpoint, StatusCode::OK, &Inspect::new(&found.container, around, settings))
}
