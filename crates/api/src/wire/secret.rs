//! Secrets and configs, and how a task names them.

use super::{Map, is_default, template::Driver, wire};
use crate::error::{ApiError, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use minke_cluster::control::secret::FileWish;
use minke_model::{
    ConfigId, SecretId,
    object::Meta,
    secret,
    service::{FileRef, FileTarget as Target},
};
use serde::Serialize;

wire! {
    /// `POST /secrets/create`, `POST /configs/create` and their updates.
    struct FileSpec {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        labels: Map,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        driver: Option<Driver>,
        #[serde(skip_serializing_if = "Option::is_none")]
        templating: Option<Driver>,
    }
}

wire! {
    /// A secret in a container.
    struct SecretReference {
        file: Option<FileTarget>,
        #[serde(rename = "SecretID")]
        secret_id: String,
        secret_name: String,
    }
}

wire! {
    /// A config in a container.
    struct ConfigReference {
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<FileTarget>,
        #[serde(skip_serializing_if = "Option::is_none")]
        runtime: Option<super::Empty>,
        #[serde(rename = "ConfigID")]
        config_id: String,
        config_name: String,
    }
}

wire! {
    /// A file in a container.
    struct FileTarget {
        name: String,
        #[serde(rename = "UID")]
        uid: String,
        #[serde(rename = "GID")]
        gid: String,
        mode: u32,
    }
}

/// An object's counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) index: u64,
}

/// A secret or config as inspect and list show it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct File {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    created_at: String,
    updated_at: String,
    spec: FileSpec,
}

/// `{"ID": …}`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Created {
    #[serde(rename = "ID")]
    pub(crate) id: String,
}

/// Bytes as Go's JSON has them. An illegal text is refused as Go refuses it.
pub(crate) fn decode_base64(text: &str, field: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD.decode(text).map_err(|e| {
        let at = match e {
            base64::DecodeError::InvalidByte(at, _) => at,
            _ => text.len(),
        };
        ApiError::invalid(format!(
            "invalid JSON: json: cannot unmarshal string into Go struct field {field} of type []uint8: illegal base64 data at input byte {at}"
        ))
    })
}

/// Back.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

impl FileSpec {
    /// As our control plane takes it.
    pub(crate) fn parse(self, what: &str) -> Result<FileWish> {
        if let Some(driver) = self.driver {
            let why = if driver.name.is_empty() {
                super::template::rpc_invalid("secret driver must have a name")
            } else {
                ApiError::unsupported(format!(
                    "secret drivers are not supported by this daemon: {}",
                    driver.name
                ))
            };
            return Err(why);
        }
        Ok(FileWish {
            name: self.name,
            labels: self.labels.0,
            templating: self.templating.map(|t| t.name).unwrap_or_default(),
            data: self
                .data
                .as_deref()
                .map(|text| decode_base64(text, &format!("{what}Spec.Data")))
                .transpose()?,
        })
    }
}

impl File {
    fn new(id: &str, meta: &Meta, name: &str, labels: &minke_model::Labels, templating: &str) -> Self {
        let templating = Driver { name: templating.to_owned(), options: Map::default() };
        Self {
            id: id.to_owned(),
            version: Version { index: meta.version },
            created_at: meta.created.to_string(),
            updated_at: meta.updated.to_string(),
            spec: FileSpec {
                name: name.to_owned(),
                labels: Map(labels.clone()),
                data: None,
                driver: None,
                templating: (!templating.name.is_empty()).then_some(templating),
            },
        }
    }
}

impl From<&secret::Secret> for File {
    /// Its data is never told.
    fn from(s: &secret::Secret) -> Self {
        Self::new(s.id.as_str(), &s.meta, &s.name, &s.labels, &s.templating)
    }
}

impl From<&secret::Config> for File {
    fn from(c: &secret::Config) -> Self {
        let mut file = Self::new(c.id.as_str(), &c.meta, &c.name, &c.labels, &c.templating);
        file.spec.data = Some(encode_base64(&c.data)).filter(|data| !data.is_empty());
        file
    }
}

impl FileTarget {
    fn parse(&self) -> Target {
        Target { path: self.name.clone(), uid: self.uid.clone(), gid: self.gid.clone(), mode: self.mode }
    }
}

impl From<&Target> for FileTarget {
    fn from(target: &Target) -> Self {
        Self {
            name: target.path.clone(),
            uid: target.uid.clone(),
            gid: target.gid.clone(),
            mode: target.mode,
        }
    }
}

impl SecretReference {
    /// As our model has it; an id that is none cannot be found.
    pub(crate) fn parse(&self) -> Result<FileRef<SecretId>> {
        if self.secret_id.is_empty() || self.secret_name.is_empty() {
            return Err(super::template::rpc_invalid("malformed secret reference"));
        }
        let Some(file) = &self.file else {
            return Err(super::template::rpc_invalid("malformed secret reference, no target provided"));
        };
        let id = SecretId::parse(&self.secret_id)
            .ok_or_else(|| super::template::rpc_invalid(format!("secret not found: {}", self.secret_name)))?;
        Ok(FileRef { id, name: self.secret_name.clone(), file: Some(file.parse()) })
    }
}

impl From<&FileRef<SecretId>> for SecretReference {
    fn from(model: &FileRef<SecretId>) -> Self {
        Self {
            file: model.file.as_ref().map(FileTarget::from),
            secret_id: model.id.as_str().to_owned(),
            secret_name: model.name.clone(),
        }
    }
}

impl ConfigReference {
    /// As our model has it.
    pub(crate) fn parse(&self) -> Result<FileRef<ConfigId>> {
        let invalid = |text: &str| ApiError::invalid(format!("invalid Config: {text}"));
        let file = match (&self.file, &self.runtime) {
            (None, None) => return Err(invalid("either File or Runtime should be set")),
            (Some(_), Some(_)) => return Err(invalid("cannot specify both File and Runtime")),
            (file, _) => file.as_ref().map(FileTarget::parse),
        };
        if self.config_id.is_empty() || self.config_name.is_empty() {
            return Err(super::template::rpc_invalid("malformed config reference"));
        }
        let id = ConfigId::parse(&self.config_id)
            .ok_or_else(|| super::template::rpc_invalid(format!("config not found: {}", self.config_name)))?;
        Ok(FileRef { id, name: self.config_name.clone(), file })
    }
}

impl From<&FileRef<ConfigId>> for ConfigReference {
    fn from(model: &FileRef<ConfigId>) -> Self {
        Self {
            file: model.file.as_ref().map(FileTarget::from),
            runtime: model.file.is_none().then_some(super::Empty {}),
            config_id: model.id.as_str().to_owned(),
            config_name: model.name.clone(),
        }
    }
}
