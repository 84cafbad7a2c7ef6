//! What this daemon does not do: plugins, checkpoints. Each with dockerd's answer, or the reason.

use super::ok;
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::Answer,
    router::Endpoint as E,
};
use http::StatusCode;
use minke_model::go::quote;

pub(super) fn handle(ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::PluginList => ok(&Vec::<()>::new()),
        E::Plugin => {
            Err(ApiError::new(StatusCode::NOT_FOUND, format!("plugin {} not found", quote(&ask.name))))
        }
        E::PluginChange => Err(ApiError::unsupported("plugins are not supported by this daemon")),
        _ => Err(ApiError::unsupported("checkpoints are not supported by this daemon")),
    }
}
