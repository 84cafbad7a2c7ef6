//! What becomes of what was built: an image here, a push, an archive or files for the client.
//!
//! Never: changes what was built; an export may come twice.

pub(super) mod cache;
mod files;
mod layout;

use super::{Builds, Inner, view::chain_of};
use files::TreeFiles;
use minke_build::{
    BuildError, Built, Client, Progress, Result,
    host::Root,
    key::Hasher,
    report::{Reporter, Telling},
    request::{BuiltImage, CacheRef, ExportRequest},
};
use minke_image::{BlobForm, Chain, ImageConfig, Quiet, Reference, platform};
use minke_model::{ContainerId, ImageId, Timestamp, id::Digest};
use std::{collections::BTreeMap, io::Write, sync::Arc};
use tokio::io::AsyncWriteExt;

/// What the client is told of an export: BuildKit's exporter response.
type Response = BTreeMap<String, String>;

/// Attributes that change nothing here: what they ask for is so, or has no meaning for images that are kept unpacked.
const HARMLESS: [&str; 17] = [
    "unpack",
    "load",
    "store",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "buildinfo",
    "buildinfo-attrs",
    "prefer-nondist-layers",
    "rewrite-timestamp",
    "name-canonical",
    "dangling-name-prefix",
    "registry.insecure",
    "danglingNamePrefix",
    "nameCanonical",
    "tar",
];

impl Builds {
    /// Does the exports in order, then the caches'. What the client is told of them.
    pub async fn export(
        &self,
        built: &Arc<Built>,
        exports: Vec<ExportRequest>,
        caches: Vec<CacheRef>,
        client: Arc<dyn Client>,
        progress: Arc<dyn Progress>,
    ) -> Result<BTreeMap<String, String>> {
        let mut response = Response::new();
        let id = ContainerId::random();
        let inline = built.inline_cache || caches.iter().any(|cache| cache.kind == "inline");
        for (number, wish) in exports.into_iter().enumerate() {
            let name = match wish.kind.as_str() {
                "" | "cacheonly" | "none" => continue,
                "image" | "moby" | "docker-image" => "exporting to image",
                "local" => "exporting to client directory",
                "tar" => "exporting to client tarball",
                "oci" => "exporting to oci image format",
                "docker" => "exporting to docker image format",
                other => {
                    return Err(BuildError::invalid(format!("exporter {other:?} could not be found")));
                }
            };
            let mut hasher = Hasher::new("export");
            hasher.text(id.as_str()).number(number as u64);
            let mut telling = Telling::known(hasher.finish(), name.into(), Vec::new(), &progress);
            telling.start();
            let export = Export {
                inner: self.inner.clone(),
                built: built.clone(),
                client: client.clone(),
                inline,
                reporter: Reporter::of(telling.digest(), &progress),
            };
            let done = export.run(&wish).await;
            telling.end(&done);
            response.extend(done?);
        }
        for wish in caches.into_iter().filter(|wish| wish.kind != "inline") {
            let mut hasher = Hasher::new("export cache");
            hasher.text(id.as_str()).text(&format!("{wish:?}"));
            let name = format!("exporting cache to {}", cache::shown(&wish));
            let mut telling = Telling::known(hasher.finish(), name, Vec::new(), &progress);
            telling.start();
            let reporter = Reporter::of(telling.digest(), &progress);
            let done = cache::export(&self.inner, built, &wish, &client, &reporter).await;
            telling.end(&done);
            response.extend(done?);
        }
        Ok(response)
    }
}

/// One export.
struct Export {
    inner: Arc<Inner>,
    built: Arc<Built>,
    client: Arc<dyn Client>,
    /// Configurations say what is cached of them.
    inline: bool,
    reporter: Reporter,
}

impl Export {
    async fn run(&self, wish: &ExportRequest) -> Result<Response> {
        match wish.kind.as_str() {
            "local" => self.local(wish).await,
            "tar" => self.tar(wish).await,
            "oci" | "docker" => self.archive(wish).await,
            _ => self.image(wish).await,
        }
    }

    /// The one image of a build for one platform.
    fn only(&self, kind: &str) -> Result<&BuiltImage> {
        match &self.built.images[..] {
            [only] => Ok(only),
            [] => Err(BuildError::invalid("nothing was built")),
            _ => Err(BuildError::unsupported(format!(
                "the exporter {kind} takes one platform, and {} were built: choose one, or export as local",
                self.built.images.len()
            ))),
        }
    }

    /// The configuration of an image as it is exported.
    fn config(&self, image: &BuiltImage) -> Result<Arc<ImageConfig>> {
        if self.inline { cache::inline(image) } else { Ok(image.config.clone()) }
    }

    fn chain(&self, root: &Root) -> Result<Chain> {
        match root {
            Root::Layers { chain, keep } => chain_of(&self.inner.store, chain, keep),
            Root::Directory { .. } => Ok(Chain::default()),
        }
    }

    /// Told as a part that is done.
    fn done(&self, what: &str) {
        self.reporter.status(what, 0, 0, Timestamp::now(), true);
    }

