//! Image configurations: read tolerantly, kept byte for byte, written anew for commit and import.
//!
//! One format with two histories: OCI image spec (config.md) and Docker's image spec v1.2. Fields that are `null`,
//! absent or unknown do no harm; an image's id is the digest of the bytes as they came.

use crate::{ImageError, Result};
use minke_model::{
    ImageId, Timestamp,
    health::HealthSpec,
    id::Digest,
    image::{ImageDefaults, Platform},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Largest configuration that is read.
pub(crate) const MAX_BYTES: u64 = 8 << 20;

/// Most layers that an image may have. overlayfs takes 500 in all; Docker allows 125.
pub(crate) const MAX_LAYERS: usize = 400;

/// The digest of a tar without entries: a layer that changes nothing.
pub(crate) const EMPTY_LAYER: &str =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What an image's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// When it was made.
    pub created: Option<Timestamp>,
    /// By whom.
    pub author: String,
    /// A remark, of a commit or import.
    pub comment: String,
    /// `amd64`…
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v7`…; empty when none.
    pub variant: String,
    /// Of Windows images; kept for inspect.
    pub os_version: String,
    /// Which Docker made it, where it says so.
    pub docker_version: String,
    /// Defaults for its containers.
    pub defaults: ImageDefaults,
    /// What made each layer, from the first.
    pub history: Vec<History>,
    /// Digests of the layers' uncompressed tars, from the bottom.
    pub diff_ids: Vec<Digest>,
    /// The bytes as they came.
    pub raw: Arc<[u8]>,
}

/// What made a layer, or changed only the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When.
    pub created: Option<Timestamp>,
    /// By which instruction.
    pub created_by: String,
    /// By whom.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// It made no layer.
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Parses `raw`.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        let bad = |detail: String| ImageError::Config { detail };
        let wire: Wire = serde_json::from_slice(raw).map_err(|e| bad(e.to_string()))?;
        let Some(rootfs) = wire.rootfs else { return Err(bad("it has no rootfs".into())) };
        if rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(bad(format!("it has {} layers, more than {MAX_LAYERS}", rootfs.diff_ids.len())));
        }
        Ok(Self {
            created: timestamp(wire.created.as_deref()),
            author: wire.author,
            comment: wire.comment,
            architecture: wire.architecture,
            os: wire.os,
            variant: wire.variant,
            os_version: wire.os_version,
            docker_version: wire.docker_version,
            defaults: wire.config.map(WireDefaults::into_defaults).unwrap_or_default(),
            history: wire.history.into_iter().map(WireHistory::into_history).collect(),
            diff_ids: rootfs.diff_ids,
            raw: raw.into(),
        })
    }

    /// The image's identity.
    pub fn id(&self) -> ImageId {
        digest(&self.raw)
    }

    /// What it runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }

    /// The chain id of each layer, from the bottom: the digest of all up to it (OCI image spec,
    /// config.md#layer-chainid).
    pub fn chain_ids(&self) -> Vec<Digest> {
        chain_ids(&self.diff_ids)
    }

    /// A new configuration's bytes, in the shape that Docker writes.
    pub(crate) fn write(&self) -> Result<Vec<u8>> {
        let defaults = &self.defaults;
        let set = |names: &BTreeSet<String>| {
            let map: serde_json::Map<_, _> = names.iter().map(|n| (n.clone(), json!({}))).collect();
            if map.is_empty() { Value::Null } else { Value::Object(map) }
        };
        let mut config = json!({
            "Hostname": "",
            "Domainname": "",
            "User": defaults.user,
            "AttachStdin": false,
            "AttachStdout": false,
            "AttachStderr": false,
            "Tty": false,
            "OpenStdin": false,
            "StdinOnce": false,
            "Env": if defaults.env.is_empty() { Value::Null } else { json!(defaults.env) },
            "Cmd": defaults.cmd,
            "Image": "",
            "Volumes": set(&defaults.volumes),
            "WorkingDir": defaults.working_dir,
            "Entrypoint": defaults.entrypoint,
            "OnBuild": if defaults.on_build.is_empty() { Value::Null } else { json!(defaults.on_build) },
            "Labels": if defaults.labels.is_empty() { Value::Null } else { json!(defaults.labels) },
        });
        let mut optional = |name: &str, value: Value, is_set: bool| {
            if is_set {
                config[name] = value;
            }
        };
        let ports = defaults.exposed_ports.iter().map(|p| p.to_string()).collect();
        optional("ExposedPorts", set(&ports), !ports.is_empty());
        optional("StopSignal", json!(defaults.stop_signal), defaults.stop_signal.is_some());
        optional("StopTimeout", json!(defaults.stop_timeout), defaults.stop_timeout.is_some());
        optional("Shell", json!(defaults.shell), defaults.shell.is_some());
        optional("ArgsEscaped", json!(true), defaults.args_escaped);
        optional("Healthcheck", health(defaults.healthcheck.as_ref()), defaults.healthcheck.is_some());
        let history: Vec<Value> = self.history.iter().map(history).collect();
        let mut all = json!({
            "architecture": self.architecture,
            "config": config,
            "created": self.created.map(|t| t.to_string()),
            "history": history,
            "os": self.os,
            "rootfs": { "type": "layers", "diff_ids": self.diff_ids },
        });
        for (name, value) in [
            ("author", &self.author),
            ("comment", &self.comment),
            ("variant", &self.variant),
            ("os.version", &self.os_version),
            ("docker_version", &self.docker_version),
        ] {
            if !value.is_empty() {
                all[name] = json!(value);
            }
        }
        serde_json::to_vec(&all).map_err(|e| ImageError::Config { detail: e.to_string() })
    }
}

/// The SHA-256 of bytes in memory.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes))
}

/// Chain ids of a stack of layers, from the bottom.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => digest(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

fn timestamp(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(Timestamp::parse)
}

fn health(spec: Option<&HealthSpec>) -> Value {
    let Some(spec) = spec else { return Value::Null };
    let mut value = json!({ "Test": spec.test });
    for (name, nanos) in [
        ("Interval", spec.interval),
        ("Timeout", spec.timeout),
        ("StartPeriod", spec.start_period),
        ("StartInterval", spec.start_interval),
        ("Retries", spec.retries.into()),
    ] {
        if nanos != 0 {
            value[name] = json!(nanos);
        }
    }
    value
}

fn history(entry: &History) -> Value {
    let mut value = json!({});
    if let Some(created) = entry.created {
        value["created"] = json!(created.to_string());
    }
    for (name, text) in
        [("created_by", &entry.created_by), ("author", &entry.author), ("comment", &entry.comment)]
    {
        if !text.is_empty() {
            value[name] = json!(text);
        }
    }
    if entry.empty_layer {
        value["empty_layer"] = json!(true);
    }
    value
}

/// `null` is the default.
fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// A command: a list, or a single text as very old images have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

impl Words {
    fn into_vec(self) -> Vec<String> {
        match self {
            Words::Many(words) => words,
            Words::One(word) => vec![word],
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    created: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    author: String,
    #[serde(default, deserialize_with = "lenient")]
    comment: String,
    #[serde(default, deserialize_with = "lenient")]
    architecture: String,
    #[serde(default, deserialize_with = "lenient")]
    os: String,
    #[serde(default, deserialize_with = "lenient")]
    variant: String,
    #[serde(default, rename = "os.version", deserialize_with = "lenient")]
    os_version: String,
    #[serde(default, deserialize_with = "lenient")]
    docker_version: String,
    #[serde(default)]
    config: Option<WireDefaults>,
    #[serde(default, deserialize_with = "lenient")]
    history: Vec<WireHistory>,
    #[serde(default)]
    rootfs: Option<WireRootfs>,
}

#[derive(Deserialize)]
struct WireRootfs {
    #[serde(default, deserialize_with = "lenient")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireHistory {
    created: Option<String>,
    #[serde(deserialize_with = "lenient")]
    created_by: String,
    #[serde(deserialize_with = "lenient")]
    author: String,
    #[serde(deserialize_with = "lenient")]
    comment: String,
    #[serde(deserialize_with = "lenient")]
    empty_layer: bool,
}

impl WireHistory {
    fn into_history(self) -> History {
        History {
            created: timestamp(self.created.as_deref()),
            created_by: self.created_by,
            author: self.author,
            comment: self.comment,
            empty_layer: self.empty_layer,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WireDefaults {
    #[serde(deserialize_with = "lenient")]
    user: String,
    #[serde(deserialize_with = "lenient")]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "lenient")]
    env: Vec<String>,
    entrypoint: Option<Words>,
    cmd: Option<Words>,
    #[serde(deserialize_with = "lenient")]
    volumes: BTreeMap<String, Value>,
    #[serde(deserialize_with = "lenient")]
    working_dir: String,
    #[serde(deserialize_with = "lenient")]
    labels: BTreeMap<String, String>,
    stop_signal: Option<String>,
    stop_timeout: Option<i64>,
    healthcheck: Option<WireHealth>,
    shell: Option<Words>,
    #[serde(deserialize_with = "lenient")]
    on_build: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    args_escaped: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WireHealth {
    test: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient")]
    interval: i64,
    #[serde(deserialize_with = "lenient")]
    timeout: i64,
    #[serde(deserialize_with = "lenient")]
    start_period: i64,
    #[serde(deserialize_with = "lenient")]
    start_interval: i64,
    #[serde(deserialize_with = "lenient")]
    retries: i64,
}

impl WireDefaults {
    fn into_defaults(self) -> ImageDefaults {
        ImageDefaults {
            user: self.user,
            // A port that is none cannot be exposed; the image works without it.
            exposed_ports: self.exposed_ports.keys().filter_map(|p| p.parse().ok()).collect(),
            env: self.env,
            entrypoint: self.entrypoint.map(Words::into_vec),
            cmd: self.cmd.map(Words::into_vec),
            volumes: self.volumes.into_keys().collect(),
            working_dir: self.working_dir,
            labels: self.labels,
            stop_signal: self.stop_signal.filter(|s| !s.is_empty()),
            stop_timeout: self.stop_timeout,
            healthcheck: self.healthcheck.map(|h| HealthSpec {
                test: h.test,
                interval: h.interval,
                timeout: h.timeout,
                start_period: h.start_period,
                start_interval: h.start_interval,
                retries: u32::try_from(h.retries).unwrap_or(0),
                at_start: false,
            }),
            shell: self.shell.map(Words::into_vec),
            on_build: self.on_build,
            args_escaped: self.args_escaped,
        }
    }
}

#[cfg(test)]
mod tests;
