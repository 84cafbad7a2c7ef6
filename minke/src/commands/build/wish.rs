//! What a build is asked for, in the words of flags: each one's own small language, read as buildx reads it.
//!
//! Pure, but for variables of the environment that an argument takes its value from.

use minke_api::remote::Ask;
use minke_engine::build::request::CacheRef;
use minke_model::go::{csv_fields, parse_bool, quote};
use std::collections::BTreeMap;

/// A build, before its files are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// A directory, `-`, a URL, or a git repository.
    pub(crate) context: String,
    /// `--file`; empty is not given.
    pub(crate) file: String,
    /// The Dockerfile's text, where it stands in no file.
    pub(crate) inline: Option<String>,
    /// `--tag`
    pub(crate) tags: Vec<String>,
    /// `--build-arg`: `NAME=value`, or a name whose value the environment has.
    pub(crate) arguments: Vec<String>,
    /// `--label`
    pub(crate) labels: Vec<String>,
    /// `--target`
    pub(crate) target: String,
    /// `--platform`
    pub(crate) platforms: Vec<String>,
    /// `--no-cache`
    pub(crate) no_cache: bool,
    /// `--no-cache-filter`
    pub(crate) no_cache_filter: Vec<String>,
    /// `--pull`
    pub(crate) pull: bool,
    /// `--secret`
    pub(crate) secrets: Vec<String>,
    /// `--ssh`
    pub(crate) ssh: Vec<String>,
    /// `--add-host`
    pub(crate) hosts: Vec<String>,
    /// `--network`
    pub(crate) network: String,
    /// `--ulimit`
    pub(crate) ulimits: Vec<String>,
    /// `--shm-size`, in bytes; zero is the daemon's.
    pub(crate) shm_size: i64,
    /// `--cgroup-parent`
    pub(crate) cgroup_parent: String,
    /// `--build-context`
    pub(crate) contexts: Vec<String>,
    /// `--cache-from`
    pub(crate) cache_from: Vec<String>,
    /// `--cache-to`
    pub(crate) cache_to: Vec<String>,
    /// `--output`
    pub(crate) outputs: Vec<String>,
    /// `--push`
    pub(crate) push: bool,
    /// `--annotation`
    pub(crate) annotations: Vec<String>,
    /// `--allow`
    pub(crate) allow: Vec<String>,
}

/// Where an output's bytes go on this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The daemon keeps it.
    None,
    /// stdout.
    Stdout,
    /// A file.
    File(String),
    /// Files below a directory.
    Directory(String),
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// The exporter.
    pub(crate) kind: String,
    /// What it is told.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Where its bytes go.
    pub(crate) destination: Destination,
}

/// One secret: its name, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// Its name.
    pub(crate) id: String,
    /// The file.
    pub(crate) file: Option<String>,
    /// The variable.
    pub(crate) variable: Option<String>,
}

/// One `--build-context`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Further {
    /// Its name.
    pub(crate) name: String,
    /// A directory, an image, a URL.
    pub(crate) value: String,
}

/// `key=value` pairs of a field of CSV.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |field: String| match field.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_lowercase(), value.to_owned())),
        None => Err(format!("invalid value {field}")),
    };
    csv_fields(text)?.into_iter().map(pair).collect()
}

/// `--output`: `type=local,dest=out`, `out`, `-`.
pub(crate) fn output(text: &str) -> Result<Output, String> {
    let fields = csv_fields(text)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        let (kind, destination) = match only.as_str() {
            "-" => ("tar", Destination::Stdout),
            path => ("local", Destination::Directory(path.to_owned())),
        };
        return Ok(Output { kind: kind.into(), attributes: BTreeMap::new(), destination });
    }
    let mut attributes: BTreeMap<String, String> =
        pairs(text).map_err(|e| e.to_string())?.into_iter().collect();
    let kind = attributes.remove("type").ok_or("type is required for output")?;
    let dest = attributes.remove("dest");
    let unpacked = attributes.get("tar").is_some_and(|value| parse_bool(value) == Some(false));
    let destination = match (kind.as_str(), dest) {
        ("local", None) => return Err("dest is required for local output".into()),
        ("local", Some(dest)) => Destination::Directory(dest),
        ("oci" | "docker" | "tar", _) if unpacked => {
            return Err("outputs that are no tar go through docker buildx alone: leave tar=false away".into());
        }
        ("tar" | "oci", None) => Destination::Stdout,
        ("tar" | "oci" | "docker", Some(dest)) if dest == "-" => Destination::Stdout,
        ("tar" | "oci" | "docker", Some(dest)) => Destination::File(dest),
        (_, Some(_)) => return Err(format!("dest is not supported by the output {kind}")),
        // Into the daemon's own images.
        (_, None) => Destination::None,
    };
    let kind = match (kind.as_str(), &destination) {
        ("docker", Destination::None) => "image".to_owned(),
        ("registry", _) => {
            attributes.insert("push".into(), "true".into());
            "image".to_owned()
        }
        _ => kind,
    };
    Ok(Output { kind, attributes, destination })
}

