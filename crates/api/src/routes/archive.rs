//! Files of containers: `cp` both ways, and `export`.

use super::{Routes, body_chunks, feed, to_its_end};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::archive::PathStat as Shown,
};
use http::{HeaderValue, StatusCode};
use minke_engine::container::{PathStat, PutOptions};

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let containers = routes.engine.containers.clone();
    if ask.endpoint == E::ContainerExport {
        let tar = containers.export(&ask.name).await?;
        return Ok(response::chunks("application/octet-stream", body_chunks(tar)));
    }
    let path = ask.required("path")?;
    match ask.endpoint {
        E::ContainerArchiveStat => {
            let stat = containers.archive_stat(&ask.name, &path).await?;
            with_stat(response::empty(StatusCode::OK), &stat)
        }
        E::ContainerArchiveGet => {
            let (stat, tar) = containers.archive_get(&ask.name, &path).await?;
            with_stat(response::chunks("application/x-tar", body_chunks(tar)), &stat)
        }
        _ => {
            let options = PutOptions {
                no_overwrite_dir_non_dir: ask.query.flag("noOverwriteDirNonDir"),
                copy_uid_gid: ask.query.flag("copyUIDGID"),
            };
            let (name, tar) = (ask.name, feed(&ask.body));
            to_its_end(async move { containers.archive_put(&name, &path, tar, options).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
    }
}

/// Adds `X-Docker-Container-Path-Stat`.
fn with_stat(mut answer: Answer, stat: &PathStat) -> Result<Answer> {
    let size = u64::try_from(stat.size).unwrap_or(0);
    let shown = Shown::new(&stat.name, size, stat.mode, stat.mtime, &stat.link_target);
    let value = HeaderValue::from_str(&shown.header()).map_err(|e| ApiError::internal(e.to_string()))?;
    answer.headers_mut().insert("X-Docker-Container-Path-Stat", value);
    Ok(answer)
}
