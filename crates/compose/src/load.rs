//! From options and files to a project, in compose's order: find, read, interpolate, extend, include, merge, check,
//! complete.

use crate::{
    check::check,
    dotenv::Variables,
    env_file,
    error::{Fault, Place},
    files::{FileKind, Files},
    include::read_env_files,
    interpolate::substitute,
    model::{Context, Reading, Steps},
    node::{Data, Node},
    normalize::normalize,
    path::Path,
    print,
    project::{Along, Form, Format, Project, Reader},
    text,
    unhonoured::unhonoured,
    value::Value,
    yaml,
};
use minke_model::go;
use std::collections::{BTreeMap, HashMap};

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
pub struct Tree {
    /// All of it.
    pub value: Value,
    /// As of [`Loaded`].
    pub warnings: Vec<Fault>,
}

impl Tree {
    /// As `docker compose config --no-interpolate` prints it.
    pub fn print(&self, format: Format) -> String {
        match format {
            Format::Yaml => print::yaml(&self.value.clone().sorted_deep(Form::Yaml)),
            Format::Json => print::json(&self.value.clone().sorted_deep(Form::Json), true),
        }
    }
}

/// Loads a project. All faults that could be found, or the project.
pub fn load(options: &LoadOptions, files: &dyn Files) -> Result<Loaded, Vec<Fault>> {
    let (start, mut reading, model) = read(options, files, true)?;
    let project = start.project(options, model, &mut reading).map_err(|fault| vec![fault])?;
    match reading.faults.is_empty() {
        true => Ok(Loaded { project, warnings: reading.warnings }),
        false => Err(reading.faults),
    }
}

/// Loads a project as a tree.
pub fn load_model(options: &LoadOptions, files: &dyn Files) -> Result<Tree, Vec<Fault>> {
    // Compose gives a tree no variables but the project's name.
    let (_, reading, model) = read(options, files, false)?;
    Ok(Tree { value: model.value(), warnings: reading.warnings })
}

