//! `include`: other files as parts of this one, each with its own directory and variables (compose-go
//! `loader/include.go`).

use crate::{
    dotenv::{self, Variables},
    error::Fault,
    files::FileKind,
    model::{Context, FILE_SIZE, Reading, Steps, Stop},
    node::{Data, Map, Node},
    paths::is_remote,
    text,
};

/// One entry of `include`.
struct Include {
    paths: Vec<String>,
    project_directory: String,
    env_files: Vec<String>,
    node: Node,
}

impl Reading<'_> {
    /// Brings in what a file includes.
    pub(crate) fn include(&mut self, root: &mut Node, context: &Context, steps: Steps) -> Result<(), Stop> {
        let Some(map) = root.as_map_mut() else { return Ok(()) };
        let Some(node) = map.remove("include") else { return Ok(()) };
        for include in self.includes(node)? {
            let imported = self.included(&include, context, steps)?;
            if !self.faults.is_empty() {
                return Ok(());
            }
            for section in ["services", "volumes", "networks", "secrets", "configs", "models"] {
                self.import(&imported, map, section)?;
            }
        }
        Ok(())
    }

    /// The entries, in their long form.
    fn includes(&self, node: Node) -> Result<Vec<Include>, Stop> {
        let list = match node.data {
            Data::Null => return Ok(Vec::new()),
            Data::List(list) => list,
            _ => {
                let message = format!("`include` must be a list, got {}", node.plain());
                return Err(self.fault(node.spot(), message));
            }
        };
        let texts = |node: Option<&Node>| match node.map(|node| &node.data) {
            Some(Data::Text(one)) => vec![one.clone()],
            Some(Data::List(some)) => some.iter().map(Node::plain).collect(),
            _ => Vec::new(),
        };
        let mut includes = Vec::new();
        for entry in list {
            includes.push(match &entry.data {
                Data::Text(path) => Include {
                    paths: vec![path.clone()],
                    project_directory: String::new(),
                    env_files: Vec::new(),
                    node: entry,
                },
                Data::Map(map) => Include {
                    paths: texts(map.get("path")),
                    project_directory: map.get("project_directory").map_or(String::new(), Node::plain),
                    env_files: texts(map.get("env_file")),
                    node: entry,
                },
                _ => {
                    let message = format!("include must be a mapping or string, got {}", entry.go_type());
                    return Err(self.fault(entry.spot(), message));
                }
            });
        }
        Ok(includes)
    }

    /// The model of one entry.
    fn included(&mut self, include: &Include, context: &Context, steps: Steps) -> Result<Node, Stop> {
        let spot = include.node.spot();
        if let Some(remote) = include.paths.iter().find(|path| is_remote(path)) {
            let message =
                format!("cannot include {remote}: it is not on this machine; fetch it and name the copy");
            return Err(self.fault(spot, message));
        }
        let paths: Vec<String> =
            include.paths.iter().map(|path| text::against(&context.directory, path)).collect();
        let Some(main) = paths.first() else {
            return Err(self.fault(spot, "include has no path"));
        };
        let (directory, base) = match include.project_directory.as_str() {
            "" => {
                let directory = text::dir(main);
                let base = text::relative(&context.directory, &directory);
                (directory, base)
            }
            absolute if absolute.starts_with('/') => (absolute.to_owned(), absolute.to_owned()),
            relative => {
                let directory = text::against(&context.directory, relative);
                let base = text::relative(&context.directory, &directory);
                (directory, base)
            }
        };
        if context.included.contains(main) {
            let chain: Vec<&str> = context.included.iter().chain([main]).map(String::as_str).collect();
            let message =
                format!("include cycle detected:\n{}\n include {}", chain[0], chain[1..].join("\n include "));
            return Err(self.fault(spot, message));
        }
        let mut environment = context.environment.clone();
        for (name, value) in self.variables(include, &directory, context)? {
            environment.entry(name).or_insert(value);
        }
        let inner = Context { directory, base, environment, included: context.included.clone() };
        self.model(&paths, &inner, Steps { resolve_paths: true, ..steps }).map_err(|fault| Fault {
            place: fault.place.clone().or_else(|| self.fault(spot, "").place),
            ..fault
        })
    }

    /// The variables of an entry's files.
    fn variables(
        &mut self,
        include: &Include,
        directory: &str,
        context: &Context,
    ) -> Result<Variables, Stop> {
        let spot = include.node.spot();
        let mut paths = Vec::new();
        if include.env_files.is_empty() {
            let path = format!("{directory}/.env");
            if self.files.kind(&path) == Some(FileKind::File) {
                paths.push(path);
            }
        }
        for path in &include.env_files {
            let path = text::against(&context.directory, path);
            match self.files.kind(&path) {
                Some(FileKind::File) => paths.push(path),
                Some(FileKind::Directory) => return Err(self.fault(spot, format!("{path} is not a file"))),
                None => return Err(self.fault(spot, format!("stat {path}: no such file or directory"))),
            }
        }
        read_env_files(self, &paths, &context.environment)
    }

    /// Takes over one section. What is there already must be the same.
    fn import(&self, from: &Node, to: &mut Map, section: &str) -> Result<(), Stop> {
        let Some(imported) = from.get(section).and_then(Node::as_map) else { return Ok(()) };
        let target = to.entry(section.to_owned()).or_insert_with(|| Node::map([]));
        if target.is_null() {
            target.data = Data::Map(Map::new());
        }
        let Some(target) = target.as_map_mut() else { return Ok(()) };
        for (name, node) in imported {
            match target.get(name) {
                Some(other) if other != node => {
                    let message = format!("{section}.{name} conflicts with imported resource");
                    return Err(self.fault(other.spot(), message));
                }
                Some(_) => {}
                None => {
                    target.insert(name.clone(), node.clone());
                }
            }
        }
        Ok(())
    }
}

/// The variables of `.env` files, which may name those of `environment` and of each other.
pub(crate) fn read_env_files(
    reading: &mut Reading<'_>,
    paths: &[String],
    environment: &Variables,
) -> Result<Variables, Stop> {
    let mut variables = Variables::new();
    for path in paths {
        match reading.files.kind(path) {
            None => return Err(Fault::not_found(format!("couldn't find env file: {path}"))),
            Some(FileKind::Directory) => return Err(Fault::new(format!("{path} is a directory"))),
            Some(FileKind::File) => {}
        }
        let bytes = reading.files.read(path, FILE_SIZE);
        let bytes = bytes.map_err(|error| Fault::new(format!("couldn't read env file: {path}: {error}")))?;
        let text = String::from_utf8_lossy(&bytes);
        let lookup = |name: &str| environment.get(name).cloned();
        dotenv::parse(&text, &mut variables, &lookup)
            .map_err(|message| Fault::new(format!("failed to read {path}: {message}")))?;
    }
    Ok(variables)
}
