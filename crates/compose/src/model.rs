//! From files to one tree: read, fill in, extend, include, merge, check, complete (compose-go `loader/loader.go`).

use crate::{
    canonical::{self, Turner},
    dotenv::Variables,
    error::{Fault, Place},
    files::{FileError, Files},
    interpolate::{self, Said},
    merge,
    node::{Data, Node, Spot},
    path::Path,
    paths::Paths,
    project::CONTENT,
    schema, unique, validate, yaml,
};
use std::{collections::HashMap, sync::Arc};

/// How large a file may be.
pub(crate) const FILE_SIZE: u64 = 4 << 20;
/// How many files may be read for one project, with those that are extended and included.
const FILES: usize = 1000;
/// How deep files may include or extend each other.
const DEPTH: usize = 50;

/// Which steps are taken.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    pub interpolate: bool,
    pub resolve_paths: bool,
    pub extend: bool,
    pub include: bool,
    pub validate: bool,
}

/// Where files are read.
#[derive(Clone)]
pub(crate) struct Context {
    /// Where files that are extended or included are looked for: absolute.
    pub directory: String,
    /// Against what paths in the file are resolved. Relative to the including file's, while it is included.
    pub base: String,
    /// What interpolation sees.
    pub environment: Variables,
    /// Files that include this one.
    pub included: Vec<String>,
}

/// What is gathered while files are read.
pub(crate) struct Reading<'a> {
    /// The caller's files.
    pub files: &'a dyn Files,
    /// The home directory.
    pub home: Option<String>,
    /// The files that were read: places count these.
    pub names: Vec<String>,
    /// Their texts by path: the standard input is there only once.
    pub texts: HashMap<String, Arc<str>>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is worth a word.
    pub warnings: Vec<Fault>,
}

/// A failure that ends the reading; others are gathered.
pub(crate) type Stop = Fault;

