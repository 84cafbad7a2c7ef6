//! Registries: how to find one, speak with it, and show it who we are (OCI distribution spec 1.1, Docker's tokens).
//!
//! `mirror.rs` has the settings and says where to ask; `route.rs` goes there; `client.rs` asks; `auth.rs` answers challenges; `blob.rs` reads
//! what is large, across cuts; `lookup.rs` and `remote.rs` tell what a name means there; `dial.rs`, `proxy.rs` and `tls.rs` are the
//! way there; `patience.rs` says how often a busy one is asked; `error.rs` has dockerd's sentences.
//!
//! Never: stores anything. `pull.rs` joins this with the images.

pub(crate) mod auth;
pub(crate) mod blob;
pub(crate) mod client;
mod dial;
pub mod error;
mod lookup;
pub(crate) mod mirror;
mod patience;
mod proxy;
pub mod remote;
pub(crate) mod route;
mod tls;
pub(crate) mod upload;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use auth::RegistryAuth;
pub use error::{ApiError, Code, RegistryError, TransportError};
pub use lookup::{Looked, RemotePlatform, lookup};
pub use mirror::{RegistryConfig, RegistryOptions};
pub use proxy::{Proxies, without_login};

use auth::Authorizer;
use client::Client;
use http::{HeaderMap, Method, StatusCode};
use minke_model::Kind;

/// What a registry said to a login.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginStatus {
    /// `Login Succeeded`.
    pub status: String,
    /// To be kept instead of the password; empty when the registry gives none.
    pub identity_token: String,
}

/// A login that failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LoginError(#[from] RegistryError);

impl LoginError {
    /// Its sort: the registry's `unauthorized` is ours too.
    pub fn kind(&self) -> Kind {
        match self.0.api() {
            Some(error) if error.code == Code::Unauthorized => Kind::Unauthorized,
            _ => self.0.kind(),
        }
    }
}

/// Shows `auth` to the registry of its `server_address` (Docker Hub's when empty) and tells what it says. Mirrors are
/// not asked: they must not see the credentials.
pub async fn login(auth: &RegistryAuth, config: &RegistryConfig) -> Result<LoginStatus, LoginError> {
    let address = auth.server_address.trim();
    let address = if address.is_empty() { "index.docker.io" } else { address };
    let bare = address.strip_prefix("https://").or(address.strip_prefix("http://")).unwrap_or(address);
    let host = bare.split(['/', '?', '#']).next().unwrap_or_default();
    let is_host =
        host.parse::<http::uri::Authority>().is_ok_and(|a| !a.host().is_empty()) && !host.contains('@');
    if !is_host {
        return Err(RegistryError::Settings(format!("unable to parse server address {address:?}")).into());
    }
    let mut last = RegistryError::Settings(format!("no endpoints found for {host}"));
    for endpoint in config.endpoints(host, false).await {
        match login_at(auth, config, endpoint).await {
            Ok(status) => return Ok(status),
            // The registry knows its mind: without TLS it would not be another.
            Err(e) if e.api().is_some_and(|e| e.code == Code::Unauthorized) => return Err(e.into()),
            Err(e) => {
                tracing::info!(host, error = %e, "login failed, trying the next endpoint");
                last = e;
            }
        }
    }
    Err(last.into())
}

async fn login_at(
    auth: &RegistryAuth,
    config: &RegistryConfig,
    endpoint: mirror::Endpoint,
) -> Result<LoginStatus, RegistryError> {
    let url = endpoint.url("");
    let client = Client::new(config, endpoint)?;
    let greeting = client.ping().await?;
    let challenges = auth::challenges(greeting.status(), greeting.headers());
    drop(greeting);
    let authorizer = Authorizer::for_login(auth.clone(), challenges);
    let named = |cause| client::request_error(&Method::GET, &url, cause);
    let authorization = authorizer.authorization(&client, "").await.map_err(named)?;
    let answer = client.get(Method::GET, &url, &HeaderMap::new(), authorization.as_ref()).await?;
    if answer.status() != StatusCode::OK {
        return Err(RegistryError::Login { url, status: answer.status().as_u16() });
    }
    let identity_token = authorizer.identity_token().await.unwrap_or_else(|| auth.identity_token.clone());
    Ok(LoginStatus { status: "Login Succeeded".into(), identity_token })
}
