//! `distribution`: what a name means in its registry.

use super::{Routes, ok};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::Answer,
    wire::distribution::Inspect,
};
use minke_engine::{
    reference::{Reference, is_identifier},
    registry::RegistryAuth,
};

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    if is_identifier(ask.name.strip_prefix("sha256:").unwrap_or(&ask.name)) {
        return Err(ApiError::internal("no manifest found for full image ID"));
    }
    let reference = Reference::parse(&ask.name).map_err(|e| ApiError::invalid(e.to_string()))?;
    if reference.familiar_name() == "scratch" {
        return Err(ApiError::invalid("'scratch' is a reserved name"));
    }
    let auth = ask.registry_auth().map(RegistryAuth::from);
    ok(&Inspect::from(routes.engine.images.look_up(&reference, auth).await?))
}
