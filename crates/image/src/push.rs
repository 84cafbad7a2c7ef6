//! From an image here to a name in a registry: layers that the registry has are skipped, those of a neighbouring
//! repository mounted, the rest sent; then the manifest.
//!
//! An image that came with a manifest whose blobs can all be had goes on under the same digest. Others get a schema 2
//! manifest with gzipped layers, as dockerd's. The blob that a layer makes is remembered beside it, so that the next
//! push need not compress it to know that the registry has it.
//!
//! Never: holds a layer whole in memory; sends anything before the registry was asked for it.

use crate::{
    Image, Images, Progress, ProgressEvent, Reference, Result, config,
    error::ImageError,
    gzip::Gzip,
    layer::LayerLease,
    manifest::{Descriptor, Manifest},
    platform,
    registry::{
        RegistryAuth, RegistryConfig,
        client::{Body, Repository},
        route::{Purpose, Route},
        upload::{Begun, Mount},
    },
    transfer::{self, REPORT_EVERY, blocking, retrying},
    whereabouts::{self, Whereabouts},
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use minke_model::{ImageId, id::Digest, image::Platform};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Semaphore, mpsc};

const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A piece of a blob on its way.
const PIECE: usize = 256 << 10;
/// Pieces between the disk and the network.
const QUEUE: usize = 4;

/// What is to be pushed.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The name. Without a tag it means all tags of the repository that are here.
    pub reference: Reference,
    /// What the registry gets to see.
    pub auth: Option<RegistryAuth>,
}

/// A tag that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub tag: String,
    /// Of the manifest.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

/// A layer's blob, ready to be sent.
struct Blob {
    descriptor: Descriptor,
    source: Source,
}

/// Where a blob's bytes are.
enum Source {
    /// Kept as it was received, or made a moment ago.
    File(Arc<File>),
    /// In the registry already.
    There,
}

impl Images {
    /// Pushes a tag, or all tags of a repository. Drop the future to stop.
    ///
    /// Errors: `NothingToPush` or `NoSuchTag` when nothing here has that name; `Registry` for what the registry said.
    pub async fn push(
        &self,
        request: PushRequest,
        registries: &RegistryConfig,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<Pushed>> {
        let repository = request.reference.repository();
        // Before anything can be wrong with the names, as dockerd.
        transfer::say(&*progress, None, format!("The push refers to repository [{}]", repository.full()));
        let names = self.names_to_push(&request.reference)?;
        let push = self.push_to(&repository, request.auth.as_ref(), registries, &*progress).await?;
        let mut pushed = Vec::new();
        for name in &names {
            pushed.push(push.one(name).await?);
        }
        Ok(pushed)
    }

    /// Pushes images of several platforms as one: what the name means is a list of them. Drop the future to stop.
    ///
    /// Errors: as [`Images::push`]; `NoSuchImage` when one of them is not here.
    pub async fn push_list(
        &self,
        request: PushRequest,
        list: &[ImageId],
        registries: &RegistryConfig,
        progress: Arc<dyn Progress>,
    ) -> Result<Pushed> {
        let repository = request.reference.repository();
        let push = self.push_to(&repository, request.auth.as_ref(), registries, &*progress).await?;
        push.list(&request.reference.or_latest(), list).await
    }

    /// The first endpoint of a repository that answers.
    async fn push_to<'a>(
        &'a self,
        repository: &Reference,
        auth: Option<&RegistryAuth>,
        registries: &RegistryConfig,
        progress: &'a dyn Progress,
    ) -> Result<Push<'a>> {
        let mut route = Route::new(registries, repository, auth, Purpose::Push).await;
        let mut last: ImageError = route.nowhere().into();
        while let Some(opened) = route.next().await {
            match opened {
                Ok(there) => {
                    let at_once = registries.options().max_uploads;
                    let processors = std::thread::available_parallelism().map_or(1, usize::from);
                    let compressing = Semaphore::new(processors);
                    return Ok(Push { images: self, there, at_once, compressing, progress });
                }
                Err(e) => last = e.into(),
            }
        }
        Err(last)
    }

    fn names_to_push(&self, reference: &Reference) -> Result<Vec<Reference>> {
        let repository = reference.repository();
        let state = self.0.state();
        let tags = state.names.names.keys().filter(|n| n.tag().is_some() && n.digest().is_none());
        let names: Vec<Reference> = tags.filter(|n| n.repository() == repository).cloned().collect();
        if names.is_empty() {
            return Err(ImageError::NothingToPush { repository: repository.familiar_name() });
        }
        match reference.tag() {
            None => Ok(names),
            Some(_) if names.contains(reference) => Ok(vec![reference.clone()]),
            Some(_) => Err(ImageError::NoSuchTag { reference: reference.familiar() }),
        }
    }
}

