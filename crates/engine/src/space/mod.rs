//! Room on the disk: looked after, so that a full disk stops nothing that runs. `plan.rs` decides, this does.
//!
//! It looks when something came that takes room, and now and then, since the kernel tells nobody that a disk fills.
//! Never: touches what runs, what a container is made of, or volumes.

mod plan;

pub use plan::{Plan, Sort, Thing, Verdict, View, Watermarks};

use crate::{
    Containers, Events, Filters, Images,
    build::Builds,
    error::Result,
    image::{ImageListOptions, RemoveImage},
};
use minke_build::request::{CacheFilter, CachePrune, CacheUsage};
use minke_model::{Container, ContainerState, ImageId, Timestamp, event::Noun, mount::MountKind};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::MissedTickBehavior;

/// Between two looks when nothing is told.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// The longest name that is shown, in characters.
const NAME: usize = 40;

/// What takes room comes with one of these.
const GROWS: &[(Noun, &str)] = &[
    (Noun::Image, "pull"),
    (Noun::Image, "load"),
    (Noun::Image, "import"),
    (Noun::Image, "tag"),
    (Noun::Container, "commit"),
    (Noun::Container, "die"),
];

/// Room on the disk below the data root.
#[derive(Clone)]
pub struct Space {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    marks: Watermarks,
    containers: Containers,
    images: Images,
    builds: Builds,
    events: Events,
    /// When a container of an image went, since the daemon started.
    used: Mutex<HashMap<ImageId, Timestamp>>,
}

impl Space {
    pub(crate) fn new(
        root: PathBuf,
        marks: Watermarks,
        containers: Containers,
        images: Images,
        builds: Builds,
        events: Events,
    ) -> Self {
        let used = Mutex::default();
        Self { inner: Arc::new(Inner { root, marks, containers, images, builds, events, used }) }
    }

    /// When it begins and when it ends.
    pub fn watermarks(&self) -> Watermarks {
        self.inner.marks
    }

    /// Looks at the disk, and at what would go in which order. Takes nothing away.
    pub async fn explain(&self) -> Result<(View, Plan)> {
        let view = self.look().await?;
        Ok((view.clone(), plan::plan(view, self.inner.marks)))
    }

    /// Looks after the disk until the engine ends.
    pub(crate) fn watch(&self) {
        if self.inner.marks.high == 0 {
            return;
        }
        let (space, mut told) = (self.clone(), self.inner.events.subscribe(None, None, Filters::default()));
        tokio::spawn(async move {
            let mut look = tokio::time::interval(LOOK_EVERY);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = look.tick() => space.tend().await,
                    event = told.next() => {
                        let Some(event) = event else { return };
                        if event.noun == Noun::Container && event.action == "destroy" {
                            space.note_use(&event.attributes);
                        }
                        if GROWS.contains(&(event.noun, event.action.as_str())) {
                            space.tend().await;
                        }
                    }
                }
            }
        });
    }

    /// Takes away what the plan says, if the disk is full.
    async fn tend(&self) {
        // Cheap, and mostly all that is needed.
        let Ok((total, free)) = room(&self.inner.root) else { return };
        let empty = View { total, free, now: Timestamp::now(), things: Vec::new() };
        if plan::plan(empty, self.inner.marks).wanted == 0 {
            return;
        }
        let plan = match self.explain().await {
            Ok((_, plan)) => plan,
            Err(e) => {
                return tracing::warn!("the disk is nearly full, and what is on it cannot be looked at: {e}");
            }
        };
        tracing::warn!("the disk is {} % full: {} bytes are to be had back", plan.used, plan.wanted);
        for (thing, _) in plan.things.iter().filter(|(_, verdict)| *verdict == Verdict::Goes) {
            match self.take(thing).await {
                Ok(()) => tracing::info!("{} {} went, {} bytes", thing.sort.name(), thing.name, thing.bytes),
                // It came into use meanwhile.
                Err(e) => tracing::info!("{} {} stays: {e}", thing.sort.name(), thing.name),
            }
        }
    }

    async fn take(&self, thing: &Thing) -> Result<()> {
        match thing.sort {
            Sort::BuildCache => {
                let (field, operator, value) = ("id".into(), "==".into(), thing.id.clone());
                let filters = vec![CacheFilter { field, operator, value }];
                let wish = CachePrune { all: true, filters, ..CachePrune::default() };
                Ok(self.inner.builds.prune(wish).await.map(drop)?)
            }
            Sort::UnnamedImage => self.inner.images.remove(&thing.id, RemoveImage::default()).await.map(drop),
            Sort::Image => {
                let image = self.inner.images.get(&thing.id)?;
                let names: Vec<String> =
                    image.tags.iter().chain(&image.digests).map(|name| name.familiar()).collect();
                for name in names {
                    // The digests of a repository go with its last tag.
                    if self.inner.images.get(&name).is_ok() {
                        self.inner.images.remove(&name, RemoveImage::default()).await?;
                    }
                }
                Ok(())
            }
            Sort::Log => self.inner.containers.shorten_log(&thing.id).await,
        }
    }

    async fn look(&self) -> Result<View> {
        let (total, free) = room(&self.inner.root)
            .map_err(crate::Error::io(format!("cannot look at {}", self.inner.root.display())))?;
        let mut things = self.image_things()?;
        things.extend(self.cache_things().await?);
        things.extend(self.inner.containers.log_things().await);
        Ok(View { total, free, now: Timestamp::now(), things })
    }

    async fn cache_things(&self) -> Result<Vec<Thing>> {
        let thing = |usage: CacheUsage| Thing {
            sort: Sort::BuildCache,
            name: usage.description.chars().take(NAME).collect(),
            bytes: usage.size,
            used: usage.last_used.unwrap_or(usage.created),
            held: match (usage.in_use, usage.shared) {
                (true, _) => Some("a build needs it".to_owned()),
                (_, true) => Some("an image has it as well".to_owned()),
                _ => None,
            },
            id: usage.id,
        };
        Ok(self.inner.builds.usage(&[]).await?.into_iter().map(thing).collect())
    }

    fn image_things(&self) -> Result<Vec<Thing>> {
        let options = ImageListOptions { all: true, shared_size: true, ..ImageListOptions::default() };
        let containers = self.inner.containers.all();
        let used = self.inner.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let listed = self.inner.images.list(&Filters::default(), options)?;
        let things = listed.iter().map(|summary| {
            let image = &summary.image;
            let names: Vec<String> = image.tags.iter().chain(&image.digests).map(|n| n.familiar()).collect();
            let child = listed.iter().find(|other| other.image.parent.as_ref() == Some(&image.id));
            let user = containers.iter().find(|container| uses(container, &image.id));
            let held = match (user, child) {
                (Some(user), _) => Some(format!("container {} uses it", user.name)),
                (None, Some(child)) => Some(format!("image {} is built on it", child.image.id.short())),
                _ => None,
            };
            let arrived = self.inner.images.store().arrived(&image.id);
            let times = [image.last_tagged, arrived, used.get(&image.id).copied()];
            Thing {
                sort: if names.is_empty() { Sort::UnnamedImage } else { Sort::Image },
                id: image.id.to_string(),
                name: names.first().cloned().unwrap_or_else(|| image.id.short().to_owned()),
                bytes: image.size.saturating_sub(summary.shared_size.unwrap_or(0)),
                used: times.into_iter().flatten().max().unwrap_or_else(Timestamp::zero),
                held,
            }
        });
        Ok(things.collect())
    }

    /// A container of that image went: until now the image was in use.
    fn note_use(&self, attributes: &std::collections::BTreeMap<String, String>) {
        let image = attributes.get("image").and_then(|name| self.inner.images.get(name).ok());
        let Some(image) = image else { return };
        let mut used = self.inner.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|id, _| self.inner.images.store().get(id).is_ok());
        used.insert(image.id.clone(), Timestamp::now());
    }
}

