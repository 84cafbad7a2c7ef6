//! Manifests and indexes as registries serve them: Docker's schema 2 and the OCI image spec's, read with care.
//!
//! Never: fetches; trusts a media type that the content contradicts (CVE-2021-41190).

use crate::registry::RegistryError;
use minke_model::{id::Digest, image::Platform};
use serde::Deserialize;

/// The most layers that an image has (overlayfs's limit is lower on most kernels; Docker's is 125).
const MAX_LAYERS: usize = 1024;

/// A manifest or an index.
#[derive(Clone, Debug)]
pub(crate) enum Manifest {
    /// One image.
    Image(ImageManifest),
    /// Images for several platforms, or further indexes, in the order given.
    Index(Vec<Entry>),
}

/// One image's parts.
#[derive(Clone, Debug)]
pub(crate) struct ImageManifest {
    /// Its config.
    pub(crate) config: Descriptor,
    /// From the bottom.
    pub(crate) layers: Vec<Descriptor>,
}

/// What an index says of one manifest.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Of the manifest.
    pub(crate) digest: Digest,
    /// `None` where the index does not say.
    pub(crate) platform: Option<Platform>,
}

/// What a manifest says of a blob.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    /// As given; perhaps empty.
    pub(crate) media_type: String,
    /// Of the bytes.
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
}

/// As it is written; absent and `null` are the same.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    fs_layers: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: Option<String>,
    digest: String,
    size: i64,
    #[serde(default)]
    platform: Option<RawPlatform>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
}

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What config types are taken for an image's, besides those that begin with `application/vnd.oci.image`: old
/// registries served them as whatever their storage thought.
const IMAGE_CONFIGS: [&str; 6] = [
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/octet-stream",
    "application/json",
    "text/html",
    "",
];

/// Docker's plugins.
const PLUGIN_CONFIG: &str = "application/vnd.docker.plugin.v1+json";

impl Manifest {
    /// Reads a document whose digest was verified. `content_type` is the registry's word for it, or empty;
    /// `reference` is named in the refusal of formats that are gone.
    pub(crate) fn parse(raw: &[u8], content_type: &str, reference: &str) -> Result<Self, RegistryError> {
        let wrong = |why: String| RegistryError::Manifest(why);
        let parsed: Raw =
            serde_json::from_slice(raw).map_err(|e| wrong(format!("cannot read the manifest: {e}")))?;
        let own = parsed.media_type.clone().unwrap_or_default();
        let own = own.as_str();
        let schema1 = content_type.starts_with("application/vnd.docker.distribution.manifest.v1");
        if schema1 || parsed.schema_version == Some(1) || (parsed.fs_layers.is_some() && own.is_empty()) {
            return Err(RegistryError::Schema1 { reference: reference.to_owned() });
        }
        let known = |kind: &str| [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX].contains(&kind);
        // Two names for one document would let two programs see two images in it.
        if known(own) && known(content_type) && own != content_type {
            return Err(wrong(format!(
                "if present, mediaType in manifest should be '{content_type}' not '{own}'"
            )));
        }
        let kind = match (own, content_type) {
            ("", served) if known(served) => served,
            ("", _) if parsed.manifests.is_some() => OCI_INDEX,
            ("", _) => OCI_MANIFEST,
            (own, _) => own,
        };
        let has_image = parsed.config.is_some() || parsed.layers.is_some() || parsed.fs_layers.is_some();
        match kind {
            DOCKER_MANIFEST | OCI_MANIFEST => {
                if parsed.manifests.is_some() || parsed.fs_layers.is_some() {
                    return Err(wrong(format!(
                        "media-type: {kind:?} should not have \"manifests\" or \"fsLayers\""
                    )));
                }
                image(parsed, kind == DOCKER_MANIFEST).map(Manifest::Image)
            }
            DOCKER_LIST | OCI_INDEX => {
                if has_image {
                    return Err(wrong(format!(
                        "media-type: {kind:?} should not have \"config\", \"layers\", or \"fsLayers\""
                    )));
                }
                let entries = parsed.manifests.unwrap_or_default();
                entries
                    .into_iter()
                    .filter(|e| !is_attestation(e))
                    .map(entry)
                    .collect::<Result<_, _>>()
                    .map(Manifest::Index)
            }
            _ => Err(wrong("unsupported manifest format".into())),
        }
    }
}

