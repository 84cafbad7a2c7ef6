//! Volumes: directories under `<data-root>/volumes` that outlive containers. The only driver is `local`.
//!
//! A volume with driver options (`type`, `device`, `o`) is mounted on the host while a container that runs uses it.

use crate::{Error, Events, error::Result, filter::Filters, records::Records};
use minke_model::{ContainerId, Labels, Timestamp, event::Noun, name, volume::Volume};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

/// The volumes of this machine.
#[derive(Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    records: Records,
    events: Events,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    volumes: BTreeMap<String, Arc<Volume>>,
    /// Which containers name it in their mounts.
    users: HashMap<String, BTreeSet<ContainerId>>,
    /// Which running containers hold it mounted.
    mounted: HashMap<String, BTreeSet<ContainerId>>,
}

/// A volume to make.
#[derive(Clone, Debug, Default)]
pub struct VolumeCreate {
    /// Empty: a random one.
    pub name: String,
    /// Empty is `local`.
    pub driver: String,
    /// `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: Labels,
    /// Made for a path without a name.
    pub anonymous: bool,
}

/// A volume, and where its data lies.
#[derive(Clone, Debug)]
pub struct VolumeInspection {
    /// The record.
    pub volume: Arc<Volume>,
    /// Its data on the host.
    pub mountpoint: PathBuf,
}

/// What a prune took away.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Names or ids.
    pub deleted: Vec<String>,
    /// Bytes freed.
    pub space: u64,
}

/// Filters of the list.
const LIST_FILTERS: &[&str] = &["dangling", "driver", "label", "name"];
/// Filters of prune.
const PRUNE_FILTERS: &[&str] = &["all", "label", "label!"];

