//! The way to a repository: the endpoints that may have it, one after the other (mirrors, TLS, without).
//!
//! Who has shown that it speaks TLS is never asked without. Never: decides whether an answer is good enough; who walks
//! the route does.

use super::{RegistryAuth, RegistryConfig, RegistryError, client::Repository, mirror::Endpoint};
use crate::Reference;
use std::collections::BTreeSet;

/// What shall be done there, in the words of token servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Mirrors are asked, too.
    Pull,
    /// Only the registry itself.
    Push,
}

/// The endpoints of a repository, in order.
pub(crate) struct Route<'a> {
    config: &'a RegistryConfig,
    name: &'a Reference,
    auth: Option<&'a RegistryAuth>,
    purpose: Purpose,
    endpoints: std::vec::IntoIter<Endpoint>,
    with_tls: BTreeSet<String>,
}

impl<'a> Route<'a> {
    /// To the repository of `name`, with `auth` to show. Asks nobody yet but name servers.
    pub(crate) async fn new(
        config: &'a RegistryConfig,
        name: &'a Reference,
        auth: Option<&'a RegistryAuth>,
        purpose: Purpose,
    ) -> Route<'a> {
        let endpoints = config.endpoints(name.domain(), purpose == Purpose::Pull).await.into_iter();
        Self { config, name, auth, purpose, endpoints, with_tls: BTreeSet::new() }
    }

    /// The next endpoint, greeted, or why it cannot be; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Repository, RegistryError>> {
        let endpoint = loop {
            let endpoint = self.endpoints.next()?;
            if endpoint.scheme != "http" || !self.with_tls.contains(&endpoint.host) {
                break endpoint;
            }
        };
        let (host, tls) = (endpoint.host.clone(), endpoint.scheme == "https");
        let actions = match self.purpose {
            Purpose::Pull => "pull",
            Purpose::Push => "pull,push",
        };
        let opened = Repository::open(self.config, endpoint, self.name.path(), self.auth, actions).await;
        if tls && opened.as_ref().map_or_else(RegistryError::reached, |_| true) {
            self.with_tls.insert(host);
        }
        Some(opened)
    }

    /// What is told when there is no endpoint at all.
    pub(crate) fn nowhere(&self) -> RegistryError {
        RegistryError::Settings(format!("no endpoints found for {}", self.name.familiar()))
    }
}
