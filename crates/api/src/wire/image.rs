//! Images: inspect, list, history.

use super::{Map, config::Healthcheck, config::set, container::GraphDriver, or_null};
use minke_engine::{Image, Reference};
use minke_model::{ImageId, Timestamp, image::ImageDefaults};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `GET /images/{name}/json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: String,
    comment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    created: String,
    docker_version: String,
    author: String,
    config: Value,
    architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
    os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    os_version: String,
    size: u64,
    graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    metadata: Metadata,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    last_tag_time: String,
}

/// One row of `GET /images/json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    containers: i64,
    created: i64,
    id: String,
    labels: Option<Map>,
    parent_id: String,
    repo_digests: Option<Vec<String>>,
    repo_tags: Option<Vec<String>>,
    shared_size: i64,
    size: u64,
}

/// One row of `GET /images/{name}/history`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Step {
    comment: String,
    created: i64,
    created_by: String,
    id: String,
    size: u64,
    tags: Option<Vec<String>>,
}

fn names(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::familiar).collect()
}

/// Fields that are always there first, as API 1.50 and newer have them; others only when they say something.
fn config(defaults: &ImageDefaults) -> Value {
    let mut config = json!({
        "Cmd": defaults.cmd,
        "Entrypoint": defaults.entrypoint.as_ref().filter(|e| !e.is_empty()),
        "Env": or_null(&defaults.env),
        "Labels": (!defaults.labels.is_empty()).then_some(&defaults.labels),
        "OnBuild": or_null(&defaults.on_build),
        "User": defaults.user,
        "Volumes": (!defaults.volumes.is_empty()).then(|| set(&defaults.volumes)),
        "WorkingDir": defaults.working_dir,
    });
    let mut optional = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config[name] = value;
        }
    };
    optional("ArgsEscaped", defaults.args_escaped.then_some(json!(true)));
    optional(
        "ExposedPorts",
        (!defaults.exposed_ports.is_empty()).then(|| json!(set(&defaults.exposed_ports))),
    );
    optional("Healthcheck", defaults.healthcheck.as_ref().map(|h| json!(Healthcheck::from(h))));
    optional("Shell", defaults.shell.as_ref().map(|s| json!(s)));
    optional("StopSignal", defaults.stop_signal.as_ref().map(|s| json!(s)));
    optional("StopTimeout", defaults.stop_timeout.map(|t| json!(t)));
    config
}

impl Inspect {
    /// As dockerd shows it. `layers` is where its layers lie.
    pub(crate) fn new(image: &Image, layers: BTreeMap<&'static str, String>) -> Self {
        let about = &image.config;
        let tagged = image.last_tagged.unwrap_or_else(Timestamp::zero);
        Self {
            id: image.id.as_str().to_owned(),
            repo_tags: names(&image.tags),
            repo_digests: names(&image.digests),
            parent: image.parent.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            comment: comment(image),
            created: about.created.map(|t| t.to_string()).unwrap_or_default(),
            docker_version: about.docker_version.clone(),
            author: about.author.clone(),
            config: config(&about.defaults),
            architecture: about.architecture.clone(),
            variant: about.variant.clone(),
            os: about.os.clone(),
            os_version: about.os_version.clone(),
            size: image.size,
            graph_driver: GraphDriver { data: layers, name: "overlay2".to_owned() },
            root_fs: RootFs {
                kind: "layers",
                layers: about.diff_ids.iter().map(|d| d.as_str().to_owned()).collect(),
            },
            metadata: Metadata { last_tag_time: tagged.to_string() },
        }
    }
}

/// An image's own remark, or that of what made its last layer.
fn comment(image: &Image) -> String {
    let last = image.config.history.last().map(|h| h.comment.clone());
    if image.config.comment.is_empty() { last.unwrap_or_default() } else { image.config.comment.clone() }
}

/// What is counted only when asked for: -1 is not asked.
fn counted(count: Option<u64>) -> i64 {
    count.map_or(-1, |c| i64::try_from(c).unwrap_or(i64::MAX))
}

impl Summary {
    /// As dockerd lists it.
    pub(crate) fn new(
        image: &Image,
        tags: &[Reference],
        digests: &[Reference],
        shared_size: Option<u64>,
        containers: Option<u64>,
    ) -> Self {
        let labels = &image.config.defaults.labels;
        Self {
            containers: counted(containers),
            created: image.config.created.map_or(0, |t| t.as_second()),
            id: image.id.as_str().to_owned(),
            labels: (!labels.is_empty()).then(|| Map(labels.clone())),
            parent_id: image.parent.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            repo_digests: Some(names(digests)),
            repo_tags: Some(names(tags)),
            shared_size: counted(shared_size),
            size: image.size,
        }
    }

    /// As `system df` has it: without names, `null`.
    pub(crate) fn in_disk_usage(mut self) -> Self {
        self.repo_digests = self.repo_digests.filter(|d| !d.is_empty());
        self.repo_tags = self.repo_tags.filter(|t| !t.is_empty());
        self
    }
}

/// All steps of an image, newest first. `sizes` are its layers', bottom first; `images` find the images that end with
/// a layer that others build on (its own, and its parents).
pub(crate) fn history(image: &Image, sizes: &[u64], images: &[(usize, ImageId, Vec<String>)]) -> Vec<Step> {
    let mut sizes = sizes.iter();
    let mut steps: Vec<Step> = image
        .config
        .history
        .iter()
        .map(|step| Step {
            comment: step.comment.clone(),
            created: step.created.map_or(0, |t| t.as_second()),
            created_by: step.created_by.clone(),
            id: "<missing>".to_owned(),
            size: if step.empty_layer { 0 } else { sizes.next().copied().unwrap_or(0) },
            tags: None,
        })
        .collect();
    for (length, id, tags) in images {
        if let Some(step) = length.checked_sub(1).and_then(|last| steps.get_mut(last)) {
            step.id = id.as_str().to_owned();
            step.tags = or_null(tags);
        }
    }
    steps.reverse();
    steps
}

/// An image's names, for `history`.
pub(crate) fn tag_names(image: &Image) -> Vec<String> {
    names(&image.tags)
}