fn uses(container: &Container, image: &ImageId) -> bool {
    let mounts = || container.mounts.iter().filter(|m| m.kind == MountKind::Image);
    container.image_id.as_ref() == Some(image) || mounts().any(|m| m.name == image.as_str())
}

/// Bytes of the file system, and bytes that are free for everybody.
fn room(path: &Path) -> std::io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    // What only root may fill is neither free nor taken.
    let taken = stat.f_blocks - stat.f_bfree;
    Ok(((taken + stat.f_bavail) * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

impl Containers {
    /// Logs of containers that ended.
    async fn log_things(&self) -> Vec<Thing> {
        let mut things = Vec::new();
        for record in self.all() {
            let ended = match record.status.state {
                ContainerState::Exited | ContainerState::Dead => true,
                ContainerState::Created
                | ContainerState::Running
                | ContainerState::Paused
                | ContainerState::Restarting
                | ContainerState::Removing => false,
            };
            let files = self.log_files(&record);
            let bytes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|m| m.len()).sum();
            if bytes == 0 {
                continue;
            }
            things.push(Thing {
                sort: Sort::Log,
                id: record.id.to_string(),
                name: record.name.clone(),
                bytes,
                used: record.status.finished.max(record.created),
                held: (!ended).then(|| "its container has not ended".to_owned()),
            });
        }
        things
    }

    /// Empties the log of a container that ended.
    async fn shorten_log(&self, id: &str) -> Result<()> {
        let cell = self.find(id)?;
        let _verb = cell.verb.lock().await;
        let record = cell.record();
        if record.status.state.is_up() {
            return Err(crate::Error::Conflict(format!("container {} runs", record.name)));
        }
        for (number, file) in self.log_files(&record).into_iter().enumerate() {
            // The first is the one that a reader looks for.
            let emptied = match number {
                0 => std::fs::File::options().write(true).open(&file).and_then(|log| log.set_len(0)),
                _ => std::fs::remove_file(&file),
            };
            emptied.map_err(crate::Error::io(format!("cannot empty {}", file.display())))?;
        }
        Ok(())
    }

    /// The files of a container's log, the present one first.
    fn log_files(&self, record: &Container) -> Vec<PathBuf> {
        let log = self.log_path(record);
        let (Some(directory), Some(name)) = (log.parent(), log.file_name()) else { return Vec::new() };
        let prefix = format!("{}.", name.to_string_lossy());
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let rotated =
            entries.filter(|e| e.file_name().to_string_lossy().starts_with(&prefix)).map(|e| e.path());
        std::iter::once(log.clone()).filter(|log| log.exists()).chain(rotated).collect()
    }
}