    async fn image(&self, wish: &ExportRequest) -> Result<Response> {
        let known = ["name", "push", "push-by-digest"];
        check(wish, &known)?;
        let names = names(wish)?;
        self.reporter.status("exporting layers", 0, 0, Timestamp::now(), false);
        let registered = self.register(&names).await?;
        let id = registered.named.clone();
        self.done("exporting layers");
        self.done(&format!("writing image {id}"));
        self.inner.images.tell_made(&id);
        for name in &names {
            self.done(&format!("naming to {}", name.full()));
            self.inner.images.tell_tag(&id, name);
        }
        let mut response = Response::from([
            ("containerimage.digest".into(), id.to_string()),
            ("containerimage.config.digest".into(), id.to_string()),
        ]);
        if !names.is_empty() {
            let all: Vec<String> = names.iter().map(Reference::full).collect();
            response.insert("image.name".into(), all.join(","));
        }
        if is_set(wish, "push") {
            for name in &names {
                let name = name.clone().or_latest();
                self.reporter.status(&format!("pushing {}", name.full()), 0, 0, Timestamp::now(), false);
                let digest = self.push(&name, &registered).await?;
                self.done(&format!("pushing {}", name.full()));
                response.extend(digest.map(|digest| ("containerimage.digest".into(), digest.to_string())));
            }
        }
        if !registered.others.is_empty() {
            let store = self.inner.store.clone();
            super::blocking(move || Ok(registered.forget_others(&store)?)).await?;
        }
        Ok(response)
    }

    /// Makes images here of what was built. The names are those of the image for this machine, or of the first.
    async fn register(&self, names: &[Reference]) -> Result<Registered> {
        let images = &self.built.images;
        let own = platform::host();
        let named = images.iter().position(|image| platform::suits(&own, &image.platform)).unwrap_or(0);
        let mut all = Vec::new();
        let mut others = Vec::new();
        for (number, image) in images.iter().enumerate() {
            let (store, config, chain) =
                (self.inner.store.clone(), self.config(image)?, self.chain(&image.root)?);
            let names = if number == named { names.to_vec() } else { Vec::new() };
            let known = store.get(&config.id()).is_ok();
            let id = super::blocking(move || Ok(store.register_built(&config.raw, &chain, &names)?)).await?;
            if number != named && !known {
                others.push(id.clone());
            }
            all.push(id);
        }
        let named = all.get(named).cloned().ok_or_else(|| BuildError::invalid("nothing was built"))?;
        Ok(Registered { named, all, others })
    }

    /// Pushes what was built under one name; the digest that it has there.
    async fn push(&self, name: &Reference, registered: &Registered) -> Result<Option<Digest>> {
        let auth = self.client.auth(name.domain()).await?;
        let failed =
            |kind, why: String| BuildError::other(kind, format!("failed to push {}: {why}", name.full()));
        if registered.all.len() == 1 && !self.built.multi_platform {
            let pushed = self.inner.images.push(name.clone(), auth, Arc::new(Quiet)).await;
            let pushed = pushed.map_err(|e| failed(e.kind(), e.to_string()))?;
            return Ok(pushed.last().map(|last| last.digest.clone()));
        }
        let request = minke_image::push::PushRequest { reference: name.clone(), auth };
        let registries = self.inner.images.registries();
        let pushed = self.inner.store.push_list(request, &registered.all, &registries, Arc::new(Quiet)).await;
        pushed.map(|pushed| Some(pushed.digest)).map_err(|e| failed(e.kind(), e.to_string()))
    }

    async fn local(&self, wish: &ExportRequest) -> Result<Response> {
        check(wish, &["dest", "platform-split", "attestation-prefix"])?;
        let split = match wish.attributes.get("platform-split") {
            Some(_) => is_set(wish, "platform-split"),
            None => self.built.images.len() > 1,
        };
        let (store, images) = (self.inner.store.clone(), self.built.images.clone());
        let files = super::blocking(move || TreeFiles::open(&store, &images, split)).await?;
        self.reporter.status("copying files", 0, 0, Timestamp::now(), false);
        self.client.send_files(&wish.exporter, Arc::new(files)).await?;
        self.done("copying files");
        Ok(Response::new())
    }

    async fn tar(&self, wish: &ExportRequest) -> Result<Response> {
        check(wish, &["dest"])?;
        let image = self.only("tar")?;
        let (store, root, epoch) = (self.inner.store.clone(), image.root.clone(), image.epoch);
        self.send("sending tarball", wish, Response::new(), move |out| {
            let view = super::view::View::open(&store, &root)?;
            Ok(files::write_tar(&view, epoch, out)?)
        })
        .await?;
        Ok(Response::new())
    }