fn image(raw: Raw, docker: bool) -> Result<ImageManifest, RegistryError> {
    let config = raw.config.ok_or_else(|| RegistryError::Manifest("the manifest has no config".into()))?;
    let config = descriptor(config)?;
    if docker && !IMAGE_CONFIGS.contains(&config.media_type.as_str()) {
        let class = if config.media_type == PLUGIN_CONFIG { "plugin" } else { "unknown" };
        return Err(RegistryError::Class { media_type: config.media_type, class });
    }
    check_type(&config.media_type)?;
    let layers = raw.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(RegistryError::Manifest(format!("the manifest has more than {MAX_LAYERS} layers")));
    }
    let layers = layers.into_iter().map(descriptor).collect::<Result<Vec<_>, _>>()?;
    for layer in &layers {
        check_layer(&layer.media_type)?;
    }
    Ok(ImageManifest { config, layers })
}

fn entry(raw: RawDescriptor) -> Result<Entry, RegistryError> {
    let platform = raw.platform.as_ref().map(|p| Platform {
        os: p.os.clone().unwrap_or_default(),
        architecture: p.architecture.clone().unwrap_or_default(),
        variant: p.variant.clone().unwrap_or_default(),
    });
    let said = platform.filter(|p| *p != Platform::default());
    Ok(Entry { digest: descriptor(raw)?.digest, platform: said })
}

fn descriptor(raw: RawDescriptor) -> Result<Descriptor, RegistryError> {
    let digest = crate::reference::parse_digest(&raw.digest).map_err(|e| {
        RegistryError::Manifest(format!("could not validate layer digest {:?}: {e}", raw.digest))
    })?;
    let size = u64::try_from(raw.size)
        .map_err(|_| RegistryError::Manifest(format!("blob {digest} has a negative size")))?;
    Ok(Descriptor { media_type: raw.media_type.unwrap_or_default(), digest, size })
}

/// BuildKit's provenance and SBOMs lie beside the images of an index; no platform runs them.
fn is_attestation(raw: &RawDescriptor) -> bool {
    let kind = raw.annotations.as_ref().and_then(|a| a.get("vnd.docker.reference.type"));
    let unknown = raw.platform.as_ref().is_some_and(|p| p.os.as_deref() == Some("unknown"));
    kind.is_some_and(|kind| kind == "attestation-manifest") || unknown
}

