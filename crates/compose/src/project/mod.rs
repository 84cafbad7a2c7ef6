//! A project as its files say it: every attribute of the Compose Specification, typed, defaults filled in. Pure.
//!
//! Names, order and meaning of attributes are those of compose-go v2.9.1 (`types/`), since the printed form and the
//! configuration's hash depend on them. Start at [`Project`].

mod build;
mod deploy;
mod resource;
mod select;
mod service;
mod shape;
mod units;

pub use build::{Build, SshKey};
pub use deploy::{
    Deploy, DeviceRequest, DiscreteResource, GenericResource, Placement, Preference, Resource, Resources,
    RestartPolicy, UpdateConfig,
};
pub use resource::{FileObject, Ipam, IpamPool, Model, Network, Volume};
pub use service::{
    BindOptions, Blkio, Condition, CredentialSpec, Dependency, Develop, Device, EnvFile, Extends, FileMount,
    Healthcheck, Hook, ImageOptions, Logging, Mount, Port, Provider, PullPolicy, Service, ServiceModel,
    ServiceNetwork, ThrottleDevice, TmpfsOptions, Ulimit, VolumeOptions, Watch, WeightDevice,
};
pub use select::Along;
pub(crate) use shape::{Form, Part, Reader};
pub use units::{Bytes, DeviceCount, Duration, FileMode, Hosts, Probe, ShellWords};

use crate::value::Value;
use std::collections::BTreeMap;

/// Attributes that begin with `x-`, as they were written.
pub type Extensions = BTreeMap<String, Value>;

/// `KEY=VALUE` pairs, of which some have no value: those come from the environment of whoever asks.
pub type Pairs = BTreeMap<String, Option<String>>;

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