/// `--secret`: `id=x,src=file`, `id=x,env=VAR`, `file`.
pub(crate) fn secret(text: &str) -> Result<Secret, String> {
    let mut secret = Secret { id: String::new(), file: None, variable: None };
    let mut kind = String::new();
    for (key, value) in pairs(text)? {
        match key.as_str() {
            "type" if matches!(value.as_str(), "file" | "env") => kind = value,
            "type" => return Err(format!("unsupported secret type {}", quote(&value))),
            "id" => secret.id = value,
            "source" | "src" => secret.file = Some(value),
            "env" => secret.variable = Some(value),
            other => return Err(format!("unexpected key '{other}' in '{other}={value}'")),
        }
    }
    if kind == "env" && secret.variable.is_none() {
        secret.variable = secret.file.take();
    }
    if secret.id.is_empty() {
        return Err("secret has no id".into());
    }
    if secret.file.is_none() && secret.variable.is_none() {
        let id = secret.id.clone();
        match kind == "env" || (kind.is_empty() && std::env::var_os(&id).is_some()) {
            true => secret.variable = Some(id),
            false => secret.file = Some(id),
        }
    }
    Ok(secret)
}

/// `--ssh`: `default`, `name=path`.
pub(crate) fn agent(text: &str) -> (String, Option<String>) {
    let (name, path) =
        text.split_once('=').map_or((text, None), |(name, path)| (name, Some(path.to_owned())));
    (if name.is_empty() { "default".into() } else { name.to_owned() }, path)
}

/// `--cache-from` and `--cache-to`: `type=registry,ref=…`, or a name of an image.
pub(crate) fn cache(text: &str) -> Result<CacheRef, String> {
    let fields = csv_fields(text)?;
    if fields.iter().all(|field| !field.contains('=')) {
        let attributes = BTreeMap::from([("ref".to_owned(), text.to_owned())]);
        return Ok(CacheRef { kind: "registry".into(), attributes });
    }
    let mut attributes: BTreeMap<String, String> = pairs(text)?.into_iter().collect();
    let kind = attributes.remove("type").ok_or_else(|| format!("type required form> {}", quote(text)))?;
    let needed = match kind.as_str() {
        "local" => ["src", "dest"],
        "registry" => ["ref", "ref"],
        _ => return Ok(CacheRef { kind, attributes }),
    };
    if !needed.iter().any(|key| attributes.contains_key(*key)) {
        return Err(format!("a cache of type {kind} needs {}", needed[0]));
    }
    Ok(CacheRef { kind, attributes })
}

/// `--build-context`
pub(crate) fn further(text: &str) -> Result<Further, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Further { name: name.to_lowercase(), value: value.to_owned() })
        }
        _ => Err(format!("invalid context value: {text}, expected key=value")),
    }
}

/// `a=1,"b=x,y"`: fields of CSV.
fn csv(fields: &[String]) -> String {
    let field = |text: &String| match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    fields.iter().map(field).collect::<Vec<_>>().join(",")
}

impl Wish {
    /// What becomes of the result: the outputs as given, else an image here.
    pub(crate) fn all_outputs(&self) -> Result<Vec<Output>, String> {
        let mut outputs = self.outputs.iter().map(|text| output(text)).collect::<Result<Vec<_>, _>>()?;
        if outputs.is_empty() {
            outputs.push(Output {
                kind: "image".into(),
                attributes: BTreeMap::new(),
                destination: Destination::None,
            });
        }
        if self.push {
            if self.tags.is_empty() {
                return Err("tag is needed when pushing to registry".into());
            }
            if let Some(image) = outputs.iter_mut().find(|output| output.kind == "image") {
                image.attributes.insert("push".into(), "true".into());
            }
        }
        for output in &mut outputs {
            if matches!(output.kind.as_str(), "image" | "oci" | "docker") && !self.tags.is_empty() {
                output.attributes.entry("name".into()).or_insert_with(|| self.tags.join(","));
            }
            for annotation in &self.annotations {
                let (key, value) = annotation
                    .split_once('=')
                    .ok_or_else(|| format!("invalid annotation {}: expected key=value", quote(annotation)))?;
                // `manifest:key`, `index:key`: which of a result's parts is meant.
                let key = match key.split_once(':') {
                    Some((kind, key)) => format!("annotation-{kind}.{key}"),
                    None => format!("annotation.{key}"),
                };
                output.attributes.insert(key, value.to_owned());
            }
        }
        Ok(outputs)
    }

