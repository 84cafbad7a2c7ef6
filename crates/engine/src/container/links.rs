//! Links of the default bridge, Docker's oldest way to name another container: lines in /etc/hosts and variables.

use super::Containers;
use crate::error::Result;
use minke_model::{Container, ContainerId, ContainerSpec, container::NetworkMode, port::Port};
use minke_network::{Linked, dns::hosts};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// What a container learns of one that it links to.
pub(super) struct Link {
    /// Names in /etc/hosts, by spaces.
    pub(super) names: String,
    /// Where it is.
    pub(super) address: Ipv4Addr,
    /// Variables.
    pub(super) env: Vec<String>,
    /// What it serves there.
    ports: Vec<Port>,
}

/// `name[:alias]`; the alias is the name when missing.
pub(super) fn parse(link: &str) -> (&str, &str) {
    match link.split_once(':') {
        Some((target, alias)) => (target.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias)),
        None => (link.trim_start_matches('/'), link.trim_start_matches('/')),
    }
}

/// Whether its links are those of the default bridge; elsewhere they are names in the network's own DNS.
pub(super) fn has_links(spec: &ContainerSpec) -> bool {
    matches!(spec.networking.mode, NetworkMode::Default | NetworkMode::Bridge)
        && spec.networking.links.as_ref().is_some_and(|links| !links.is_empty())
}

impl Containers {
    /// Names what a container of the default bridge links to by id: links follow a rename.
    pub(super) fn pin_links(&self, spec: &mut ContainerSpec) -> Result<()> {
        if !has_links(spec) {
            return Ok(());
        }
        for link in spec.networking.links.iter_mut().flatten() {
            let (target, alias) = parse(link);
            *link = format!("{}:{alias}", self.find(target)?.id);
        }
        Ok(())
    }

    /// Links as `inspect` shows them: `/target:/self/alias`, for those targets that are still there.
    pub(super) fn shown_links(&self, record: &Container) -> Option<Vec<String>> {
        if !has_links(&record.spec) {
            return record.spec.networking.links.clone();
        }
        let links = record.spec.networking.links.iter().flatten();
        let shown = links.filter_map(|link| {
            let (target, alias) = parse(link);
            let other = self.get(target).ok()?;
            Some(format!("/{}:/{}/{alias}", other.name, record.name))
        });
        Some(shown.collect())
    }

    /// Whom each linked container is known to by which name: `/parent/alias`.
    pub(super) fn link_names(&self) -> BTreeMap<ContainerId, Vec<String>> {
        let mut names: BTreeMap<ContainerId, Vec<String>> = BTreeMap::new();
        for record in self.all().iter().filter(|r| has_links(&r.spec)) {
            for link in record.spec.networking.links.iter().flatten() {
                let (target, alias) = parse(link);
                if let Some(id) = ContainerId::parse(target) {
                    names.entry(id).or_default().push(format!("/{}/{alias}", record.name));
                }
            }
        }
        names
    }

    /// The links of a container of the default bridge to those that run.
    pub(super) fn links(&self, record: &Container) -> Vec<Link> {
        if !has_links(&record.spec) {
            return Vec::new();
        }
        let links = record.spec.networking.links.iter().flatten();
        links.filter_map(|link| self.link(record, link)).collect()
    }

    fn link(&self, record: &Container, link: &str) -> Option<Link> {
        let (target, alias) = parse(link);
        let other = self.get(target).ok()?;
        let (address, _) = other.status.endpoints.get("bridge")?.ipv4?;
        let names = hosts::link_names(alias, &other.spec.hostname, &other.name);
        let ports = other.spec.exposed_ports.iter().copied().collect();
        Some(Link { names, address, env: environment(record, &other, alias, address), ports })
    }

    /// Which ports of neighbours a running container may reach, though its network keeps containers apart.
    pub(crate) fn linked(&self, record: &Container) -> Vec<Linked> {
        let Some((from, _)) = record.status.endpoints.get("bridge").and_then(|e| e.ipv4) else {
            return Vec::new();
        };
        let links = self.links(record).into_iter();
        links
            .flat_map(|l| l.ports.into_iter().map(move |port| Linked { from, to: l.address, port }))
            .collect()
    }

    /// Makes the links of a running container what its record says: after its start, or when one was taken away.
    pub(super) async fn link_up(&self, record: &Container) -> Result<()> {
        self.inner.networks.link(&record.id, self.linked(record)).await
    }

    /// Tells those that link to a container where it is now.
    pub(super) async fn tell_linked(&self, target: &Container) {
        for other in self.all().iter().filter(|r| r.status.state.is_up() && has_links(&r.spec)) {
            let links = other.spec.networking.links.iter().flatten();
            if !links.into_iter().any(|link| parse(link).0 == target.id.as_str()) {
                continue;
            }
            let told = match self.write_files_again(other) {
                Ok(_) => self.link_up(other).await,
                Err(e) => Err(e),
            };
            if let Err(e) = told {
                tracing::warn!("container {} does not know where {} is now: {e}", other.name, target.name);
            }
        }
    }
}

/// `WEB_NAME`, `WEB_PORT`, `WEB_PORT_80_TCP…`, `WEB_ENV_…`, as Docker sets them.
fn environment(record: &Container, other: &Container, alias: &str, address: Ipv4Addr) -> Vec<String> {
    let upper = alias.to_uppercase().replace('-', "_");
    let mut env = vec![format!("{upper}_NAME=/{}/{alias}", record.name)];
    if let Some(first) = other.spec.exposed_ports.first() {
        env.push(format!("{upper}_PORT={}://{address}:{}", first.protocol, first.number));
    }
    for port in &other.spec.exposed_ports {
        let protocol = port.protocol.to_string();
        let stem = format!("{upper}_PORT_{}_{}", port.number, protocol.to_uppercase());
        env.push(format!("{stem}={protocol}://{address}:{}", port.number));
        env.push(format!("{stem}_ADDR={address}"));
        env.push(format!("{stem}_PORT={}", port.number));
        env.push(format!("{stem}_PROTO={protocol}"));
    }
    let hidden = ["HOME", "PATH"];
    for entry in &other.spec.process.env {
        if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !hidden.contains(name)) {
            env.push(format!("{upper}_ENV_{name}={value}"));
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_the_name_unless_given() {
        assert_eq!(parse("db"), ("db", "db"));
        assert_eq!(parse("db:postgres"), ("db", "postgres"));
        assert_eq!(parse("/db:/web/postgres"), ("db", "postgres"));
    }
}