/// Whether a media type is one of images: OCI artifacts and models are refused by name.
fn check_type(media_type: &str) -> Result<(), RegistryError> {
    let lower = media_type.to_ascii_lowercase();
    if lower.starts_with("application/vnd.docker.ai.") {
        return Err(RegistryError::AiModel);
    }
    let begins = |prefix: &str| {
        lower.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let old = ["application/octet-stream", "application/json", "text/html"];
    let known = begins("application/vnd.oci.image") || begins("application/vnd.docker");
    match known || old.iter().any(|old| begins(old)) || lower.is_empty() {
        true => Ok(()),
        false => Err(RegistryError::MediaType(media_type.to_owned())),
    }
}

/// Whether a layer's media type is one that is unpacked here.
fn check_layer(media_type: &str) -> Result<(), RegistryError> {
    check_type(media_type)?;
    let lower = media_type.to_ascii_lowercase();
    // Foreign layers lie at URLs that the manifest's author chooses, and are Windows's; encrypted ones need keys.
    let refused =
        lower.contains(".foreign.") || lower.contains(".nondistributable.") || lower.ends_with("+encrypted");
    if refused { Err(RegistryError::MediaType(media_type.to_owned())) } else { Ok(()) }
}

/// What a pull needs to know of an image's config.
#[derive(Clone, Debug)]
pub(crate) struct ConfigOutline {
    /// Which machines it runs on.
    pub(crate) platform: Platform,
    /// Of the uncompressed layers, from the bottom.
    pub(crate) diff_ids: Vec<Digest>,
}

impl ConfigOutline {
    /// Reads a config whose digest was verified.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, RegistryError> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            os: Option<String>,
            #[serde(default)]
            architecture: Option<String>,
            #[serde(default)]
            variant: Option<String>,
            #[serde(default)]
            rootfs: Option<RootFs>,
        }
        #[derive(Deserialize)]
        struct RootFs {
            #[serde(default)]
            diff_ids: Option<Vec<Digest>>,
        }
        let config: Config = serde_json::from_slice(raw)
            .map_err(|e| RegistryError::Manifest(format!("cannot read the image's configuration: {e}")))?;
        let diff_ids = config.rootfs.ok_or(RegistryError::RootFs)?.diff_ids.unwrap_or_default();
        let given = Option::unwrap_or_default;
        let platform = Platform {
            os: given(config.os),
            architecture: given(config.architecture),
            variant: given(config.variant),
        };
        if !platform.os.is_empty() && platform.os != "linux" {
            return Err(RegistryError::System);
        }
        Ok(Self { platform, diff_ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(json: &str, content_type: &str) -> Result<Manifest, String> {
        Manifest::parse(json.replace("SHA", SHA).as_bytes(), content_type, "docker.io/library/x:y")
            .map_err(|e| e.to_string())
    }

    fn image_with(config: &str, layer: &str) -> Result<Manifest, String> {
        parse(
            &format!(
                r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{{"mediaType":"{config}","digest":"SHA","size":1}},
                "layers":[{{"mediaType":"{layer}","digest":"SHA","size":2}}]}}"#
            ),
            DOCKER_MANIFEST,
        )
    }

    const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    const CONFIG: &str = "application/vnd.docker.container.image.v1+json";

    #[test]
    fn a_media_type_that_is_missing_is_told_by_the_content() {
        let image = r#"{"schemaVersion":2,"config":{"digest":"SHA","size":1},"layers":null}"#;
        for served in ["", "application/json", OCI_MANIFEST, DOCKER_MANIFEST] {
            assert!(matches!(parse(image, served), Ok(Manifest::Image(_))), "{served}");
        }
        let index = r#"{"schemaVersion":2,"manifests":[{"digest":"SHA","size":1}]}"#;
        assert!(matches!(parse(index, "text/plain"), Ok(Manifest::Index(entries)) if entries.len() == 1));
    }

    #[test]
    fn a_document_that_can_be_read_in_two_ways_is_refused() {
        let both = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"config":{{"digest":"SHA","size":1}},"layers":[]}}"#
        );
        assert!(parse(&both, "").unwrap_err().contains("should not have \"config\""));
        let other = both.replace(OCI_INDEX, OCI_MANIFEST);
        assert!(parse(&other, "").unwrap_err().contains("should not have \"manifests\""));
        let lie = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
        assert!(parse(&lie, DOCKER_MANIFEST).unwrap_err().contains("mediaType in manifest should be"));
    }

    #[test]
    fn schema_1_is_refused_in_dockers_words() {
        let error = parse(r#"{"schemaVersion":1,"fsLayers":[]}"#, "application/json").unwrap_err();
        assert!(error.starts_with("Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of docker.io/library/x:y to upgrade"), "{error}");
        let served = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        assert_eq!(parse("{}", served).unwrap_err(), error);
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        assert!(matches!(image_with(CONFIG, LAYER), Ok(Manifest::Image(_))));
        assert!(matches!(image_with("text/html", ""), Ok(Manifest::Image(_))));
        for (config, layer, why) in [
            (
                PLUGIN_CONFIG,
                LAYER,
                "Encountered remote \"application/vnd.docker.plugin.v1+json\"(plugin) when fetching",
            ),
            (
                CONFIG,
                "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                "unsupported media type application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            ),
            (
                CONFIG,
                "application/vnd.oci.images_are_fun",
                "unsupported media type application/vnd.oci.images_are_fun",
            ),
            (
                CONFIG,
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "unsupported media type application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            ),
            (
                CONFIG,
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                "unsupported media type application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            ),
        ] {
            assert_eq!(image_with(config, layer).unwrap_err(), why);
        }
        let model = parse(
            r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.docker.ai.model.config.v0.1+json","digest":"SHA","size":1},"layers":[]}"#,
            "",
        );
        assert!(model.unwrap_err().starts_with("AI models are not yet supported"));
    }

    #[test]
    fn damaged_documents_are_refused() {
        for json in [
            "",
            "[]",
            "{\"config\":{\"digest\":\"x\",\"size\":1}}",
            "{\"config\":{\"digest\":\"SHA\",\"size\":-1}}",
            "{\"config\":null}",
        ] {
            assert!(parse(json, "").is_err(), "{json}");
        }
    }

    #[test]
    fn attestations_are_passed_over() {
        let index = r#"{"schemaVersion":2,"manifests":[
            {"digest":"SHA","size":1,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}},
            {"digest":"SHA","size":1,"platform":{"os":"unknown","architecture":"unknown"}},
            {"digest":"SHA","size":1,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}}]}"#;
        let Ok(Manifest::Index(entries)) = parse(index, "") else { panic!("no index") };
        assert_eq!(entries.len(), 1);
        assert_eq!(
            entries[0].platform.as_ref().map(crate::platform::format).as_deref(),
            Some("linux/arm64/v8")
        );
    }
}
