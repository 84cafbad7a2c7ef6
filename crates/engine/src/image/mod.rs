//! Images, with the engine's policy: who uses one, what may go, what is told.

mod defaults;
mod list;
mod prune;
mod remove;
mod web;

pub(crate) use defaults::changed;
pub use list::{ImageListOptions, ImageSummary};
pub use minke_image::verify::Part;
pub use remove::{Removal, RemoveImage};
pub use web::{Found, Search};

use crate::{
    Containers, Error, Events,
    body::{self, Body},
    config::EngineConfig,
    error::Result,
};
use minke_image::{
    Image, ImageError, Images as Store, Loaded, Progress, ProgressEvent, Reference, platform,
    pull::{PullRequest, Pulled},
    push::{PushRequest, Pushed},
    reference::is_identifier,
    registry::{LoginStatus, Looked, RegistryAuth, RegistryConfig, login, lookup},
};
use minke_model::{
    ImageId,
    event::Noun,
    image::{ImageDefaults, Platform},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};
use tokio::sync::mpsc;

/// Lines of progress on their way to a client; more are thinned out.
const PROGRESS_QUEUE: usize = 256;

/// The images of this machine.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    registries: RwLock<RegistryConfig>,
    store: Store,
    containers: Containers,
    events: Events,
}

/// An image to fetch.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Its name.
    pub reference: Reference,
    /// The variant wanted; `None` is the machine's.
    pub platform: Option<Platform>,
    /// Who asks.
    pub auth: Option<RegistryAuth>,
    /// Every tag of the repository.
    pub all_tags: bool,
}

/// An image to make of a root file system.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Its name; `None` leaves it without.
    pub reference: Option<Reference>,
    /// Why.
    pub message: String,
    /// Dockerfile instructions for its defaults.
    pub changes: Vec<String>,
    /// What it is for; `None` is this machine.
    pub platform: Option<Platform>,
}

/// Takes lines of progress for a client; lines that it cannot take in time are left out, but for those that end a layer.
struct Teller(mpsc::Sender<ProgressEvent>);

impl Progress for Teller {
    fn report(&self, event: ProgressEvent) {
        // Counts of bytes may be skipped; a later one replaces them. Others are few and fit the queue.
        let _ = self.0.try_send(event);
    }
}

/// A queue for lines of progress, and the end that takes them.
pub fn progress() -> (Arc<dyn Progress>, mpsc::Receiver<ProgressEvent>) {
    let (sender, receiver) = mpsc::channel(PROGRESS_QUEUE);
    (Arc::new(Teller(sender)), receiver)
}

/// A name without tag and digest means the tag `latest`.
pub(crate) fn with_default_tag(reference: Reference) -> Reference {
    if !reference.is_name_only() {
        return reference;
    }
    let plain = reference.clone();
    reference.with_tag("latest").unwrap_or(plain)
}

/// dockerd's sentence for a name that means no image.
pub(crate) fn no_such_image(name: &str) -> String {
    let shown = Reference::parse(name).map_or_else(|_| name.to_owned(), |r| with_default_tag(r).familiar());
    format!("No such image: {shown}")
}

impl Images {
    pub(crate) fn new(config: &EngineConfig, store: Store, containers: Containers, events: Events) -> Self {
        let registries = RwLock::new(config.registries.clone());
        Self { inner: Arc::new(Inner { registries, store, containers, events }) }
    }