    async fn archive(&self, wish: &ExportRequest) -> Result<Response> {
        check(wish, &["dest", "name", "annotation"])?;
        let is_docker = wish.kind == "docker";
        if is_docker {
            self.only("docker")?;
        }
        let images = self.built.images.iter();
        let images = images.map(|image| {
            let (chain, config) = (self.chain(&image.root)?, self.config(image)?);
            Ok(layout::Image { chain, config, platform: image.platform.clone() })
        });
        let wanted = layout::Wanted {
            images: images.collect::<Result<_>>()?,
            names: names(wish)?,
            form: form(wish)?,
            annotations: layout::Annotations::of(&wish.attributes),
            docker: is_docker,
            index: self.built.multi_platform,
        };
        let started = Timestamp::now();
        self.reporter.status("exporting layers", 0, 0, started, false);
        let dir = self.inner.scratch.join(ContainerId::random().short());
        let made = super::blocking(move || layout::Layout::make(dir, &wanted)).await?;
        self.reporter.status("exporting layers", 0, 0, started, true);
        let response = made.response();
        if wish.attributes.get("tar").is_some_and(|tar| matches!(tar.as_str(), "false" | "0")) {
            let blobs = self.client.blobs("export");
            let blobs = blobs.ok_or_else(|| BuildError::invalid("the client takes no directory of blobs"))?;
            for (digest, size, path) in made.blobs() {
                if !blobs.has(digest).await? {
                    blobs.write(digest, *size, path.clone()).await?;
                }
            }
            return Ok(response);
        }
        let metadata = response.clone();
        self.send("sending tarball", wish, metadata, move |out| made.write_tar(out)).await?;
        Ok(response)
    }

    /// Sends what `write` writes.
    async fn send(
        &self,
        what: &str,
        wish: &ExportRequest,
        metadata: Response,
        write: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let started = Timestamp::now();
        let mut out = self.client.send_tar(&wish.exporter, metadata).await?;
        let (mut writer, mut body) = crate::body::channel();
        let writing = tokio::task::spawn_blocking(move || {
            let written = write(&mut writer);
            let ended = match &written {
                Ok(()) => Ok(()),
                Err(e) => Err(std::io::Error::other(e.to_string())),
            };
            writer.finish(ended);
            written
        });
        let failed = |e: std::io::Error| BuildError::io("send an archive to the client")(e);
        let mut size = 0;
        let mut sent = Ok(());
        while let Some(piece) = body.next().await {
            let Ok(piece) = piece else { break };
            size += piece.len() as i64;
            if let Err(e) = out.write_all(&piece).await {
                sent = Err(failed(e));
                break;
            }
        }
        drop(body);
        let written = writing.await.map_err(|e| {
            BuildError::other(minke_model::Kind::Internal, format!("a blocking task failed: {e}"))
        })?;
        // A client that left breaks the writer: what it said first counts.
        sent?;
        written?;
        out.shutdown().await.map_err(failed)?;
        self.reporter.status(what, size, size, started, true);
        Ok(())
    }
}

/// Images that a build left here.
struct Registered {
    /// The one that has the names.
    named: ImageId,
    /// In the order of the platforms.
    all: Vec<ImageId>,
    /// Those for other platforms that were not here before: only a list in a registry can name them.
    others: Vec<ImageId>,
}

impl Registered {
    /// Removes the images that nothing names here. Their layers stay in the cache.
    fn forget_others(&self, store: &minke_image::Images) -> minke_image::Result<()> {
        for id in &self.others {
            if store.get(id).is_ok_and(|image| image.tags.is_empty()) {
                store.remove(id)?;
            }
        }
        Ok(())
    }
}

fn is_set(wish: &ExportRequest, name: &str) -> bool {
    wish.attributes
        .get(name)
        .is_some_and(|value| matches!(value.as_str(), "" | "1" | "t" | "true" | "True" | "TRUE"))
}

/// Refuses an attribute that would change something and does not.
fn check(wish: &ExportRequest, known: &[&str]) -> Result<()> {
    for (name, value) in &wish.attributes {
        let annotation = known.contains(&"annotation") && name.starts_with("annotation");
        let fine = annotation
            || known.contains(&name.as_str())
            || HARMLESS.contains(&name.as_str())
            || name.starts_with("attest:");
        if !fine {
            let kind = if wish.kind.is_empty() { "image" } else { &wish.kind };
            return Err(BuildError::unsupported(format!(
                "the exporter {kind} does not know the attribute {name}={value}: leave it out"
            )));
        }
    }
    Ok(())
}

/// How layers are compressed; by gzip if nothing is said.
fn form(wish: &ExportRequest) -> Result<BlobForm> {
    match wish.attributes.get("compression").map(String::as_str) {
        None | Some("" | "gzip") => Ok(BlobForm::Gzip),
        Some("uncompressed") => Ok(BlobForm::Tar),
        Some("zstd") => Ok(BlobForm::Zstd),
        Some(other) => Err(BuildError::unsupported(format!(
            "unsupported layer compression type: {other:?}: use uncompressed, gzip or zstd"
        ))),
    }
}

/// The names that are asked for, separated by commas.
fn names(wish: &ExportRequest) -> Result<Vec<Reference>> {
    let text = wish.attributes.get("name").map(String::as_str).unwrap_or_default();
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            Reference::parse(name)
                .map_err(|e| BuildError::invalid(format!("invalid reference {name:?}: {e}")))
        })
        .collect()
}

/// `linux_amd64`, as directories of platforms are called.
pub(super) fn directory_of(of: &minke_model::image::Platform) -> String {
    platform::format(of).replace('/', "_")
}
