//! What a name means in a registry, without pulling it: `GET /distribution/{name}/json`.
//!
//! Never: believes a digest that the bytes do not have.

use super::{
    RegistryAuth, RegistryConfig, RegistryError,
    blob::BlobReader,
    client::{Document, Repository},
    remote::Remote,
    route::{Purpose, Route},
};
use crate::{Reference, manifest::Manifest};
use minke_model::id::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The largest config that is read for its platform, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
/// Docker's own manifest: the one kind whose config is asked for its platform.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A document in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Of the manifest or index.
    pub media_type: String,
    /// Of the manifest or index; verified.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// For which platforms there is something; empty where the registry does not say.
    pub platforms: Vec<RemotePlatform>,
}

/// A platform in a registry's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RemotePlatform {
    /// `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// Of Windows.
    #[serde(default, rename = "os.version")]
    pub os_version: String,
    /// Of Windows.
    #[serde(default, rename = "os.features")]
    pub os_features: Vec<String>,
    /// `v7`.
    #[serde(default)]
    pub variant: String,
}

/// Asks the registry of `reference` (without tag and digest it means `latest`), mirrors first, what it is there.
pub async fn lookup(
    reference: &Reference,
    auth: Option<&RegistryAuth>,
    config: &RegistryConfig,
) -> Result<Looked, RegistryError> {
    if reference.familiar_name() == "scratch" {
        return Err(RegistryError::Reserved("scratch".into()));
    }
    let wanted = reference.clone().or_latest();
    let mut route = Route::new(config, &wanted, auth, Purpose::Pull).await;
    let mut last = route.nowhere();
    // What a registry says outweighs that another one cannot be reached.
    let mut answered = false;
    while let Some(opened) = route.next().await {
        match opened {
            Ok(repository) => match look(&repository, &wanted, config).await {
                Ok(looked) => return Ok(looked),
                Err(e) => (last, answered) = (e, true),
            },
            Err(e) if !answered => last = e,
            Err(_) => {}
        }
    }
    Err(last)
}

async fn look(
    repository: &Repository,
    wanted: &Reference,
    config: &RegistryConfig,
) -> Result<Looked, RegistryError> {
    let (document, digest) = document(repository, wanted).await?;
    let media_type = media_type(&document);
    let platforms = match Manifest::parse(&document.raw, &document.content_type, &wanted.full())? {
        Manifest::Index(_) => entries(&document.raw).into_iter().map(|(_, platform)| platform).collect(),
        Manifest::Image(image) if media_type == DOCKER_MANIFEST => {
            let (of, size) = (image.config.digest, image.config.size);
            let attempts = config.options().max_attempts;
            platform_of(BlobReader::new(repository, of, size.min(MAX_CONFIG), attempts)).await
        }
        Manifest::Image(_) => Vec::new(),
    };
    Ok(Looked { media_type, digest, size: document.raw.len() as u64, platforms })
}

/// The document that a name means, and its digest, verified.
async fn document(repository: &Repository, wanted: &Reference) -> Result<(Document, Digest), RegistryError> {
    let asked = match wanted.digest() {
        Some(digest) => digest.as_str(),
        None => wanted.tag().unwrap_or_default(),
    };
    let document = repository.manifest(asked).await?;
    let digest = Digest::from_sha256(&Sha256::digest(&document.raw));
    if let Some(said) = wanted.digest().or(document.digest.as_ref()).filter(|said| **said != digest) {
        return Err(repository.at("verifying a manifest")(RegistryError::ManifestDigest(said.clone())));
    }
    Ok((document, digest))
}

/// As [`look`], with all that the document says.
pub(super) async fn look_closely(
    repository: &Repository,
    wanted: &Reference,
    config: &RegistryConfig,
) -> Result<Remote, RegistryError> {
    let (document, digest) = document(repository, wanted).await?;
    let media_type = media_type(&document);
    let name = wanted.repository().with_digest(digest.clone());
    let (list, platform, blobs) =
        match Manifest::parse(&document.raw, &document.content_type, &wanted.full())? {
            Manifest::Index(_) => (Some(entries(&document.raw)), None, Vec::new()),
            Manifest::Image(image) => {
                let (of, size) = (image.config.digest.clone(), image.config.size.min(MAX_CONFIG));
                let reader = BlobReader::new(repository, of, size, config.options().max_attempts);
                let platform = platform_of(reader).await.pop();
                let layers = image.layers.into_iter().map(|layer| layer.digest);
                (None, platform, std::iter::once(image.config.digest).chain(layers).collect())
            }
        };
    Ok(Remote { name, media_type, digest, raw: document.raw.to_vec(), list, platform, blobs })
}