/// A push to one endpoint.
struct Push<'a> {
    images: &'a Images,
    there: Repository,
    /// Layers that are sent at once.
    at_once: usize,
    /// As many layers are compressed at once as there are processors: one is sent while the next is compressed.
    compressing: Semaphore,
    progress: &'a dyn Progress,
}

impl Push<'_> {
    /// Pushes one tag.
    async fn one(&self, name: &Reference) -> Result<Pushed> {
        let id = self.images.resolve(&name.full())?;
        let whole = self.image(&id).await?;
        self.put(name, whole, &id).await
    }

    /// Pushes images of several platforms under one tag.
    async fn list(&self, name: &Reference, list: &[ImageId]) -> Result<Pushed> {
        let mut parts = Vec::new();
        for id in list {
            let platform = self.images.get(id)?.config.platform();
            let whole = self.image(id).await?;
            self.there
                .put_manifest(config::digest(&whole.raw).as_str(), &whole.media_type, &whole.raw)
                .await?;
            parts.push((whole, platform));
        }
        let whole = list_of(&parts)?;
        let id = self.images.resolve(&name.full()).ok().or(list.first().cloned());
        let id = id.ok_or_else(|| ImageError::NothingToPush { repository: name.familiar_name() })?;
        self.put(name, whole, &id).await
    }

    /// Puts a manifest under a tag; `id` is known by its digest from now on, as after a pull.
    async fn put(&self, name: &Reference, whole: Whole, id: &ImageId) -> Result<Pushed> {
        let Whole { media_type, raw } = whole;
        let tag = name.tag().unwrap_or_default().to_owned();
        self.there.put_manifest(&tag, &media_type, &raw).await?;
        let (digest, size) = (config::digest(&raw), raw.len() as u64);
        transfer::say(self.progress, None, format!("{tag}: digest: {digest} size: {size}"));
        let (images, named) = (self.images.clone(), name.repository().with_digest(digest.clone()));
        let (kept, of) = (digest.clone(), id.clone());
        blocking(move || images.keep_blob(&kept, &raw).and_then(|()| images.tag(&of, &named))).await?;
        Ok(Pushed { tag, digest, size })
    }

    /// Sees to it that the registry has all that an image's manifest names; the manifest.
    async fn image(&self, id: &ImageId) -> Result<Whole> {
        let image = self.images.get(id)?;
        let layers = self.images.0.state().layers_of(&image)?;
        let (images, of) = (self.images.clone(), image.clone());
        let original = blocking(move || original(&images, &of)).await?;
        for layer in layers.iter().rev() {
            self.tell(layer, "Preparing", None);
        }
        let sent = self.layers(&layers, original.as_ref()).await?;
        let (original, sent) = match sent {
            Some(sent) => (original, sent),
            None => (None, self.layers(&layers, None).await?.unwrap_or_default()),
        };
        self.config(&image).await?;
        let (media_type, raw) = match original {
            Some(original) => (original.media_type, original.raw),
            None => {
                (SCHEMA2.to_owned(), schema2(&image, layers.iter().filter_map(|l| sent.get(l.diff_id())))?)
            }
        };
        Ok(Whole { media_type, raw })
    }

    /// Sees to it that the registry has all layers, as the blobs of `original` where it is given. Each one's blob, by
    /// its diff id; `None` when one of the original's blobs is nowhere to be had.
    async fn layers(
        &self,
        layers: &[LayerLease],
        original: Option<&Original>,
    ) -> Result<Option<HashMap<Digest, Descriptor>>> {
        // From the top, as dockerd; one that an image has twice is sent once.
        let mut wanted: Vec<(&LayerLease, Option<Descriptor>)> = Vec::new();
        for (n, layer) in layers.iter().enumerate().rev() {
            if !wanted.iter().any(|(known, _)| known.diff_id() == layer.diff_id()) {
                wanted.push((layer, original.map(|original| original.layers[n].clone())));
            }
        }
        for (layer, _) in wanted.iter().skip(self.at_once) {
            self.tell(layer, "Waiting", None);
        }
        // Boxed and collected first: with closures in it, callers could not prove that the future is `Send`.
        let sends: Vec<BoxFuture<'_, Result<Option<(Digest, Descriptor)>>>> = wanted
            .into_iter()
            .map(|(layer, wanted)| Box::pin(self.layer(layer, wanted)) as BoxFuture<'_, _>)
            .collect();
        let sent: Vec<_> = stream::iter(sends).buffer_unordered(self.at_once).try_collect().await?;
        Ok(sent.into_iter().collect())
    }

    /// Sees to it that the registry has a layer. `wanted` is the blob that it must be; `None` when that cannot be had.
    async fn layer(
        &self,
        layer: &LayerLease,
        wanted: Option<Descriptor>,
    ) -> Result<Option<(Digest, Descriptor)>> {
        let (host, path) = (&self.there.endpoint().host, self.there.path());
        let done = |blob: Descriptor| {
            whereabouts::note(layer, &blob, host, path);
            Ok(Some((layer.diff_id().clone(), blob)))
        };
        let seen = Whereabouts::read(layer);
        let known = wanted.clone().or_else(|| {
            let known =
                seen.as_ref().filter(|known| known.media_type.is_empty() || is_gzip(&known.media_type))?;
            Some(Descriptor { media_type: LAYER.into(), digest: known.digest.clone(), size: known.size })
        });
        let mut begun = Begun::Refused;
        if let Some(known) = known {
            if self.there.has_blob(&known.digest).await? {
                self.tell(layer, "Layer already exists", None);
                return done(known);
            }
            let seen = seen.as_ref().filter(|seen| seen.digest == known.digest);
            if let Some(from) = seen.and_then(|seen| seen.neighbours(host, path).next()) {
                begun = self.there.mount(Mount { digest: &known.digest, from }).await;
                if matches!(begun, Begun::Mounted) {
                    self.tell(layer, &format!("Mounted from {from}"), None);
                    return done(known);
                }
            }
        }
        let blob = self.blob(layer, wanted.clone()).await?;
        if wanted.as_ref().is_some_and(|wanted| wanted.digest != blob.descriptor.digest) {
            return Ok(None);
        }
        // The original's media type, where there is one.
        let blob = Blob { descriptor: wanted.unwrap_or(blob.descriptor), ..blob };
        match &blob.source {
            Source::File(file) => self.send(layer, &blob.descriptor, begun, file).await?,
            Source::There => self.tell(layer, "Layer already exists", None),
        }
        done(blob.descriptor)
    }

    /// A layer's blob: as it is kept, or compressed now.
    async fn blob(&self, layer: &LayerLease, wanted: Option<Descriptor>) -> Result<Blob> {
        let kept = wanted.or_else(|| {
            let kept = layer.0.record.blobs.iter().find(|blob| is_gzip(&blob.media_type))?;
            Some(Descriptor { media_type: LAYER.into(), digest: kept.digest.clone(), size: kept.size })
        });
        if let Some(descriptor) = kept
            && let Some((file, _)) = self.images.0.content.open_blob(&descriptor.digest)?
        {
            return Ok(Blob { descriptor, source: Source::File(Arc::new(file)) });
        }
        // Never closed; the permit is held until the bytes are there.
        let permit = self.compressing.acquire().await.ok();
        let (images, layer) = (self.images.clone(), layer.clone());
        let (file, digest, size) = blocking(move || compress(&images, &layer)).await?;
        drop(permit);
        let descriptor = Descriptor { media_type: LAYER.into(), digest, size };
        // Compressing is always the same: what came out may be there under this name.
        if self.there.has_blob(&descriptor.digest).await? {
            return Ok(Blob { descriptor, source: Source::There });
        }
        Ok(Blob { descriptor, source: Source::File(Arc::new(file)) })
    }

    async fn send(
        &self,
        layer: &LayerLease,
        descriptor: &Descriptor,
        begun: Begun,
        file: &Arc<File>,
    ) -> Result<()> {
        let sent = Arc::new(AtomicU64::new(0));
        let total = descriptor.size;
        let body = || {
            sent.store(0, Ordering::Relaxed);
            file_body(file.clone(), total, sent.clone())
        };
        let waits = |pause| self.tell(layer, &retrying(pause), None);
        let sending = self.there.upload(&descriptor.digest, total, begun, body, &waits);
        tokio::pin!(sending);
        self.tell(layer, "Pushing", Some((0, total)));
        let mut tick = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                done = &mut sending => {
                    done?;
                    self.tell(layer, "Pushed", None);
                    return Ok(());
                }
                _ = tick.tick() => {
                    self.tell(layer, "Pushing", Some((sent.load(Ordering::Relaxed).min(total), total)));
                }
            }
        }
    }

    /// Sees to it that the registry has the image's configuration.
    async fn config(&self, image: &Image) -> Result<()> {
        if self.there.has_blob(&image.id).await? {
            return Ok(());
        }
        let raw = Bytes::copy_from_slice(&image.config.raw);
        let body = || http_body_util::Full::new(raw.clone()).map_err(|never| match never {}).boxed_unsync();
        Ok(self.there.upload(&image.id, raw.len() as u64, Begun::Refused, body, &|_| {}).await?)
    }

    fn tell(&self, layer: &LayerLease, status: &str, bytes: Option<(u64, u64)>) {
        self.progress.report(ProgressEvent {
            id: Some(layer.diff_id().short().to_owned()),
            status: status.to_owned(),
            current: bytes.map(|(current, _)| current),
            total: bytes.map(|(_, total)| total),
        });
    }
}

