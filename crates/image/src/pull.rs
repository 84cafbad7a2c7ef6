//! From a name in a registry to an image here: resolve, choose the platform, fetch, verify, unpack, register.
//!
//! Layers arrive several at once and are unpacked while they arrive; nothing is held whole but manifests and the
//! config. What is reported, and every sentence, is dockerd 28.5's. A pull that is dropped stops.
//!
//! Never: makes anything known before its digest was verified; gives a registry's word for a digest more weight
//! than the bytes.

mod layers;

use crate::{
    Images, Progress, Reference, Result,
    error::ImageError,
    gc,
    ingest::Registration,
    manifest::{ConfigOutline, Entry, ImageManifest, Manifest},
    platform::{self, Matcher},
    registry::{
        RegistryAuth, RegistryConfig, RegistryError,
        blob::BlobReader,
        client::Repository,
        error::{ApiError, Code},
        route::{Purpose, Route},
    },
    transfer::{self, blocking},
};
use bytes::Bytes;
use minke_model::{ImageId, id::Digest, image::Platform};
use sha2::{Digest as _, Sha256};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

pub(crate) use layers::Transfers;

/// The largest config, in bytes.
const MAX_CONFIG: u64 = 8 << 20;

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 4;

/// Manifests of one pull that are looked at before it is given up.
const MAX_MANIFESTS: usize = 64;

/// A step of a pull.
const VERIFYING: &str = "verifying a manifest";

/// What is to be pulled.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The name; without tag and digest it means `latest`, or (with `all_tags`) all of them.
    pub reference: Reference,
    /// For which platform; this machine's if `None`.
    pub platform: Option<Platform>,
    /// What the registry gets to see.
    pub auth: Option<RegistryAuth>,
    /// All tags of the repository.
    pub all_tags: bool,
}

/// What was pulled; with `all_tags` the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// Of the manifest or index that the name meant in the registry.
    pub digest: Digest,
    /// The name meant that image here already.
    pub up_to_date: bool,
}

impl Images {
    /// Pulls an image. Drop the future to stop: what had not arrived whole by then is gone.
    ///
    /// Errors: `Registry` for what the registry said or sent, and those of unpacking and storing.
    pub async fn pull(
        &self,
        request: PullRequest,
        registries: &RegistryConfig,
        progress: Arc<dyn Progress>,
    ) -> Result<Pulled> {
        let name = request.reference.repository();
        if name.familiar() == "scratch" {
            return Err(RegistryError::Reserved("scratch".into()).into());
        }
        let wanted = if request.all_tags { name.clone() } else { request.reference.clone().or_latest() };
        let mut route = Route::new(registries, &name, request.auth.as_ref(), Purpose::Pull).await;
        let mut last: ImageError = route.nowhere().into();
        while let Some(opened) = route.next().await {
            let (error, mirror) = match opened {
                Ok(repository) => {
                    let mirror = repository.endpoint().mirror;
                    let sweep = Arc::new(Sweep::new(self));
                    let (progress, request) = (&*progress, &request);
                    let pull = Pull { images: self, registries, repository, progress, request, sweep };
                    match pull.run(&wanted).await {
                        Ok(pulled) => return Ok(pulled),
                        Err(e) => (e, mirror),
                    }
                }
                // Another endpoint may be reached.
                Err(e) => (e.into(), true),
            };
            if !may_be_elsewhere(&error, mirror) {
                return Err(translate(error, &wanted));
            }
            tracing::info!(%error, "pull failed, trying the next endpoint");
            last = error;
        }
        Err(translate(last, &wanted))
    }
}

/// Whether another endpoint may do better. What a registry itself refuses is refused; a mirror may just not know.
fn may_be_elsewhere(error: &ImageError, mirror: bool) -> bool {
    // What is not a registry's is this machine's own trouble: a full disk.
    let ImageError::Registry(error) = error else { return false };
    match error.bare() {
        RegistryError::Api(_) | RegistryError::Config(_) => mirror,
        RegistryError::MediaType(_) | RegistryError::Register(_) => false,
        _ => true,
    }
}

