//! Lists under way: one directory for each below the configuration's `manifests`, one file for each image in it.
//!
//! Never: read by docker's own command line, whose files are of another form and lie beside.

use crate::cli::{Cli, Failure};
use minke_image::Reference;
use minke_image::registry::RemotePlatform;
use minke_image::registry::remote::Remote;
use minke_model::id::Digest;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// What a list is in a registry.
pub(super) const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A list that is being put together.
pub(super) struct List {
    pub(super) name: Reference,
    directory: PathBuf,
}

/// One image of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    /// As it was named by its user, with its domain.
    pub(super) asked: String,
    /// By its digest.
    name: String,
    pub(super) media_type: String,
    pub(super) digest: String,
    raw: String,
    blobs: Vec<String>,
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(default)]
    pub(super) os_version: String,
    #[serde(default)]
    pub(super) os_features: Vec<String>,
    #[serde(default)]
    pub(super) variant: String,
}

impl Part {
    pub(super) fn new(asked: &Reference, remote: &Remote) -> Result<Self, Failure> {
        if remote.list.is_some() {
            return Err(Failure::new(format!("{} is a manifest list", asked.full())));
        }
        let platform: RemotePlatform = remote.platform.clone().unwrap_or_default();
        let raw = String::from_utf8(remote.raw.clone())
            .map_err(|_| Failure::new(format!("the manifest of {} is no text", asked.full())))?;
        Ok(Self {
            asked: asked.full(),
            name: remote.name.full(),
            media_type: remote.media_type.clone(),
            digest: remote.digest.to_string(),
            raw,
            blobs: remote.blobs.iter().map(Digest::to_string).collect(),
            architecture: platform.architecture,
            os: platform.os,
            os_version: platform.os_version,
            os_features: platform.os_features,
            variant: platform.variant,
        })
    }

    /// As it was in its registry.
    pub(super) fn remote(&self) -> Result<Remote, Failure> {
        let damaged = || Failure::new(format!("what is kept of {} cannot be read", self.asked));
        let digest = |text: &String| Digest::parse(text).ok_or_else(damaged);
        Ok(Remote {
            name: Reference::parse(&self.name).map_err(|_| damaged())?,
            media_type: self.media_type.clone(),
            digest: digest(&self.digest)?,
            raw: self.raw.clone().into_bytes(),
            list: None,
            platform: None,
            blobs: self.blobs.iter().map(digest).collect::<Result<_, _>>()?,
        })
    }

    /// Its line in the list.
    pub(super) fn descriptor(&self) -> Descriptor<'_> {
        let platform = Platform {
            architecture: &self.architecture,
            os: &self.os,
            os_version: &self.os_version,
            os_features: &self.os_features,
            variant: &self.variant,
        };
        Descriptor { media_type: &self.media_type, size: self.raw.len(), digest: &self.digest, platform }
    }
}

/// A list as registries have it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Descriptor<'a>>,
}

/// One image of a list, as registries have it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor<'a> {
    media_type: &'a str,
    size: usize,
    digest: &'a str,
    platform: Platform<'a>,
}

#[derive(Serialize)]
struct Platform<'a> {
    architecture: &'a str,
    os: &'a str,
    #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
    os_version: &'a str,
    #[serde(rename = "os.features", skip_serializing_if = "<[String]>::is_empty")]
    os_features: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

impl List {
    /// The list of that name, whether it is there or not.
    pub(super) fn of(cli: &Cli, name: Reference) -> Self {
        let directory =
            cli.config().directory().join("manifests").join("minke").join(file_name(&name.full()));
        Self { name, directory }
    }

    pub(super) fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// All images of it, in the order of their names.
    pub(super) fn parts(&self) -> Result<Vec<Part>, Failure> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.directory)
            .map(|all| all.flatten().map(|f| f.path()).collect())
            .unwrap_or_default();
        files.sort();
        let read = |path: &PathBuf| -> Result<Part, Failure> {
            serde_json::from_slice(&fs::read(path)?)
                .map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))
        };
        files.iter().map(read).collect()
    }

    /// Adds an image, or puts a new state of it in the place of the old.
    pub(super) fn put(&self, part: &Part) -> Result<(), Failure> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(file_name(&part.asked));
        let fresh = path.with_extension("new");
        let json = serde_json::to_vec(part).map_err(|e| Failure::new(e.to_string()))?;
        fs::write(&fresh, json)?;
        Ok(fs::rename(&fresh, &path)?)
    }

    /// Forgets the list. Whether it was there.
    pub(super) fn forget(&self) -> Result<bool, Failure> {
        match fs::remove_dir_all(&self.directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// The list as a registry gets it, and what it is: OCI's if all of its images are, else Docker's.
    pub(super) fn document(&self) -> Result<(String, &'static str), Failure> {
        let parts = self.parts()?;
        let is_oci =
            !parts.is_empty() && parts.iter().all(|p| p.media_type.starts_with("application/vnd.oci."));
        let kind = if is_oci { INDEX } else { LIST };
        let manifests = parts.iter().map(Part::descriptor).collect();
        let document = Document { schema_version: 2, media_type: kind, manifests };
        Ok((indented(&document, "   ")?, kind))
    }
}

/// As JSON, in the order of its fields.
pub(super) fn indented(value: &impl Serialize, indent: &str) -> Result<String, Failure> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        .map_err(|e| Failure::new(e.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// A name that is one part of a path.
fn file_name(full: &str) -> String {
    full.replace('/', "_").replace(':', "-")
}
