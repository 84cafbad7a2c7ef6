//! What this daemon does not do: swarm, plugins. Each with dockerd's answer, or the reason.

use super::ok;
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::Answer,
    router::Endpoint as E,
};
use http::StatusCode;
use minke_model::go::quote;

/// dockerd's answer of a machine that is in no swarm.
pub(super) fn no_swarm() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}

pub(super) fn handle(ask: Ask) -> Result<Answer> {
    let swarm_mode = "swarm mode is not supported by this daemon yet";
    match ask.endpoint {
        E::Swarm => Err(no_swarm()),
        E::SwarmLogs if !ask.query.flag("stdout") && !ask.query.flag("stderr") => {
            Err(ApiError::internal("Bad parameters: you must choose at least one stream"))
        }
        E::SwarmLogs => Err(no_swarm()),
        E::SwarmLeave => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
        }
        E::SwarmJoin => Err(ApiError::unsupported(swarm_mode)),
        E::PluginList => ok(&Vec::<()>::new()),
        E::Plugin => {
            Err(ApiError::new(StatusCode::NOT_FOUND, format!("plugin {} not found", quote(&ask.name))))
        }
        E::PluginChange => Err(ApiError::unsupported("plugins are not supported by this daemon")),
        _ => Err(ApiError::unsupported("checkpoints are not supported by this daemon")),
    }
}