    /// How registries are spoken to now.
    pub fn registries(&self) -> RegistryConfig {
        self.inner.registries.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(crate) fn reload(&self, registries: RegistryConfig) {
        *self.inner.registries.write().unwrap_or_else(|e| e.into_inner()) = registries;
    }

    /// The image of that name, id or unique beginning of an id.
    pub fn get(&self, name: &str) -> Result<Arc<Image>> {
        let id = self.resolve(name)?;
        Ok(self.inner.store.get(&id)?)
    }

    fn resolve(&self, name: &str) -> Result<ImageId> {
        self.inner.store.resolve(name).map_err(|e| match e {
            ImageError::NoSuchImage { .. } => match Reference::parse(name) {
                // What can be no name is told so; a whole id is none either.
                Err(wrong) if !is_identifier(name) && !name.starts_with("sha256:") => {
                    Error::Invalid(wrong.to_string())
                }
                _ => Error::NotFound(no_such_image(name)),
            },
            other => other.into(),
        })
    }

    /// The room that keeps them.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Fetches an image; dropping the future ends it and leaves nothing half.
    pub async fn pull(&self, wish: Pull, progress: Arc<dyn Progress>) -> Result<Pulled> {
        let shown = wish.reference.familiar();
        let request = PullRequest {
            reference: wish.reference,
            platform: wish.platform,
            auth: wish.auth,
            all_tags: wish.all_tags,
        };
        let pulled = self.inner.store.pull(request, &self.registries(), progress).await?;
        let name = self.inner.store.get(&pulled.id).ok().map(|_| shown.clone()).unwrap_or_default();
        self.tell(&pulled.id, "pull", &shown, &name);
        Ok(pulled)
    }

    /// What a name means in its registry now; nothing is pulled.
    pub async fn look_up(&self, reference: &Reference, auth: Option<RegistryAuth>) -> Result<Looked> {
        let found = lookup(reference, auth.as_ref(), &self.registries()).await;
        Ok(found.map_err(ImageError::from)?)
    }

    /// Sends a tag, or all tags of a repository, to its registry; dropping the future ends it.
    pub async fn push(
        &self,
        reference: Reference,
        auth: Option<RegistryAuth>,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<Pushed>> {
        let request = PushRequest { reference: reference.clone(), auth };
        let pushed = self.inner.store.push(request, &self.registries(), progress).await?;
        for tag in &pushed {
            let name = format!("{}:{}", reference.familiar_name(), tag.tag);
            if let Ok(id) = self.resolve(&name) {
                self.tell(&id, "push", &name, &reference.familiar_name());
            }
        }
        Ok(pushed)
    }

    /// Makes an image of a tar of a root file system.
    pub async fn import(&self, tar: Body, wish: Import) -> Result<ImageId> {
        if wish.platform.as_ref().is_some_and(|platform| !platform.os.is_empty() && platform.os != "linux") {
            return Err(Error::Invalid("operating system is not supported".into()));
        }
        let config = changed(ImageDefaults::default(), &wish.changes)?;
        let store = self.inner.store.clone();
        let request = minke_image::ImportRequest {
            message: wish.message,
            config,
            platform: wish.platform,
            reference: wish.reference.clone(),
        };
        let id = crate::blocking(move || store.import(tar, request)).await??;
        let named = wish.reference.map(|r| r.familiar()).unwrap_or_default();
        self.tell(&id, "import", id.as_str(), &named);
        Ok(id)
    }

    /// Takes an archive of images in.
    pub async fn load(
        &self,
        tar: Body,
        platform: Option<Platform>,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<Loaded>> {
        let store = self.inner.store.clone();
        let loaded = crate::blocking(move || store.load(tar, platform.as_ref(), &*progress)).await??;
        for image in &loaded {
            let name = match image {
                Loaded::Reference(reference) => reference.familiar(),
                Loaded::Id(id) => id.to_string(),
            };
            if let Ok(id) = self.resolve(&name) {
                self.tell(&id, "load", id.as_str(), &name);
            }
        }
        Ok(loaded)
    }

    /// Gives an archive of images.
    pub async fn save(&self, names: Vec<String>, platform: Option<Platform>) -> Result<Body> {
        let mut found: Vec<(ImageId, &String)> = Vec::new();
        for name in &names {
            match self.resolve(name) {
                Err(Error::NotFound(_)) => {
                    let before = found.len();
                    found.extend(self.of_repository(name).into_iter().map(|id| (id, name)));
                    if found.len() == before {
                        // As it was asked for, without a tag that was not.
                        return Err(Error::NotFound(format!("No such image: {name}")));
                    }
                }
                resolved => found.push((resolved?, name)),
            }
        }
        for (id, name) in found {
            self.tell(&id, "save", id.as_str(), name);
        }
        let (mut writer, body) = body::channel();
        let store = self.inner.store.clone();
        let asked = names.clone();
        tokio::task::spawn_blocking(move || {
            let saved = store.save(&asked, platform.as_ref(), &mut writer);
            writer.finish(saved.map_err(std::io::Error::other));
        });
        Ok(body)
    }

    /// The images of a repository, if that is all that `name` says.
    fn of_repository(&self, name: &str) -> Vec<ImageId> {
        let Ok(asked) = Reference::parse(name) else { return Vec::new() };
        if !asked.is_name_only() {
            return Vec::new();
        }
        let images = self.inner.store.list().into_iter();
        let named = |tag: &Reference| tag.familiar_name() == asked.familiar_name();
        images.filter(|image| image.tags.iter().any(named)).map(|image| image.id.clone()).collect()
    }

    /// Gives an image one more name.
    pub fn tag(&self, name: &str, reference: &Reference) -> Result<()> {
        let id = self.resolve(name)?;
        self.inner.store.tag(&id, reference)?;
        self.tell(&id, "tag", id.as_str(), &reference.familiar());
        Ok(())
    }

    /// Sizes of an image's layers, bottom first, without those that changed nothing.
    pub fn layer_sizes(&self, id: &ImageId) -> Result<Vec<u64>> {
        Ok(self.inner.store.layer_sizes(id)?)
    }

    /// Reads all parts of an image: whether each is still what its digest says.
    pub async fn verify(&self, name: &str) -> Result<(Arc<Image>, Vec<Part>)> {
        let image = self.get(name)?;
        let (store, id) = (self.inner.store.clone(), image.id.clone());
        Ok((image, crate::blocking(move || store.verify(&id)).await??))
    }

    /// The image of that name, if it is for a platform that suits the one asked for.
    pub fn get_for(&self, name: &str, wanted: Option<&Platform>) -> Result<Arc<Image>> {
        let image = self.get(name)?;
        let is = image.config.platform();
        match wanted {
            Some(wanted) if !platform::suits(wanted, &is) => Err(Error::NotFound(format!(
                "image with reference {name} was found but its platform ({}) does not match the specified platform ({})",
                platform::format(&is),
                platform::format(wanted)
            ))),
            _ => Ok(image),
        }
    }

    /// Asks a registry whether it knows these credentials; what it answered.
    pub async fn login(&self, auth: RegistryAuth) -> Result<LoginStatus> {
        Ok(login(&auth, &self.registries()).await?)
    }

    /// A build made an image.
    pub(crate) fn tell_made(&self, id: &ImageId) {
        self.tell(id, "create", id.as_str(), id.as_str());
    }

    /// A build gave an image a name.
    pub(crate) fn tell_tag(&self, id: &ImageId, name: &Reference) {
        self.tell(id, "tag", id.as_str(), &name.familiar());
    }

    fn tell(&self, id: &ImageId, action: &str, about: &str, name: &str) {
        let mut attributes =
            self.inner.store.get(id).map(|i| i.config.defaults.labels.clone()).unwrap_or_default();
        if !name.is_empty() {
            attributes.insert("name".into(), name.to_owned());
        }
        self.inner.events.tell(Noun::Image, action, about, attributes);
    }

    fn tell_plain(&self, action: &str, about: &str, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.inner.events.tell(Noun::Image, action, about, attributes);
    }
}