impl Volumes {
    /// Reads the records; `root` is `<data-root>/volumes`.
    pub(crate) fn open(root: PathBuf, records: Records, events: Events) -> Result<Self> {
        std::fs::create_dir_all(&root).map_err(Error::io(format!("cannot make {}", root.display())))?;
        let volumes = records.volumes()?.into_iter().map(|v| (v.name.clone(), v)).collect();
        let state = Mutex::new(State { volumes, ..State::default() });
        Ok(Self { inner: Arc::new(Inner { root, records, events, state }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Makes a volume, or gives the one of that name when its driver and options are the same.
    pub async fn create(&self, wish: VolumeCreate) -> Result<VolumeInspection> {
        let driver = if wish.driver.is_empty() { "local".to_owned() } else { wish.driver };
        if driver != "local" {
            return Err(Error::NotFound(format!(
                "create {}: error looking up volume plugin {driver}: plugin \"{driver}\" not found",
                wish.name
            )));
        }
        let anonymous = wish.anonymous || wish.name.is_empty();
        let volume_name = if wish.name.is_empty() { random_name() } else { wish.name };
        if volume_name.len() == 1 {
            return Err(Error::Invalid(format!(
                "create {volume_name}: volume name is too short, names should be at least two alphanumeric characters"
            )));
        }
        if !name::is_valid(&volume_name) {
            return Err(Error::Invalid(format!(
                "create {volume_name}: {volume_name:?} includes invalid characters for a local volume name, only \"{}\" are allowed. If you intended to pass a host directory, use absolute path",
                name::PATTERN
            )));
        }
        check_options(&volume_name, &wish.options)?;
        if let Some(volume) = self.find(&volume_name) {
            if !wish.options.is_empty() && wish.options != volume.options {
                return Err(Error::Conflict(format!(
                    "create {volume_name}: volume name \"{volume_name}\" already exists with different options: choose another name or remove it first"
                )));
            }
            return Ok(self.inspection(volume));
        }
        let mut labels = wish.labels;
        if anonymous {
            labels.entry("com.docker.volume.anonymous".into()).or_default();
        }
        let volume = Arc::new(Volume {
            name: volume_name.clone(),
            driver: driver.clone(),
            options: wish.options,
            labels,
            created: Timestamp::now(),
            anonymous,
        });
        let data = self.data_path(&volume_name);
        std::fs::create_dir_all(&data)
            .map_err(Error::io(format!("cannot make volume {volume_name} at {}", data.display())))?;
        private_parent(&data)?;
        self.inner.records.put_volume(volume.clone()).await?;
        let kept = self.state().volumes.entry(volume_name.clone()).or_insert(volume).clone();
        let attributes = BTreeMap::from([("driver".to_owned(), driver)]);
        self.inner.events.tell(Noun::Volume, "create", volume_name, attributes);
        Ok(self.inspection(kept))
    }

    /// The volume of that name.
    pub fn inspect(&self, name: &str) -> Result<VolumeInspection> {
        self.find(name).map(|v| self.inspection(v)).ok_or_else(|| Error::NoSuchVolume(name.to_owned()))
    }

    /// All volumes that fit, by name.
    pub fn list(&self, filters: &Filters) -> Result<Vec<VolumeInspection>> {
        filters.check(LIST_FILTERS)?;
        let dangling = filters.boolean("dangling")?;
        let state = self.state();
        let fits = |volume: &Volume| {
            let used = state.users.get(&volume.name).is_some_and(|u| !u.is_empty());
            dangling.is_none_or(|wanted| wanted != used)
                && filters.allows("driver", &volume.driver)
                && filters.labels_fit(&volume.labels)
                && filters
                    .values("name")
                    .is_none_or(|names| names.iter().any(|n| volume.name.contains(n.as_str())))
        };
        Ok(state.volumes.values().filter(|v| fits(v)).cloned().map(|v| self.inspection(v)).collect())
    }

    /// Removes a volume that no container names. With `force` a missing one is fine.
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let volume = {
            let mut state = self.state();
            if !state.volumes.contains_key(name) {
                return if force { Ok(()) } else { Err(Error::NoSuchVolume(name.to_owned())) };
            }
            if let Some(users) = state.users.get(name).filter(|u| !u.is_empty()) {
                let ids: Vec<&str> = users.iter().map(ContainerId::as_str).collect();
                return Err(Error::Conflict(format!(
                    "remove {name}: volume is in use - [{}]",
                    ids.join(", ")
                )));
            }
            state.volumes.remove(name)
        };
        let Some(volume) = volume else { return Ok(()) };
        self.inner.records.delete_volume(name).await?;
        let path = self.inner.root.join(name);
        let what = format!("cannot remove volume {name} at {}", path.display());
        crate::blocking(move || remove_tree(&path)).await?.map_err(Error::io(what))?;
        let attributes = BTreeMap::from([("driver".to_owned(), volume.driver.clone())]);
        self.inner.events.tell(Noun::Volume, "destroy", name, attributes);
        Ok(())
    }

    /// Removes all volumes that no container names: anonymous ones, with the filter `all` named ones too.
    pub async fn prune(&self, filters: &Filters) -> Result<Pruned> {
        filters.check(PRUNE_FILTERS)?;
        let all = filters.boolean("all")?.unwrap_or(false);
        let unused: Vec<Arc<Volume>> = {
            let state = self.state();
            let free = |v: &Volume| state.users.get(&v.name).is_none_or(BTreeSet::is_empty);
            state
                .volumes
                .values()
                .filter(|v| free(v) && (all || v.anonymous) && filters.labels_fit(&v.labels))
                .cloned()
                .collect()
        };
        let mut pruned = Pruned::default();
        for volume in unused {
            let size = self.size(&volume.name).await;
            // One that was taken into use meanwhile stays.
            if self.remove(&volume.name, false).await.is_ok() {
                pruned.space += size;
                pruned.deleted.push(volume.name.clone());
            }
        }
        let attributes = BTreeMap::from([("reclaimed".to_owned(), pruned.space.to_string())]);
        self.inner.events.tell(Noun::Volume, "prune", "", attributes);
        Ok(pruned)
    }

    /// Bytes of its data.
    pub async fn size(&self, name: &str) -> u64 {
        let path = self.data_path(name);
        crate::blocking(move || tree_size(&path)).await.unwrap_or(0)
    }

    /// How many containers name it.
    pub fn users(&self, name: &str) -> usize {
        self.state().users.get(name).map_or(0, BTreeSet::len)
    }

    /// Notes that `container` names the volume.
    pub(crate) fn hold(&self, name: &str, container: &ContainerId) {
        self.state().users.entry(name.to_owned()).or_default().insert(container.clone());
    }

    /// Notes that `container` is gone.
    pub(crate) fn let_go(&self, name: &str, container: &ContainerId) {
        let mut state = self.state();
        if let Some(users) = state.users.get_mut(name) {
            users.remove(container);
        }
    }

    /// Makes the volume's data appear on the host for a container that starts; its path.
    pub(crate) fn mount(&self, name: &str, container: &ContainerId) -> Result<PathBuf> {
        let volume = self.find(name).ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?;
        let data = self.data_path(name);
        std::fs::create_dir_all(&data)
            .map_err(Error::io(format!("cannot make volume {name} at {}", data.display())))?;
        let mut state = self.state();
        let holders = state.mounted.entry(name.to_owned()).or_default();
        if volume.options.contains_key("device") && holders.is_empty() && !is_mountpoint(&data) {
            mount_device(name, &volume.options, &data)?;
        }
        if holders.insert(container.clone()) {
            drop(state);
            let attributes = BTreeMap::from([
                ("driver".to_owned(), volume.driver.clone()),
                ("container".to_owned(), container.to_string()),
            ]);
            self.inner.events.tell(Noun::Volume, "mount", name, attributes);
        }
        Ok(data)
    }

    /// Takes back what `mount` did for a container that ended.
    pub(crate) fn unmount(&self, name: &str, container: &ContainerId) {
        let Some(volume) = self.find(name) else { return };
        let mut state = self.state();
        let Some(holders) = state.mounted.get_mut(name) else { return };
        if !holders.remove(container) {
            return;
        }
        if holders.is_empty() && volume.options.contains_key("device") {
            let data = self.data_path(name);
            // Busy is not an error here: a later start finds it mounted, a removal says so.
            if let Err(e) = rustix::mount::unmount(&data, rustix::mount::UnmountFlags::DETACH) {
                tracing::warn!("cannot unmount volume {name} at {}: {e}", data.display());
            }
        }
        drop(state);
        let attributes = BTreeMap::from([
            ("driver".to_owned(), volume.driver.clone()),
            ("container".to_owned(), container.to_string()),
        ]);
        self.inner.events.tell(Noun::Volume, "unmount", name, attributes);
    }

    /// Where the data of `name` lies.
    pub fn data_path(&self, name: &str) -> PathBuf {
        self.inner.root.join(name).join("_data")
    }

    fn find(&self, name: &str) -> Option<Arc<Volume>> {
        self.state().volumes.get(name).cloned()
    }

    fn inspection(&self, volume: Arc<Volume>) -> VolumeInspection {
        VolumeInspection { mountpoint: self.data_path(&volume.name), volume }
    }
}

/// 64 hex digits, as Docker names anonymous volumes.
fn random_name() -> String {
    ContainerId::random().to_string()
}

/// The `local` driver knows these options only (volume/local of Docker's documentation).
fn check_options(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(key) = options.keys().find(|k| !["type", "device", "o", "size"].contains(&k.as_str())) {
        return Err(Error::Invalid(format!("create {name}: invalid option: {key:?}")));
    }
    if options.contains_key("size") && !options.contains_key("type") {
        return Err(Error::Invalid(format!("create {name}: quota size requested but no quota support")));
    }
    for (given, needed) in [("type", "device"), ("o", "device")] {
        if options.contains_key(given) && !options.contains_key(needed) {
            return Err(Error::Invalid(format!("create {name}: missing required option: {needed:?}")));
        }
    }
    Ok(())
}

/// The directory above the data is for root only, as Docker's is.
fn private_parent(data: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let parent = data.parent().unwrap_or(data);
    std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o701))
        .map_err(Error::io(format!("cannot protect {}", parent.display())))
}

fn mount_device(name: &str, options: &BTreeMap<String, String>, data: &Path) -> Result<()> {
    use rustix::mount::MountFlags;
    let get = |key: &str| options.get(key).map_or("", String::as_str);
    let (kind, device) = (get("type"), get("device"));
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in get("o").split(',').filter(|o| !o.is_empty()) {
        match option {
            "bind" | "rbind" if option == "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
            "bind" => flags |= MountFlags::BIND,
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "noatime" => flags |= MountFlags::NOATIME,
            "rw" | "defaults" => {}
            other => rest.push(other),
        }
    }
    let failed = |e: rustix::io::Errno| {
        let cause = std::io::Error::from(e);
        Error::Internal(format!(
            "error while mounting volume '{}': failed to mount local volume: mount {device}:{}, data: {}: {cause}",
            data.display(),
            data.display(),
            get("o")
        ))
    };
    tracing::debug!("mounting volume {name}: {kind} {device}");
    if flags.contains(MountFlags::BIND) {
        let recursive = flags & (MountFlags::BIND | MountFlags::REC);
        return rustix::mount::mount(device, data, "", recursive, None).map_err(failed);
    }
    let text = std::ffi::CString::new(rest.join(","))
        .map_err(|_| Error::Invalid("a NUL in volume options".into()))?;
    rustix::mount::mount(device, data, kind, flags, Some(text.as_c_str())).map_err(failed)
}

/// Whether something is mounted at `path`.
fn is_mountpoint(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |p: &Path| std::fs::metadata(p).map(|m| m.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

/// Removes a tree; a missing one is fine.
pub(crate) fn remove_tree(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Bytes of all files below `path`; hard links count once.
pub(crate) fn tree_size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    let mut seen = std::collections::HashSet::new();
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        // What vanishes while we look takes no space.
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            }
            if meta.nlink() <= 1 || meta.is_dir() || seen.insert((meta.dev(), meta.ino())) {
                total += if meta.is_dir() { 0 } else { meta.len() };
            }
        }
    }
    total
}
