//! From options and files to a project, in compose's order: find, read, interpolate, extend, include, merge, check,
//! complete.

use crate::{error::Fault, files::Files, project::Project, value::Value};
use std::collections::BTreeMap;

/// What to load and how.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `-f`: files in the order in which they are merged; `-` is the standard input. None: `COMPOSE_FILE`, then
    /// those of the known names in the working directory or above.
    pub files: Vec<String>,
    /// `--env-file`. None: `.env` in the project's directory.
    pub env_files: Vec<String>,
    /// `--profile`. None: `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// `--project-name`.
    pub project_name: Option<String>,
    /// `--project-directory`.
    pub project_directory: Option<String>,
    /// The caller's environment: interpolation sees it, and `COMPOSE_…`, `HOME` come from it.
    pub environment: BTreeMap<String, String>,
    /// The caller's working directory, absolute.
    pub working_directory: String,
    /// Services that were named: they and what they depend on are enabled, the rest is not. None: all.
    pub services: Vec<String>,
    /// Whether `${…}` is replaced.
    pub interpolate: bool,
    /// Whether defaults are filled in.
    pub normalize: bool,
    /// Whether paths become absolute.
    pub resolve_paths: bool,
    /// Whether references are checked.
    pub consistency: bool,
    /// Whether `env_file` is read into `environment`.
    pub resolve_environment: bool,
    /// Whether networks, volumes, configs and secrets stay that no service names.
    pub all_resources: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            files: Vec::new(),
            env_files: Vec::new(),
            profiles: Vec::new(),
            project_name: None,
            project_directory: None,
            environment: BTreeMap::new(),
            working_directory: "/".to_owned(),
            services: Vec::new(),
            interpolate: true,
            normalize: true,
            resolve_paths: true,
            consistency: true,
            resolve_environment: true,
            all_resources: false,
        }
    }
}

/// A project, and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// Obsolete, ambiguous and not honoured things, each with its place.
    pub warnings: Vec<Fault>,
}

/// A project before it has types: what `config --no-interpolate` prints.
#[derive(Clone, Debug)]
pub struct Model {
    /// All of it.
    pub value: Value,
    /// As of [`Loaded`].
    pub warnings: Vec<Fault>,
}

/// Loads a project. All faults that could be found, or the project.
pub fn load(options: &LoadOptions, files: &dyn Files) -> Result<Loaded, Vec<Fault>>;

/// Loads a project as a tree.
pub fn load_model(options: &LoadOptions, files: &dyn Files) -> Result<Model, Vec<Fault>>;
