//! A project as its files say it: every attribute of the Compose Specification, typed, defaults filled in. Pure.
//!
//! Names, order and meaning of attributes are those of compose-go v2.9.1 (`types/`), since the printed form and the
//! configuration's hash depend on them. Start at [`Project`].

mod build;
mod deploy;
mod mount;
mod platform;
mod resource;
mod select;
mod service;
mod shape;
mod units;

pub use build::{Build, SshKey, SshKeys};
pub use deploy::{
    Deploy, DeviceRequest, DiscreteResource, GenericResource, Placement, Preference, Resource, Resources,
    RestartPolicy, UpdateConfig,
};
pub use mount::{BindOptions, EnvFile, FileMount, ImageOptions, Mount, TmpfsOptions, VolumeOptions};
pub use resource::{FileObject, Ipam, IpamPool, Model, Network, Volume};
pub use select::Along;
pub use service::{
    Blkio, Condition, CredentialSpec, Dependency, Develop, Device, Extends, Healthcheck, Hook, Logging, Port,
    Provider, PullPolicy, Service, ServiceModel, ServiceNetwork, ThrottleDevice, Ulimit, Watch, WeightDevice,
};
pub(crate) use shape::{Form, Part, Reader};
pub use units::{Bytes, DeviceCount, Duration, FileMode, Hosts, Probe, ShellWords};

use crate::{node::Node, print, value::Value};
use std::collections::BTreeMap;

/// Attributes that begin with `x-`, as they were written.
pub type Extensions = BTreeMap<String, Value>;

/// `KEY=VALUE` pairs, of which some have no value: those come from the environment of whoever asks.
pub type Pairs = BTreeMap<String, Option<String>>;

/// Where a secret's or config's bytes stand in a tree until it has types. Compose's name.
pub(crate) const CONTENT: &str = "x-#value";

/// What some files describe together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Project {
    /// Its name: in the names and labels of all that it makes.
    pub name: String,
    /// The directory that relative paths stand against, absolute.
    pub working_dir: String,
    /// The files it came from, in their order, absolute; `-` is the standard input.
    pub files: Vec<String>,
    /// Variables that interpolation saw: of the caller, and of `.env`.
    pub environment: BTreeMap<String, String>,
    /// The profiles that were asked for.
    pub profiles: Vec<String>,
    /// Services that run.
    pub services: BTreeMap<String, Service>,
    /// Services that no active profile names, or that were not selected.
    pub disabled_services: BTreeMap<String, Service>,
    /// Networks by their key in the file.
    pub networks: BTreeMap<String, Network>,
    /// Volumes by their key in the file.
    pub volumes: BTreeMap<String, Volume>,
    /// Secrets by their key in the file.
    pub secrets: BTreeMap<String, FileObject>,
    /// Configs by their key in the file.
    pub configs: BTreeMap<String, FileObject>,
    /// Models by their key in the file. Nothing here runs them.
    pub models: BTreeMap<String, Model>,
    /// `x-…` at the top.
    pub extensions: Extensions,
}

/// In which form a project is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// YAML, with a newline at the end.
    #[default]
    Yaml,
    /// JSON, without one.
    Json,
}

impl Project {
    /// From a complete tree. Names of services are their keys.
    pub(crate) fn read(root: &Node, reader: &mut Reader<'_>) -> Self {
        let mut project = Project {
            services: section(root, "services", reader),
            networks: section(root, "networks", reader),
            volumes: section(root, "volumes", reader),
            secrets: section(root, "secrets", reader),
            configs: section(root, "configs", reader),
            models: section(root, "models", reader),
            ..Project::default()
        };
        for (name, service) in &mut project.services {
            service.name.clone_from(name);
        }
        for object in project.secrets.values_mut().chain(project.configs.values_mut()) {
            if let Some(Value::Text(content)) = object.extensions.remove(CONTENT) {
                object.content = content;
            }
        }
        for (key, node) in root.as_map().into_iter().flatten().filter(|(key, _)| key.starts_with("x-")) {
            project.extensions.insert(key.clone(), node.value());
        }
        project
    }

    /// As `docker compose config` prints it, byte for byte: `$` is doubled, so that it may be loaded again.
    pub fn print(&self, format: Format) -> String {
        let text = match format {
            Format::Yaml => print::yaml(&self.yaml()),
            Format::Json => print::json(&self.json(), true),
        };
        text.replace('$', "$$")
    }

    /// Secrets without their bytes, configs without those of the environment.
    fn objects(objects: &BTreeMap<String, FileObject>, secret: bool) -> BTreeMap<String, FileObject> {
        let mut objects = objects.clone();
        for object in objects.values_mut().filter(|object| secret || !object.environment.is_empty()) {
            object.content.clear();
        }
        objects
    }

    fn yaml(&self) -> Value {
        let form = Form::Yaml;
        let mut entries = Vec::new();
        if !self.name.is_empty() {
            entries.push(("name".to_owned(), self.name.show(form)));
        }
        entries.push(("services".to_owned(), self.services.show(form)));
        self.resources(form, &mut entries);
        if !self.models.is_empty() {
            entries.push(("models".to_owned(), self.models.show(form)));
        }
        if let Value::Map(extensions) = self.extensions.show(form) {
            entries.extend(extensions);
        }
        Value::Map(entries)
    }

    fn json(&self) -> Value {
        let form = Form::Json;
        let mut entries = vec![
            ("name".to_owned(), self.name.show(form)),
            ("services".to_owned(), self.services.show(form)),
        ];
        self.resources(form, &mut entries);
        if let Value::Map(extensions) = self.extensions.show(form) {
            entries.extend(extensions);
        }
        Value::Map(entries).sorted(form)
    }

    fn resources(&self, form: Form, entries: &mut Vec<(String, Value)>) {
        let sections = [
            ("networks", self.networks.show(form)),
            ("volumes", self.volumes.show(form)),
            ("secrets", Self::objects(&self.secrets, true).show(form)),
            ("configs", Self::objects(&self.configs, false).show(form)),
        ];
        let filled = sections.into_iter().filter(|(_, value)| *value != Value::Map(Vec::new()));
        entries.extend(filled.map(|(key, value)| (key.to_owned(), value)));
    }
}

/// One section of a file.
fn section<T: Part>(root: &Node, key: &str, reader: &mut Reader<'_>) -> BTreeMap<String, T> {
    reader.path.push(format!(".{key}"));
    let parts = root.get(key).map(|node| Part::read_any(node, reader)).unwrap_or_default();
    reader.path.pop();
    parts
}
