//! `GET /distribution/{name}/json`.

use minke_engine::registry::{Looked, RemotePlatform};
use serde::Serialize;

/// What a name means in its registry.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    descriptor: Descriptor,
    platforms: Option<Vec<Platform>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

#[derive(Debug, Serialize)]
struct Platform {
    architecture: String,
    os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
}

impl From<Looked> for Inspect {
    fn from(found: Looked) -> Self {
        let platforms: Vec<Platform> = found.platforms.into_iter().map(Platform::from).collect();
        let digest = found.digest.to_string();
        Self {
            descriptor: Descriptor { media_type: found.media_type, digest, size: found.size },
            platforms: (!platforms.is_empty()).then_some(platforms),
        }
    }
}

impl From<RemotePlatform> for Platform {
    fn from(p: RemotePlatform) -> Self {
        Self {
            architecture: p.architecture,
            os: p.os,
            os_version: p.os_version,
            os_features: p.os_features,
            variant: p.variant,
        }
    }
}