/// The registry's refusal as one of this pull.
fn translate(error: ImageError, wanted: &Reference) -> ImageError {
    let ImageError::Registry(registrys) = &error else { return error };
    let RegistryError::Api(errors) = registrys.bare() else { return error };
    // An error that is a bare code goes through as it is, as in dockerd.
    let Some(cause) = errors.first().filter(|e| !e.message.is_empty()).cloned() else { return error };
    let name = wanted.familiar_name();
    let typed = |cause: ApiError| match cause.code {
        Code::Denied => Some(RegistryError::Denied { name, cause }),
        Code::ManifestUnknown => Some(RegistryError::ManifestUnknown { reference: wanted.familiar(), cause }),
        Code::NameUnknown => Some(RegistryError::NameUnknown { name, cause }),
        _ => None,
    };
    typed(cause).map_or(error, ImageError::Registry)
}

/// A pull from one endpoint.
struct Pull<'a> {
    images: &'a Images,
    registries: &'a RegistryConfig,
    repository: Repository,
    progress: &'a dyn Progress,
    request: &'a PullRequest,
    sweep: Arc<Sweep>,
}

/// Takes away what a pull that failed or was dropped leaves: layers that no image has. Its threads have it too, so
/// that it comes after the last of them.
#[derive(Debug)]
struct Sweep {
    images: Images,
    blobs: Mutex<Vec<Digest>>,
    done: AtomicBool,
}

impl Sweep {
    fn new(images: &Images) -> Self {
        Self { images: images.clone(), blobs: Mutex::default(), done: AtomicBool::new(false) }
    }

    /// These small blobs were kept on the way.
    fn blobs(&self, digests: &[&Digest]) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.extend(digests.iter().map(|digest| (*digest).clone()));
    }

    /// All that was fetched belongs to an image now.
    fn done(&self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        if self.done.load(Ordering::Relaxed) {
            return;
        }
        let images = self.images.clone();
        let blobs = std::mem::take(&mut *self.blobs.lock().unwrap_or_else(PoisonError::into_inner));
        let sweep = move || {
            if let Err(error) = gc::collect(&images.0, &blobs) {
                tracing::warn!(%error, "cannot remove what a pull left");
            }
        };
        // Dropping must not block a thread that serves others.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(sweep)),
            Err(_) => sweep(),
        }
    }
}

/// An image's manifest and how it was found.
struct Found {
    manifest: ImageManifest,
    raw: Bytes,
    /// An index said that it suits; then the config is not asked.
    by_index: bool,
}