/// The parts of an index, with what each is for.
fn entries(raw: &[u8]) -> Vec<(Digest, RemotePlatform)> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        digest: Digest,
        #[serde(default)]
        platform: Option<RemotePlatform>,
    }
    let entries = serde_json::from_slice::<Index>(raw).map(|index| index.manifests).unwrap_or_default();
    entries.into_iter().map(|entry| (entry.digest, entry.platform.unwrap_or_default())).collect()
}

/// Its own word before the registry's.
fn media_type(document: &Document) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        #[serde(default)]
        media_type: String,
    }
    let own = serde_json::from_slice::<Own>(&document.raw).map(|own| own.media_type).unwrap_or_default();
    if own.is_empty() { document.content_type.clone() } else { own }
}

/// What a config says it is for. One that cannot be read says nothing: the rest is known all the same.
async fn platform_of(mut config: BlobReader<'_>) -> Vec<RemotePlatform> {
    let mut raw = Vec::new();
    loop {
        match config.next(&|_| {}).await {
            Ok(Some(piece)) => raw.extend_from_slice(&piece),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "cannot read an image's config in its registry");
                return Vec::new();
            }
        }
    }
    let said = serde_json::from_slice::<RemotePlatform>(&raw).ok();
    said.filter(|p| !p.os.is_empty() || !p.architecture.is_empty()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Code, RegistryOptions, fake::Fake};

    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    async fn looked(fake: &Fake, name: &str) -> Result<Looked, RegistryError> {
        let config = RegistryConfig::new(RegistryOptions::default()).unwrap();
        let reference = Reference::parse(&format!("{}/{name}", fake.host())).unwrap();
        lookup(&reference, None, &config).await
    }

    #[tokio::test]
    async fn an_image_is_for_the_platform_of_its_config() {
        let fake = Fake::start().await;
        let raw = r#"{"architecture":"arm","os":"linux","variant":"v7","rootfs":{}}"#;
        let config = fake.blob(raw);
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","layers":[],"config":{{"size":{},"digest":"{config}"}}}}"#,
            raw.len()
        );
        let digest = fake.manifest("app", "latest", DOCKER_MANIFEST, body.clone());
        let got = looked(&fake, "app").await.unwrap();
        let platform = RemotePlatform {
            architecture: "arm".into(),
            os: "linux".into(),
            variant: "v7".into(),
            ..RemotePlatform::default()
        };
        let (media_type, size) = (DOCKER_MANIFEST.to_owned(), body.len() as u64);
        assert_eq!(got, Looked { media_type, digest, size, platforms: vec![platform] });
        fake.lose(&config);
        assert!(looked(&fake, "app").await.unwrap().platforms.is_empty(), "the rest is known all the same");
    }

    #[tokio::test]
    async fn an_index_tells_all_its_platforms() {
        let fake = Fake::start().await;
        let entry = |os: &str| {
            let of = crate::registry::fake::sha(os.as_bytes());
            format!(
                r#"{{"digest":"{of}","size":1,"platform":{{"architecture":"amd64","os":"{os}","os.version":"7"}}}}"#
            )
        };
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[{},{}]}}"#,
            entry("linux"),
            entry("windows")
        );
        let digest = fake.manifest("app", "v1", LIST, body);
        let got = looked(&fake, &format!("app@{digest}")).await.unwrap();
        let told: Vec<_> = got.platforms.iter().map(|p| (p.os.as_str(), p.os_version.as_str())).collect();
        assert_eq!((got.media_type.as_str(), told), (LIST, vec![("linux", "7"), ("windows", "7")]));
    }

    #[tokio::test]
    async fn what_is_not_there_is_unknown() {
        let fake = Fake::start().await;
        let error = looked(&fake, "app:none").await.unwrap_err();
        assert_eq!(error.api().map(|e| e.code), Some(Code::ManifestUnknown), "{error}");
    }
}
