//! `manifest …`: images of several platforms under one name, put together here and kept in a registry.
//!
//! All of it speaks with registries by itself: no daemon takes part, as with docker's.

mod annotate;
mod create;
mod inspect;
mod list;
mod push;
mod rm;

use crate::cli::command::{Entry, Group};
use crate::cli::{Cli, Failure};
use minke_image::Reference;
use minke_image::registry::remote::{self, Remote};
use minke_image::registry::{Proxies, RegistryAuth, RegistryConfig, RegistryError, RegistryOptions};
use minke_model::id::Digest;
use std::future::Future;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "manifest",
    about: "Manage manifests of images and lists of them",
    entries: &[
        Entry::Command(&annotate::COMMAND),
        Entry::Command(&create::COMMAND),
        Entry::Command(&inspect::COMMAND),
        Entry::Command(&push::COMMAND),
        Entry::Command(&rm::COMMAND),
    ],
};

/// Registries, as this command line reaches them.
struct Registries {
    config: RegistryConfig,
    auth: RegistryAuth,
}

impl Registries {
    /// For the registry of `name`, which may be without TLS if `insecure`.
    fn of(cli: &Cli, name: &Reference, insecure: bool) -> Result<Self, Failure> {
        let variable =
            |names: [&str; 2]| names.into_iter().find_map(|n| std::env::var(n).ok()).unwrap_or_default();
        let options = RegistryOptions {
            insecure: insecure.then(|| name.domain().to_owned()).into_iter().collect(),
            proxies: Proxies {
                http: variable(["HTTP_PROXY", "http_proxy"]),
                https: variable(["HTTPS_PROXY", "https_proxy"]),
                no: variable(["NO_PROXY", "no_proxy"]),
            },
            ..RegistryOptions::default()
        };
        let config = RegistryConfig::new(options).map_err(|e| Failure::new(e.to_string()))?;
        let (username, secret) = cli.config().pair(name.domain()).map_err(Failure::new)?.unwrap_or_default();
        let auth = match username.is_empty() {
            true => RegistryAuth { identity_token: secret, ..RegistryAuth::default() },
            false => RegistryAuth { username, password: secret, ..RegistryAuth::default() },
        };
        Ok(Self { config, auth })
    }

    /// What a name means there.
    fn fetch(&self, name: &Reference) -> Result<Remote, Failure> {
        wait(remote::fetch(name, Some(&self.auth), &self.config))?
            .map_err(|error| Failure::new(error.to_string()))
    }

    /// Puts a list there.
    fn put(&self, name: &Reference, raw: &[u8], kind: &str, parts: &[Remote]) -> Result<Digest, Failure> {
        wait(remote::put_list(name, raw, kind, parts, Some(&self.auth), &self.config))?
            .map_err(|error| Failure::new(error.to_string()))
    }
}

/// Runs one conversation with a registry to its end.
fn wait<T>(
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<Result<T, RegistryError>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

fn parse(name: &str) -> Result<Reference, Failure> {
    Reference::parse(name).map(Reference::or_latest).map_err(|error| Failure::new(error.to_string()))
}
