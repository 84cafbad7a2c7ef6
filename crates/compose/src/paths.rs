//! Relative paths become absolute (compose-go `paths/`). Pure: links are followed by who gives the files.

use crate::{
    error::{Fault, Place},
    files::Files,
    node::{Data, Node},
    path::Path,
    text,
};

/// How the path at some place is meant.
#[derive(Clone, Copy)]
enum How {
    /// A build context: may be an address.
    Context,
    /// A path of this system.
    Plain,
    /// May be a path of Windows.
    Unix,
    /// Links are followed.
    Followed,
    /// The source of a bind mount.
    Mount,
    /// The device of a local volume.
    Volume,
    /// A file of an `extends`: may be an address.
    Extends,
}

const PATHS: &[(&str, How)] = &[
    ("services.*.build.context", How::Context),
    ("services.*.build.additional_contexts.*", How::Context),
    ("services.*.build.ssh.*", How::Unix),
    ("services.*.env_file.*.path", How::Plain),
    ("services.*.label_file.*", How::Plain),
    ("services.*.extends.file", How::Extends),
    ("services.*.develop.watch.*.path", How::Followed),
    ("services.*.volumes.*", How::Mount),
    ("configs.*.file", How::Unix),
    ("secrets.*.file", How::Unix),
    ("volumes.*", How::Volume),
];

/// Against what paths are resolved.
pub(crate) struct Paths<'a> {
    /// The directory. May itself be relative, while files are included.
    pub base: &'a str,
    /// The home directory, for `~`.
    pub home: Option<&'a str>,
    /// The caller's files.
    pub files: &'a dyn Files,
    /// The names of the files that places count.
    pub names: &'a [String],
}

impl Paths<'_> {
    /// Resolves all of a tree.
    pub(crate) fn resolve(&self, node: &mut Node, path: &Path, faults: &mut Vec<Fault>) {
        if let Some(how) = path.find(PATHS) {
            return self.one(*how, node, faults);
        }
        match &mut node.data {
            Data::Map(map) => {
                map.iter_mut().for_each(|(key, value)| self.resolve(value, &path.next(key), faults))
            }
            Data::List(list) => {
                list.iter_mut().for_each(|value| self.resolve(value, &path.next("[]"), faults))
            }
            _ => {}
        }
    }

    fn one(&self, how: How, node: &mut Node, faults: &mut Vec<Fault>) {
        match how {
            How::Mount => {
                let Some(map) = node.as_map_mut() else { return };
                if map.get("type").and_then(Node::as_text) != Some("bind") {
                    return;
                }
                match map.get_mut("source") {
                    Some(source) => self.one(How::Unix, source, faults),
                    None => {
                        let message =
                            "invalid mount config for type \"bind\": field Source must not be empty";
                        faults.push(Fault::at(Place::of(node.spot(), self.names), message));
                    }
                }
            }
            How::Volume => {
                let is = |node: Option<&Node>, word: &str| node.and_then(Node::as_text) == Some(word);
                let Some(map) = node.as_map_mut().filter(|map| is(map.get("driver"), "local")) else {
                    return;
                };
                let Some(options) = map.get_mut("driver_opts").and_then(Node::as_map_mut) else { return };
                if is(options.get("o"), "bind")
                    && let Some(device) = options.get_mut("device")
                {
                    self.one(How::Unix, device, faults);
                }
            }
            _ => {
                let Data::Text(text) = &mut node.data else { return };
                let resolved = match how {
                    How::Context if is_elsewhere(text) => return,
                    How::Extends if is_remote(text) => return,
                    How::Unix => self.unix(text),
                    How::Followed => {
                        let path = self.absolute(text);
                        // A relative one is resolved by the file that includes this one.
                        let followed = path.starts_with('/').then(|| self.files.resolve(&path)).flatten();
                        followed.unwrap_or(path)
                    }
                    _ => self.absolute(text),
                };
                *text = resolved;
            }
        }
    }

    /// A path of this system.
    pub(crate) fn absolute(&self, path: &str) -> String {
        match self.expand(path) {
            empty if empty.is_empty() => empty,
            path if path.starts_with('/') => path,
            path => text::against(self.base, &path),
        }
    }

    fn unix(&self, path: &str) -> String {
        match self.expand(path) {
            path if path.starts_with('/') || is_windows(&path) => path,
            path => text::against(self.base, &path),
        }
    }

    /// `~` as the home directory.
    fn expand(&self, path: &str) -> String {
        match (path.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) => minke_model::go::clean(&format!("{home}/{rest}")),
            _ => path.to_owned(),
        }
    }
}

/// `C:\…` or `\\server\share`.
fn is_windows(path: &str) -> bool {
    let mut chars = path.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':');
    drive && matches!(chars.next(), Some('/' | '\\')) || path.starts_with("\\\\")
}

/// Whether a build context is no directory here (BuildKit `dockerui/context.go`).
fn is_elsewhere(context: &str) -> bool {
    const PREFIXES: [&str; 7] =
        ["service:", "https://", "http://", "git://", "ssh://", "github.com/", "git@"];
    context.contains("://") || PREFIXES.iter().any(|prefix| context.starts_with(prefix))
}

/// Whether a compose file stands in a repository or registry: docker compose fetches those.
pub(crate) fn is_remote(path: &str) -> bool {
    const PREFIXES: [&str; 7] = ["https://", "http://", "git://", "ssh://", "github.com/", "git@", "oci://"];
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}