impl Pull<'_> {
    /// Pulls one name, or all tags where it has none.
    async fn run(&self, wanted: &Reference) -> Result<Pulled> {
        let mut names = vec![wanted.clone()];
        if wanted.is_name_only() {
            let tags = self.repository.tags().await?;
            // A registry's tags are from outside: what is none is not asked for.
            names = tags.iter().filter_map(|tag| wanted.clone().with_tag(tag).ok()).collect();
        }
        let mut news = false;
        let mut last = None;
        for name in &names {
            let (pulled, warning) = self.one(name).await?;
            news |= !pulled.up_to_date;
            last = Some((pulled, warning));
        }
        self.sweep.done();
        let (pulled, warning) =
            last.ok_or_else(|| RegistryError::Manifest(format!("no tags found for {}", wanted.familiar())))?;
        let what = if news { "Downloaded newer image" } else { "Image is up to date" };
        self.say(None, format!("Status: {what} for {}", wanted.familiar()));
        if let Some(warning) = warning {
            self.say(None, format!("WARNING: {warning}"));
        }
        Ok(pulled)
    }

    /// Pulls one tag or digest. Also tells if the image is for another platform than was asked for.
    async fn one(&self, name: &Reference) -> Result<(Pulled, Option<String>)> {
        let (digest, top) = self.top(name).await?;
        let manifest = self.read(&top, name)?;
        let shown = match name.digest() {
            Some(_) => name.full(),
            None => name.tag().unwrap_or_default().to_owned(),
        };
        self.say(Some(&shown), format!("Pulling from {}", name.path()));
        let found = match manifest {
            Manifest::Image(manifest) => Found { manifest, raw: top.raw, by_index: false },
            Manifest::Index(entries) => {
                let found = self.choose(entries, name).await?;
                // Kept so that the next pull of the same need not fetch it.
                self.sweep.blobs(&[&digest]);
                let (images, raw, index) = (self.images.clone(), top.raw, digest.clone());
                blocking(move || images.keep_blob(&index, &raw)).await?;
                found
            }
        };
        let config = self.config(&found.manifest).await?;
        let outline =
            ConfigOutline::parse(&config).map_err(|e| self.at(e, "reading the image's configuration"))?;
        if found.manifest.layers.len() != outline.diff_ids.len() {
            return Err(self.at(RegistryError::LayersMismatch, "comparing manifest and configuration"));
        }
        let id = found.manifest.config.digest.clone();
        let warning = self.mismatch(&outline.platform, name).filter(|_| !found.by_index);
        let quiet = self.images.get(&id).is_ok();
        let layers = self.layers(&found.manifest, &outline, quiet).await?;
        self.say(None, format!("Digest: {digest}"));
        let by_digest = name.repository().with_digest(digest.clone());
        let named = match (name.digest(), name.tag()) {
            (None, Some(_)) => name.clone(),
            _ => by_digest.clone(),
        };
        let up_to_date = self.images.find_name(&named).as_ref() == Some(&id);
        let names = if named == by_digest { vec![by_digest] } else { vec![named, by_digest] };
        let (images, raw) = (self.images.clone(), found.raw);
        blocking(move || {
            let manifest = Some(&raw[..]);
            images.register(Registration { config: &config, layers, manifest, parent: None, names }).map(drop)
        })
        .await?;
        Ok((Pulled { id, digest, up_to_date }, warning))
    }

    /// The document that a name means, and its digest, which was verified.
    async fn top(&self, name: &Reference) -> Result<(Digest, Verified)> {
        let asked = match name.digest() {
            Some(digest) => digest.to_string(),
            None => name.tag().unwrap_or_default().to_owned(),
        };
        // HEAD costs nothing where pulls are counted; with its digest, what is here already need not come again.
        let said = self.repository.head(&asked).await?;
        match (name.digest().cloned(), said) {
            (Some(digest), Some(_)) => Ok((digest.clone(), self.document(&digest, true).await?)),
            (Some(digest), None) => Ok((digest.clone(), self.document(&digest, false).await?)),
            (None, Some(digest)) => Ok((digest.clone(), self.document(&digest, true).await?)),
            (None, None) => {
                let document = self.repository.manifest(&asked).await?;
                let digest = digest_of(&document.raw);
                if let Some(said) = document.digest.filter(|said| *said != digest) {
                    return Err(self.at(RegistryError::ManifestDigest(said), VERIFYING));
                }
                Ok((digest, Verified { raw: document.raw, content_type: document.content_type }))
            }
        }
    }

    fn read(&self, document: &Verified, name: &Reference) -> Result<Manifest> {
        let read = Manifest::parse(&document.raw, &document.content_type, &name.full());
        read.map_err(|e| self.at(e, "reading a manifest"))
    }

    /// The document with that digest: from here, if that is enough, or from the registry, verified.
    async fn document(&self, digest: &Digest, local: bool) -> Result<Verified> {
        if local && let Some(raw) = self.kept(digest).await? {
            return Ok(Verified { raw, content_type: String::new() });
        }
        let document = self.repository.manifest(digest.as_str()).await?;
        if digest_of(&document.raw) != *digest {
            return Err(self.at(RegistryError::ManifestDigest(digest.clone()), VERIFYING));
        }
        Ok(Verified { raw: document.raw, content_type: document.content_type })
    }

    /// A small blob that is here already. One that cannot be read, or is not small, is as good as none.
    async fn kept(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let (images, wanted) = (self.images.clone(), digest.clone());
        blocking(move || Ok(images.read_blob(&wanted).ok().flatten().map(Bytes::from))).await
    }

    /// The best image of an index for the platform that is asked for.
    async fn choose(&self, entries: Vec<Entry>, name: &Reference) -> Result<Found> {
        let platform = self.request.platform.as_ref();
        let matcher = Matcher::new(platform);
        let suiting = |entries: Vec<Entry>, depth: usize| {
            let by_platform = entries.into_iter().map(|entry| (entry.digest, entry.platform));
            let mut best: Vec<_> =
                matcher.choose(by_platform).into_iter().map(|digest| (digest, depth)).collect();
            best.reverse();
            best
        };
        let mut left = suiting(entries, 1);
        for _ in 0..MAX_MANIFESTS {
            let Some((digest, depth)) = left.pop() else { break };
            let document = self.document(&digest, true).await?;
            match self.read(&document, name)? {
                Manifest::Image(manifest) => {
                    return Ok(Found { manifest, raw: document.raw, by_index: true });
                }
                Manifest::Index(further) if depth < MAX_DEPTH => left.extend(suiting(further, depth + 1)),
                Manifest::Index(_) => {}
            }
        }
        let platform = platform.filter(|p| !p.os.is_empty()).cloned().unwrap_or_else(platform::host);
        Err(RegistryError::NoPlatform { platform: platform::format(&platform) }.into())
    }

    /// An image's config, verified: from here or from the registry.
    async fn config(&self, manifest: &ImageManifest) -> Result<Bytes> {
        if let Some(raw) = self.kept(&manifest.config.digest).await? {
            return Ok(raw);
        }
        let fetched = self.fetch_config(manifest).await;
        fetched.map_err(|e| self.at(RegistryError::Config(Box::new(e)), "fetching the image's configuration"))
    }

    async fn fetch_config(&self, manifest: &ImageManifest) -> std::result::Result<Bytes, RegistryError> {
        let config = &manifest.config;
        if config.size > MAX_CONFIG {
            return Err(RegistryError::Manifest(format!(
                "the image's configuration exceeds {MAX_CONFIG} bytes"
            )));
        }
        let attempts = self.registries.options().max_attempts;
        let mut reader = BlobReader::new(&self.repository, config.digest.clone(), config.size, attempts);
        let mut raw = Vec::new();
        loop {
            match reader.next(&|_| {}).await {
                Ok(Some(piece)) => raw.extend_from_slice(&piece),
                Ok(None) => break,
                Err(RegistryError::LayerDigest(digest)) => return Err(RegistryError::ConfigDigest(digest)),
                Err(cause) => {
                    let attempts = reader.attempts();
                    return Err(RegistryError::Attempts { attempts, cause: Box::new(cause) });
                }
            }
        }
        match digest_of(&raw) == config.digest {
            true => Ok(raw.into()),
            false => Err(RegistryError::ConfigDigest(config.digest.clone())),
        }
    }

    /// What is said where an image without an index is for another platform than was asked for.
    fn mismatch(&self, is: &Platform, name: &Reference) -> Option<String> {
        let wanted = self.request.platform.as_ref()?;
        (!platform::suits(wanted, is)).then(|| {
            format!(
                "image with reference {} was found but its platform ({}) does not match the specified platform ({})",
                name.familiar(),
                platform::format(is),
                platform::format(wanted)
            )
        })
    }

    fn say(&self, id: Option<&str>, status: String) {
        transfer::say(self.progress, id, status);
    }

    /// What happened, with the registry and the step that it happened in.
    fn at(&self, cause: RegistryError, step: impl Into<String>) -> ImageError {
        self.repository.at(step)(cause).into()
    }
}

/// Bytes that have the digest they were asked for by.
struct Verified {
    raw: Bytes,
    content_type: String,
}

fn digest_of(raw: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(raw))
}

#[cfg(test)]
mod tests;