impl Reading<'_> {
    /// A fault at a spot.
    pub(crate) fn fault(&self, spot: Spot, message: impl Into<String>) -> Fault {
        Fault::at(Place::of(spot, &self.names), message)
    }

    /// The text of a file, and its number for places.
    pub(crate) fn text(&mut self, path: &str) -> Result<(Arc<str>, u16), Stop> {
        if self.names.len() >= FILES {
            return Err(Fault::new(format!("more than {FILES} compose files are read for one project")));
        }
        let text = match self.texts.get(path) {
            Some(text) => text.clone(),
            None => self.read(path)?,
        };
        self.texts.insert(path.to_owned(), text.clone());
        self.names.push(path.to_owned());
        Ok((text, (self.names.len() - 1) as u16))
    }

    fn read(&self, path: &str) -> Result<Arc<str>, Stop> {
        let bytes = self.files.read(path, FILE_SIZE).map_err(|error| match error {
            FileError::NotFound => Fault::not_found(format!("open {path}: {error}")),
            FileError::Directory => Fault::new(format!("read {path}: {error}")),
            error => Fault::new(format!("open {path}: {error}")),
        })?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Fault::new(format!("failed to parse {path}: yaml: invalid UTF-8")))?;
        Ok(text.into())
    }

    /// Several files over each other, checked and completed.
    pub(crate) fn model(&mut self, paths: &[String], context: &Context, steps: Steps) -> Result<Node, Stop> {
        let mut model = Node::map([]);
        for path in paths {
            model = self.file(path, model, context, steps)?.0;
            // What is broken now would only seem broken in other ways later.
            if !self.faults.is_empty() {
                return Ok(model);
            }
        }
        canonical::defaults(&mut model);
        if steps.validate {
            validate::validate(&model, &Path::root(), &self.names, &mut self.faults);
        }
        if steps.resolve_paths {
            self.resolve_paths(&mut model, &context.base);
        }
        resolve_lists(&mut model, &context.environment);
        Ok(model)
    }

    pub(crate) fn resolve_paths(&mut self, model: &mut Node, base: &str) {
        let paths = Paths { base, home: self.home.as_deref(), files: self.files, names: &self.names };
        paths.resolve(model, &Path::root(), &mut self.faults);
    }

    /// One file, with all its documents, over `model`; and what its last document takes away.
    pub(crate) fn file(
        &mut self,
        path: &str,
        mut model: Node,
        context: &Context,
        steps: Steps,
    ) -> Result<(Node, Vec<Path>), Stop> {
        let (text, number) = self.text(path)?;
        let mut resets = Vec::new();
        for document in yaml::parse(&text, number, &self.names)? {
            if document.root.as_map().is_none() {
                return Err(self.fault(document.root.at, "top-level object must be a mapping"));
            }
            resets.clone_from(&document.resets);
            model = self.document(path, document, model, context, steps)?;
        }
        Ok((model, resets))
    }

    /// One document over `model`.
    fn document(
        &mut self,
        path: &str,
        document: yaml::Document,
        mut model: Node,
        context: &Context,
        steps: Steps,
    ) -> Result<Node, Stop> {
        let yaml::Document { mut root, resets } = document;
        if steps.interpolate {
            let lookup = |name: &str| context.environment.get(name).cloned();
            let mut said = Said { files: &self.names, faults: Vec::new(), warnings: Vec::new() };
            interpolate::interpolate(&mut root, &lookup, &mut said);
            let Said { faults, warnings, .. } = said;
            self.faults.extend(faults);
            self.warnings.extend(warnings);
            if !self.faults.is_empty() {
                return Ok(model);
            }
        }
        if steps.extend {
            self.extend(path, &mut root, &resets, context, steps)?;
        }
        reset(&mut model, &Path::root(), &resets);
        if steps.include {
            let mut context = context.clone();
            context.included.push(path.to_owned());
            if context.included.len() > DEPTH {
                return Err(Fault::new(format!("more than {DEPTH} compose files include each other")));
            }
            self.include(&mut root, &context, steps)?;
            if !self.faults.is_empty() {
                return Ok(model);
            }
        }
        model = merge::merge(model, root, &Path::root(), &self.names)?;
        unique::enforce(&mut model, &Path::root(), &self.names)?;
        if steps.validate {
            self.schema(path, &model);
            if !self.faults.is_empty() {
                return Ok(model);
            }
            if let Some(version) = model.as_map_mut().and_then(|map| map.remove("version")) {
                let message = format!(
                    "{path}: the attribute `version` is obsolete, it will be ignored, please remove it to avoid \
                     potential confusion"
                );
                self.warnings.push(self.fault(version.key, message));
            }
        }
        let mut turner = Turner {
            files: &self.names,
            lenient: !steps.interpolate,
            faults: Vec::new(),
            warnings: Vec::new(),
        };
        turner.canonical(&mut model, &Path::root());
        let Turner { faults, warnings, .. } = turner;
        self.faults.extend(faults);
        self.warnings.extend(warnings);
        canonical::omit_empty(&mut model);
        unique::enforce(&mut model, &Path::root(), &self.names)?;
        Ok(model)
    }

    /// Tells what the file may not say.
    fn schema(&mut self, path: &str, model: &Node) {
        for violation in schema::violations(model) {
            let message = format!("validating {path}: {}", violation.message);
            let fault = self.fault(violation.spot, message);
            self.faults.push(Fault { suggestion: violation.suggestion, ..fault });
        }
    }
}

/// Takes away what lies where a later file says `!reset` or `!override`.
pub(crate) fn reset(node: &mut Node, path: &Path, resets: &[Path]) {
    if resets.is_empty() {
        return;
    }
    match &mut node.data {
        Data::Map(map) => map.retain(|key, value| {
            let next = path.next(key);
            if resets.contains(&next) {
                return false;
            }
            reset(value, &next, resets);
            true
        }),
        // Nothing is taken out of a list.
        Data::List(list) => {
            for (at, value) in list.iter_mut().enumerate() {
                reset(value, &path.next(&format!("[{at}]")), resets);
            }
        }
        _ => {}
    }
}

/// Gives names in lists of variables the values that the environment has, and secrets and configs their bytes
/// (compose-go `loader/environment.go`).
fn resolve_lists(model: &mut Node, environment: &Variables) {
    let Some(root) = model.as_map_mut() else { return };
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(|services| services.values_mut()) {
        let pairs = service.as_map_mut().and_then(|map| map.get_mut("environment"));
        let Some(Data::List(list)) = pairs.map(|pairs| &mut pairs.data) else { continue };
        list.retain(|entry| entry.as_text().is_some());
        for entry in list {
            if let Data::Text(line) = &mut entry.data
                && let Some(value) = environment.get(line.as_str())
            {
                *line = format!("{line}={value}");
            }
        }
    }
    for section in ["secrets", "configs"] {
        let objects = root.get_mut(section).and_then(Node::as_map_mut);
        for object in objects.into_iter().flat_map(|map| map.values_mut()).filter_map(Node::as_map_mut) {
            let value =
                object.get("environment").and_then(Node::as_text).and_then(|name| environment.get(name));
            if let Some(value) = value {
                object.insert(CONTENT.to_owned(), Data::Text(value.clone()).into());
            }
        }
    }
}
