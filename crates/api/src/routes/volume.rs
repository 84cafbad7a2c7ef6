//! Volumes.

use super::{Routes, done, ok, to_its_end};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::{
        prune,
        volume::{CreateBody, List, Volume},
    },
};
use http::StatusCode;
use minke_engine::volume::{VolumeCreate, VolumeInspection};

pub(super) fn show(found: &VolumeInspection) -> Volume {
    Volume::new(&found.volume, found.mountpoint.display().to_string())
}

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let volumes = routes.engine.volumes.clone();
    match ask.endpoint {
        E::VolumeList => {
            let found =
                volumes.list(&ask.filters().map_err(|e| e.context("error reading volume filters"))?)?;
            ok(&List { volumes: found.iter().map(show).collect(), warnings: None })
        }
        E::VolumeInspect if ask.name.is_empty() => {
            Err(ApiError::new(StatusCode::NOT_FOUND, "get: no such volume"))
        }
        E::VolumeInspect => ok(&show(&volumes.inspect(&ask.name)?)),
        E::VolumeCreate => {
            let body: CreateBody = ask.json().await?;
            if body.cluster_volume_spec.is_some() {
                routes.control()?;
                return Err(ApiError::unsupported("cluster volumes are not supported by this daemon"));
            }
            let anonymous = body.name.is_empty();
            let (options, labels) = (body.driver_opts.0, body.labels.0);
            let wish = VolumeCreate { name: body.name, driver: body.driver, options, labels, anonymous };
            let made = to_its_end(async move { volumes.create(wish).await }).await?;
            response::json(StatusCode::CREATED, &show(&made))
        }
        E::VolumeUpdate => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "volume update only valid for cluster volumes, but swarm is unavailable",
        )),
        E::VolumeRemove => {
            let force = ask.query.flag("force");
            to_its_end(async move { volumes.remove(&ask.name, force).await }).await?;
            done()
        }
        _ => {
            let filters = ask.filters()?;
            let pruned = to_its_end(async move { volumes.prune(&filters).await }).await?;
            ok(&prune::Volumes {
                volumes_deleted: crate::wire::or_null(&pruned.deleted),
                space_reclaimed: pruned.space,
            })
        }
    }
}