    /// The request, but for its names and where its context is.
    pub(crate) fn ask(&self) -> Result<Ask, String> {
        let mut attributes = BTreeMap::new();
        let mut set = |key: String, value: String| drop(attributes.insert(key, value));
        for argument in &self.arguments {
            match argument.split_once('=') {
                Some((name, value)) => set(format!("build-arg:{name}"), value.to_owned()),
                None => {
                    if let Ok(value) = std::env::var(argument) {
                        set(format!("build-arg:{argument}"), value);
                    }
                }
            }
        }
        for label in &self.labels {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            set(format!("label:{name}"), value.to_owned());
        }
        for (key, value) in [("target", &self.target), ("cgroup-parent", &self.cgroup_parent)] {
            if !value.is_empty() {
                set(key.into(), value.clone());
            }
        }
        if !self.platforms.is_empty() {
            set("platform".into(), self.platforms.join(","));
        }
        if self.no_cache {
            set("no-cache".into(), String::new());
        } else if !self.no_cache_filter.is_empty() {
            set("no-cache".into(), self.no_cache_filter.join(","));
        }
        if self.pull {
            set("image-resolve-mode".into(), "pull".into());
        }
        let mut hosts = Vec::new();
        for text in &self.hosts {
            let split = text.split_once('=').or_else(|| text.split_once(':'));
            let (name, address) = split.ok_or_else(|| format!("bad format for add-host: {}", quote(text)))?;
            hosts.push(format!("{name}={}", address.trim_start_matches('[').trim_end_matches(']')));
        }
        if !hosts.is_empty() {
            set("add-hosts".into(), csv(&hosts));
        }
        if !self.ulimits.is_empty() {
            set("ulimit".into(), csv(&self.ulimits));
        }
        if self.shm_size > 0 {
            set("shm-size".into(), self.shm_size.to_string());
        }
        let mut entitlements = self.allow.clone();
        match self.network.as_str() {
            "" | "default" => {}
            "none" => set("force-network-mode".into(), "none".into()),
            "host" => {
                set("force-network-mode".into(), "host".into());
                entitlements.push("network.host".into());
            }
            other => {
                return Err(format!(
                    "network mode {} not supported by buildkit: it is default, none or host",
                    quote(other)
                ));
            }
        }
        let caches = |all: &[String]| all.iter().map(|text| cache(text)).collect::<Result<Vec<_>, _>>();
        let exporters =
            self.all_outputs()?.into_iter().map(|output| (output.kind, output.attributes)).collect();
        Ok(Ask {
            attributes,
            exporters,
            cache_from: caches(&self.cache_from)?,
            cache_to: caches(&self.cache_to)?,
            entitlements,
            ..Ask::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let read = |text: &str| output(text).map(|o| (o.kind, o.destination));
        assert_eq!(read("out"), Ok(("local".into(), Destination::Directory("out".into()))));
        assert_eq!(read("-"), Ok(("tar".into(), Destination::Stdout)));
        assert_eq!(read("type=oci,dest=a.tar"), Ok(("oci".into(), Destination::File("a.tar".into()))));
        assert_eq!(read("type=docker"), Ok(("image".into(), Destination::None)));
        assert_eq!(output("type=registry,ref=x").unwrap().attributes["push"], "true");
        assert!(read("type=local").is_err() && read("dest=x").is_err());
    }

    #[test]
    fn secrets_are_files_or_variables() {
        let read = |text: &str| secret(text).map(|s| (s.id, s.file, s.variable));
        assert_eq!(read("id=a,src=f"), Ok(("a".into(), Some("f".into()), None)));
        assert_eq!(read("id=a,env=V"), Ok(("a".into(), None, Some("V".into()))));
        assert_eq!(read("id=a,type=env"), Ok(("a".into(), None, Some("a".into()))));
        assert_eq!(
            read("id=surely-not-set"),
            Ok(("surely-not-set".into(), Some("surely-not-set".into()), None))
        );
        assert!(read("src=f").is_err() && read("id=a,x=y").is_err());
    }

    #[test]
    fn flags_become_a_frontends_attributes() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let wish = Wish {
            arguments: words(&["A=1", "SURELY_NOT_SET"]),
            labels: words(&["l=v"]),
            hosts: words(&["h:10.0.0.1", "six=[::1]"]),
            tags: words(&["x", "y:1"]),
            network: "host".into(),
            no_cache_filter: words(&["a", "b"]),
            annotations: words(&["index:k=v"]),
            ..Wish::default()
        };
        let ask = wish.ask().unwrap();
        let attribute = |key: &str| ask.attributes.get(key).map_or("-", String::as_str);
        assert_eq!(attribute("build-arg:A"), "1");
        assert_eq!(attribute("build-arg:SURELY_NOT_SET"), "-");
        assert_eq!(attribute("add-hosts"), "h=10.0.0.1,six=::1");
        assert_eq!(attribute("no-cache"), "a,b");
        assert_eq!(attribute("force-network-mode"), "host");
        assert_eq!(ask.entitlements, ["network.host"]);
        assert_eq!(ask.exporters[0].0, "image");
        assert_eq!(ask.exporters[0].1["name"], "x,y:1");
        assert_eq!(ask.exporters[0].1["annotation-index.k"], "v");
    }
}
