//! How an image is built. Pure.

use super::{
    Bytes, FileMount, Hosts, Pairs, Ulimit,
    shape::{Form, Part, Reader, shape},
};
use crate::{
    node::{Map, Node},
    value::Value,
};
use std::collections::BTreeMap;

shape! {
    /// How a service's image is built.
    pub struct Build {
        /// A directory, or the address of a repository or archive.
        context: String = "context",
        /// The Dockerfile, in the context or absolute.
        dockerfile: String = "dockerfile",
        /// Its text instead of a file.
        dockerfile_inline: String = "dockerfile_inline",
        /// `network.host`, `security.insecure`.
        entitlements: Vec<String> = "entitlements",
        /// Build arguments.
        args: Pairs = "args",
        /// Whether and how provenance is attested.
        provenance: String = "provenance",
        /// Whether and how a bill of materials is attached.
        sbom: String = "sbom",
        /// SSH agents or keys by id.
        ssh: SshKeys = "ssh",
        /// Labels of the image.
        labels: BTreeMap<String, String> = "labels",
        /// Where cached steps may come from.
        cache_from: Vec<String> = "cache_from",
        /// Where steps are cached.
        cache_to: Vec<String> = "cache_to",
        /// Whether nothing cached is used.
        no_cache: bool = "no_cache",
        /// Named contexts.
        additional_contexts: BTreeMap<String, String> = "additional_contexts",
        /// Whether base images are pulled anew.
        pull: bool = "pull",
        /// Lines for `/etc/hosts` of steps.
        extra_hosts: Hosts = "extra_hosts",
        /// How steps are isolated (Windows).
        isolation: String = "isolation",
        /// The network of steps.
        network: String = "network",
        /// The stage that is built.
        target: String = "target",
        /// Secrets of steps.
        secrets: Vec<FileMount> = "secrets",
        /// The size of `/dev/shm`.
        shm_size: Bytes = "shm_size",
        /// Further names of the image.
        tags: Vec<String> = "tags",
        /// Limits of each process.
        ulimits: BTreeMap<String, Ulimit> = "ulimits",
        /// Platforms to build for.
        platforms: Vec<String> = "platforms",
        /// Whether steps have all rights.
        privileged: bool = "privileged",
    }
}

/// SSH agents and keys, sorted by id.
pub type SshKeys = Vec<SshKey>;

/// An agent or a key that steps may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshKey {
    /// As steps name it.
    pub id: String,
    /// The key, or the agent's socket; empty for the caller's agent.
    pub path: String,
}

impl Part for SshKey {
    fn read(node: &Node, _: &mut Reader<'_>) -> Self {
        let line = node.plain();
        let (id, path) = line.split_once('=').unwrap_or((&line, ""));
        SshKey { id: id.to_owned(), path: path.to_owned() }
    }
    fn read_entries(map: &Map) -> Option<Vec<Self>> {
        Some(map.iter().map(|(id, path)| SshKey { id: id.clone(), path: path.plain() }).collect())
    }
    fn show(&self, _: Form) -> Value {
        match self.path.is_empty() {
            true => Value::Text(self.id.clone()),
            false => Value::Text(format!("{}: {}", self.id, self.path)),
        }
    }
    fn is_empty(&self, _: Form) -> bool {
        false
    }
}