/// A manifest or a list, ready to be put.
struct Whole {
    media_type: String,
    raw: Vec<u8>,
}

/// The manifest that an image came by.
struct Original {
    /// From the bottom.
    layers: Vec<Descriptor>,
    media_type: String,
    /// Byte for byte.
    raw: Vec<u8>,
}

/// The manifest that the image came by, if it is kept.
fn original(images: &Images, image: &Image) -> Result<Option<Original>> {
    let Some(digest) = &image.manifest else { return Ok(None) };
    let Some(raw) = images.read_blob(digest)? else { return Ok(None) };
    let Ok(Manifest::Image(manifest)) = Manifest::parse(&raw, "", "") else { return Ok(None) };
    if manifest.layers.len() != image.config.diff_ids.len() {
        return Ok(None);
    }
    Ok(Some(Original { layers: manifest.layers, media_type: media_type_of(&raw), raw }))
}

/// Whether a layer's media type is that of a gzipped tar: Docker's or OCI's.
fn is_gzip(media_type: &str) -> bool {
    media_type.ends_with("gzip")
}

/// What the manifest says that it is; schema 2 when it says nothing.
fn media_type_of(raw: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        media_type: Option<String>,
    }
    let said = serde_json::from_slice::<Head>(raw).ok().and_then(|h| h.media_type);
    said.unwrap_or_else(|| "application/vnd.oci.image.manifest.v1+json".into())
}