/// Reads all files into one tree.
fn read<'a>(
    options: &LoadOptions,
    files: &'a dyn Files,
    variables: bool,
) -> Result<(Start, Reading<'a>, Node), Vec<Fault>> {
    let home = options.environment.get("HOME").filter(|home| !home.is_empty()).cloned();
    let mut reading = Reading {
        files,
        home,
        names: Vec::new(),
        texts: HashMap::new(),
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    let result = Start::find(options, &mut reading).and_then(|mut start| {
        start.environment.retain(|name, _| variables || name == "COMPOSE_PROJECT_NAME");
        let model = start.read(options, &mut reading)?;
        Ok((start, model))
    });
    match result {
        Err(fault) => reading.faults.insert(0, fault),
        Ok((start, model)) if reading.faults.is_empty() => return Ok((start, reading, model)),
        Ok(_) => {}
    }
    Err(reading.faults)
}

/// What is known before the files are read (compose-go `cli/options.go`).
struct Start {
    /// The files, absolute.
    files: Vec<String>,
    working_dir: String,
    environment: Variables,
    name: String,
    profiles: Vec<String>,
}

/// Names of files that are found without being named, the best first.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Names of files that stand over those.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

impl Start {
    fn find(options: &LoadOptions, reading: &mut Reading<'_>) -> Result<Self, Fault> {
        let absolute = |path: &String| match path.as_str() {
            "-" => path.clone(),
            path => text::against(&options.working_directory, path),
        };
        let mut start = Start {
            files: options.files.iter().map(absolute).collect(),
            working_dir: String::new(),
            environment: options.environment.clone(),
            name: String::new(),
            profiles: options.profiles.clone(),
        };
        let of =
            |start: &Start, key: &str| start.environment.get(key).filter(|value| !value.is_empty()).cloned();
        start.environment.entry("PWD".to_owned()).or_insert_with(|| options.working_directory.clone());
        let mut env_files: Vec<String> = options.env_files.iter().map(absolute).collect();
        if let (true, Some(named)) = (env_files.is_empty(), options.environment.get("COMPOSE_ENV_FILES")) {
            env_files = named
                .split(',')
                .filter(|path| !path.is_empty())
                .map(|path| absolute(&path.to_owned()))
                .collect();
        }
        start.dot_env(options, reading, &env_files)?;
        if let (true, Some(named)) = (start.files.is_empty(), start.environment.get("COMPOSE_FILE")) {
            let separator = of(&start, "COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
            start.files = named.split(separator.as_str()).map(|path| absolute(&path.to_owned())).collect();
            let missing = |path: &&String| *path != "-" && reading.files.kind(path).is_none();
            if let Some(path) = start.files.iter().find(missing) {
                return Err(Fault::not_found(format!("stat {path}: no such file or directory")));
            }
        }
        if start.files.is_empty() {
            start.discover(options, reading);
        }
        // Another directory may have been found by now.
        start.dot_env(options, reading, &env_files)?;
        if start.profiles.is_empty() {
            let named = start.environment.get("COMPOSE_PROFILES").map_or("", String::as_str);
            start.profiles = named.split(',').map(|profile| profile.trim().to_owned()).collect();
        }
        start.working_dir = start.directory(options);
        if start.files.is_empty() {
            return Err(Fault::not_found("no configuration file provided: not found"));
        }
        start.name(options, reading)?;
        start.environment.insert("COMPOSE_PROJECT_NAME".to_owned(), start.name.clone());
        Ok(start)
    }

    /// The project's directory: as asked, or where the first file is.
    fn directory(&self, options: &LoadOptions) -> String {
        if let Some(directory) = options.project_directory.as_ref().filter(|directory| !directory.is_empty())
        {
            return text::against(&options.working_directory, directory);
        }
        match self.files.iter().find(|path| *path != "-") {
            Some(path) => text::dir(path),
            None => options.working_directory.clone(),
        }
    }

    /// Takes in variables of `.env`, which those of the caller go before.
    fn dot_env(
        &mut self,
        options: &LoadOptions,
        reading: &mut Reading<'_>,
        env_files: &[String],
    ) -> Result<(), Fault> {
        let mut paths = env_files.to_vec();
        if paths.is_empty() {
            let disabled = options.environment.get("COMPOSE_DISABLE_ENV_FILE");
            match disabled.map(|value| go::parse_bool(value).ok_or(value)) {
                Some(Ok(true)) => return Ok(()),
                Some(Err(value)) => {
                    let message = format!("strconv.ParseBool: parsing {}: invalid syntax", go::quote(value));
                    return Err(Fault::new(message));
                }
                Some(Ok(false)) | None => {}
            }
            let path = text::against(&self.directory(options), ".env");
            if reading.files.kind(&path) == Some(FileKind::File) {
                paths.push(path);
            }
        }
        for (name, value) in read_env_files(reading, &paths, &self.environment)? {
            self.environment.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// Looks for files of the known names, here and above.
    fn discover(&mut self, options: &LoadOptions, reading: &mut Reading<'_>) {
        let mut directory = self.directory(options);
        loop {
            let mut found = |names: &[&str], what: &str| {
                let paths = names.iter().map(|name| text::against(&directory, name));
                let paths: Vec<String> = paths.filter(|path| reading.files.kind(path).is_some()).collect();
                if paths.len() > 1 {
                    let message =
                        format!("Found multiple {what} files with supported names: {}", paths.join(", "));
                    reading.warnings.push(Fault::new(message));
                    reading.warnings.push(Fault::new(format!("Using {}", paths[0])));
                }
                paths.into_iter().next()
            };
            if let Some(path) = found(&NAMES, "config") {
                self.files.push(path);
                self.files.extend(found(&OVERRIDES, "override"));
                return;
            }
            match text::dir(&directory) {
                parent if parent == directory => return,
                parent => directory = parent,
            }
        }
    }

    /// The project's name: as asked, of `COMPOSE_PROJECT_NAME`, of the files, of the directory.
    fn name(&mut self, options: &LoadOptions, reading: &mut Reading<'_>) -> Result<(), Fault> {
        let invalid = |name: &str| {
            Fault::new(format!(
                "invalid project name {}: must consist only of lowercase alphanumeric characters, hyphens, and \
                 underscores as well as start with a letter or number",
                go::quote(name)
            ))
        };
        let asked = options.project_name.clone().filter(|name| !name.is_empty());
        let asked =
            asked.or_else(|| self.environment.get("COMPOSE_PROJECT_NAME").filter(|n| !n.is_empty()).cloned());
        if let Some(name) = asked {
            if text::normalize_name(&name) != name {
                return Err(invalid(&name));
            }
            self.name = name;
            return Ok(());
        }
        let mut named = None;
        for path in self.files.clone() {
            // Read once more with the rest: what is wrong then is told then.
            let (text, number) = reading.text(&path)?;
            for document in yaml::parse(&text, number, &reading.names)? {
                let name = document.root.get("name").filter(|name| !name.plain().is_empty());
                named = name.cloned().or(named);
            }
        }
        reading.names.clear();
        let Some(named) = named else {
            self.name = text::normalize_name(go::base(&self.working_dir));
            return Ok(());
        };
        let mut name = named.plain();
        if options.interpolate {
            let lookup = |name: &str| self.environment.get(name).cloned();
            let filled = substitute(&name, &lookup, &mut |_| {});
            name =
                filled.map_err(|refusal| Fault::new(format!("error while interpolating name: {refusal}")))?;
        }
        self.name = if options.normalize { text::normalize_name(&name) } else { name };
        Ok(())
    }

    /// All files as one tree.
    fn read(&self, options: &LoadOptions, reading: &mut Reading<'_>) -> Result<Node, Fault> {
        let context = Context {
            directory: self.working_dir.clone(),
            base: self.working_dir.clone(),
            environment: self.environment.clone(),
            included: Vec::new(),
        };
        let steps = Steps {
            interpolate: options.interpolate,
            resolve_paths: options.resolve_paths,
            extend: true,
            include: true,
            validate: true,
        };
        let mut model = reading.model(&self.files, &context, steps)?;
        if !reading.faults.is_empty() {
            return Ok(model);
        }
        if model.as_map().is_none_or(|map| map.is_empty()) {
            return Err(Fault::new("empty compose file"));
        }
        if self.name.is_empty() {
            return Err(Fault::new("project name must not be empty"));
        }
        if options.normalize {
            normalize(&mut model, &self.name, &self.environment);
        }
        unhonoured(&model, &Path::root(), &reading.names, &mut reading.warnings);
        Ok(model)
    }

    /// The typed project.
    fn project(
        self,
        options: &LoadOptions,
        model: Node,
        reading: &mut Reading<'_>,
    ) -> Result<Project, Fault> {
        let mut reader = Reader { faults: &mut reading.faults, files: &reading.names, path: Vec::new() };
        let mut project = Project::read(&model, &mut reader);
        if !reading.faults.is_empty() {
            return Ok(project);
        }
        project.name = self.name;
        project.working_dir = self.working_dir;
        project.files = self.files;
        project.environment = self.environment;
        project = project.with_profiles(self.profiles);
        if options.consistency {
            let found = check(&project);
            if !found.is_empty() {
                let fault = |(path, fault): (String, Fault)| Fault {
                    place: place(&model, &path, &reading.names),
                    ..fault
                };
                reading.faults.extend(found.into_iter().map(fault));
                return Ok(project);
            }
            // Compose does so while it checks.
            for service in project.services.values_mut() {
                if let (Some(_), Some(deploy)) = (service.scale, &mut service.deploy) {
                    deploy.replicas = service.scale;
                }
            }
        }
        project = project.with_services_enabled(&options.services);
        project = project.with_selected_services(&options.services, Along::Dependencies)?;
        if options.resolve_environment {
            env_file::environment(&mut project, &options.working_directory, reading.files)?;
        }
        env_file::labels(&mut project, &options.working_directory, reading.files)?;
        if !options.all_resources {
            project = project.without_unnecessary_resources();
        }
        Ok(project)
    }
}

/// Where in the files something stands that is at some path of the tree, or what it is in.
fn place(model: &Node, path: &str, files: &[String]) -> Option<Place> {
    let mut node = model;
    let mut spot = node.at;
    for part in path.split('.') {
        let next = match &node.data {
            Data::Map(map) => map.get(part),
            Data::List(list) => part.parse::<usize>().ok().and_then(|at| list.get(at)),
            _ => None,
        };
        let Some(next) = next else { break };
        if next.spot().line > 0 {
            spot = next.spot();
        }
        node = next;
    }
    Place::of(spot, files)
}