/// A schema 2 manifest, indented as dockerd writes it.
fn schema2<'a>(image: &Image, layers: impl Iterator<Item = &'a Descriptor>) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Part<'a> {
        media_type: &'a str,
        size: u64,
        digest: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        schema_version: u32,
        media_type: &'a str,
        config: Part<'a>,
        layers: Vec<Part<'a>>,
    }
    let whole = Whole {
        schema_version: 2,
        media_type: SCHEMA2,
        config: Part { media_type: CONFIG, size: image.config.raw.len() as u64, digest: image.id.as_str() },
        layers: layers
            .map(|layer| Part { media_type: LAYER, size: layer.size, digest: layer.digest.as_str() })
            .collect(),
    };
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    let written = whole.serialize(&mut serializer);
    written.map_err(|e| ImageError::Archive { detail: e.to_string() })?;
    Ok(out)
}

/// A list of manifests, each for its platform: Docker's, or OCI's where one of them is OCI's.
fn list_of(parts: &[(Whole, Platform)]) -> Result<Whole> {
    let is_oci = parts.iter().any(|(part, _)| part.media_type != SCHEMA2);
    let media_type = if is_oci { INDEX } else { LIST };
    let manifests: Vec<serde_json::Value> = parts
        .iter()
        .map(|(part, of)| {
            let of = platform::normalize(of);
            let mut platform = serde_json::json!({ "architecture": of.architecture, "os": of.os });
            if !of.variant.is_empty() {
                platform["variant"] = of.variant.into();
            }
            serde_json::json!({
                "mediaType": part.media_type,
                "digest": config::digest(&part.raw),
                "size": part.raw.len(),
                "platform": platform,
            })
        })
        .collect();
    let list = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
    let raw = serde_json::to_vec_pretty(&list).map_err(|e| ImageError::Archive { detail: e.to_string() })?;
    Ok(Whole { media_type: media_type.into(), raw })
}

/// A layer's tar, gzipped, in a file that has no name: digest and length with it. The same bytes every time.
fn compress(images: &Images, layer: &LayerLease) -> Result<(File, Digest, u64)> {
    let path = images.0.ingest_dir();
    let failed = |e: io::Error| ImageError::io("write", &path, e);
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    let out = Hashing { out: BufWriter::with_capacity(PIECE, file), hash: Sha256::new(), size: 0 };
    let mut gzip = Gzip::new(out);
    layer.write_tar(&mut gzip)?;
    let out = gzip.finish().map_err(failed)?;
    let (digest, size) = (Digest::from_sha256(&out.hash.finalize()), out.size);
    let file = out.out.into_inner().map_err(|e| failed(e.into_error()))?;
    Ok((file, digest, size))
}

/// Hashes what goes through.
struct Hashing<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file as a body, read by a thread of its own, never far ahead of the network.
fn file_body(file: Arc<File>, size: u64, sent: Arc<AtomicU64>) -> Body {
    use std::os::unix::fs::FileExt;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut at = 0;
        while at < size {
            let mut piece = vec![0; PIECE.min((size - at) as usize)];
            let read = file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece));
            at += PIECE as u64;
            let failed = read.is_err();
            // The request is over when nobody takes it.
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    let pieces = stream::unfold((receiver, sent), |(mut receiver, sent)| async move {
        let piece = receiver.recv().await?;
        if let Ok(bytes) = &piece {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Some((piece.map(Frame::data), (receiver, sent)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

#[cfg(test)]
mod tests;
