//! `create`: a container that does not run yet.
//!
//! Order: name, volumes, snapshot, record. A crash between leaves a snapshot that no record names; the next start of
//! the daemon removes it.

use super::{Cell, Containers, merge, mounts};
use crate::{Error, error::Result, names};
use minke_image::{Image, ImageError};
use minke_model::{
    Container, ContainerId, ContainerSpec, ContainerStatus, Timestamp,
    container::{IpcSharing, NetworkMode, Sharing},
    go::clean_rooted,
    health::{Health, HealthState},
    name,
};
use minke_store::Durability;
use std::{collections::BTreeMap, os::fd::AsFd, sync::Arc};

/// A container to make.
#[derive(Clone, Debug)]
pub struct CreateContainer {
    /// Its name; `None` is found for it.
    pub name: Option<String>,
    /// As asked.
    pub spec: ContainerSpec,
}

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its identity.
    pub id: ContainerId,
    /// What was asked but has no effect here.
    pub warnings: Vec<String>,
}

impl Containers {
    /// Makes a container from an image that is here.
    pub async fn create(&self, wish: CreateContainer) -> Result<Created> {
        let mut spec = wish.spec;
        let image = self.image_of(&spec)?;
        let mut warnings = Vec::new();
        if let Some(image) = &image {
            check_platform(&spec, image, &mut warnings)?;
            merge::image_into(&mut spec, &image.config.defaults);
        }
        merge::health_defaults(&mut spec);
        let args = merge::command(&spec)?;
        self.check(&spec)?;
        warnings.extend(self.inner.judge_resources(&mut spec.resources)?);
        warnings.extend(self.inner.networks.port_warnings(&spec).await);
        self.fill_defaults(&mut spec);
        self.pin_links(&mut spec)?;

        let id = ContainerId::random();
        let name = self.take_name(wish.name.as_deref(), &id)?;
        let made = self.make(&id, &name, spec, args, image).await;
        match made {
            Ok(()) => Ok(Created { id, warnings }),
            Err(e) => {
                self.release_name(&name, &id);
                Err(e)
            }
        }
    }

    /// All that may fail after the name is taken; undoes what it made.
    async fn make(
        &self,
        id: &ContainerId,
        name: &str,
        mut spec: ContainerSpec,
        args: Vec<String>,
        image: Option<Arc<Image>>,
    ) -> Result<()> {
        self.name_by_id(&mut spec);
        if spec.hostname.is_empty() {
            spec.hostname = match spec.networking.mode {
                NetworkMode::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
                _ => id.short().to_owned(),
            };
        }
        let endpoints = self.plan_endpoints(&mut spec, id)?;
        let planned = mounts::plan(self, &spec)?;
        let mount_points = self.make_volumes(id, planned).await?;
        let (store, key, image_id) =
            (self.inner.store.clone(), id.clone(), image.as_ref().map(|i| i.id.clone()));
        let prepared = crate::blocking(move || store.prepare(&key, image_id.as_ref())).await?;
        if let Err(e) = prepared {
            self.let_volumes_go(id, &mount_points);
            return Err(e.into());
        }
        let health = spec
            .healthcheck
            .as_ref()
            .filter(|h| merge::probes(h))
            .map(|_| Health { state: HealthState::Starting, ..Health::default() });
        let record = Container {
            id: id.clone(),
            name: name.to_owned(),
            created: Timestamp::now(),
            image_id: image.as_ref().map(|i| i.id.clone()),
            args,
            spec,
            mounts: mount_points,
            status: ContainerStatus { health, endpoints, ..ContainerStatus::created() },
        };
        if let Err(e) = self.fill(&record).await {
            self.undo(&record).await;
            return Err(e);
        }
        let cell = Arc::new(Cell::new(record));
        let durability =
            if cell.record().spec.auto_remove { Durability::Relaxed } else { Durability::Synced };
        if let Err(e) = self.inner.records.create_container(cell.record(), durability).await {
            self.undo(&cell.record()).await;
            return Err(e);
        }
        self.insert(cell.clone());
        self.tell(&cell.record(), "create", &[]);
        Ok(())
    }

    /// The directory of its files, and volumes filled from the image.
    async fn fill(&self, record: &Container) -> Result<()> {
        let directory = self.directory(&record.id);
        std::fs::create_dir_all(&directory)
            .map_err(Error::io(format!("cannot make {}", directory.display())))?;
        self.prepare_root(record).await?;
        self.copy_up(record).await
    }

    /// Where its program begins is made now, as Docker's, so that files may be copied there before it runs; and an
    /// anonymous volume needs a directory to be on.
    async fn prepare_root(&self, record: &Container) -> Result<()> {
        let asked = record.spec.process.working_dir.clone();
        let path = clean_rooted(&asked);
        let volumes: Vec<String> = record.spec.volumes.iter().map(|volume| clean_rooted(volume)).collect();
        if path == "/" && volumes.is_empty() {
            return Ok(());
        }
        let (store, id) = (self.inner.store.clone(), record.id.clone());
        crate::blocking(move || {
            let root = store.open_rootfs(&id)?;
            minke_linux::mount::make_dir_in_root(root.as_fd(), &path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotADirectory => {
                    Error::Internal(format!("Cannot mkdir: {asked} is not a directory"))
                }
                _ => Error::Io { what: format!("cannot make the working directory {asked}"), source: e },
            })?;
            let is_file = |path: &&String| {
                let there = minke_linux::mount::open_in_root(root.as_fd(), path, rustix::fs::OFlags::PATH);
                there.and_then(|fd| minke_linux::mount::is_dir(fd.as_fd())).is_ok_and(|dir| !dir)
            };
            match volumes.iter().find(is_file) {
                Some(file) => Err(Error::Internal(format!(
                    "cannot mount volume over existing file, file exists {file}"
                ))),
                None => Ok(()),
            }
        })
        .await?
    }

    /// Takes back what `make` made.
    async fn undo(&self, record: &Container) {
        self.let_volumes_go(&record.id, &record.mounts);
        for mount in record.mounts.iter().filter(|m| !m.name.is_empty()) {
            let anonymous = self.inner.volumes.inspect(&mount.name).is_ok_and(|v| v.volume.anonymous);
            if anonymous && let Err(e) = self.inner.volumes.remove(&mount.name, true).await {
                tracing::warn!("cannot take back volume {}: {e}", mount.name);
            }
        }
        let (store, key, directory) =
            (self.inner.store.clone(), record.id.clone(), self.directory(&record.id));
        let undone = crate::blocking(move || {
            let discarded = store.discard(&key);
            let removed = crate::volume::remove_tree(&directory);
            (discarded, removed)
        })
        .await;
        match undone {
            Ok((Ok(()), Ok(()))) => {}
            other => tracing::warn!("cannot take back the root of container {}: {other:?}", record.id),
        }
    }

    fn image_of(&self, spec: &ContainerSpec) -> Result<Option<Arc<Image>>> {
        if spec.image.is_empty() {
            return Err(Error::Invalid("no image specified".into()));
        }
        match self.inner.store.resolve(&spec.image) {
            Ok(id) => Ok(Some(self.inner.store.get(&id)?)),
            // A name that cannot be one is the client's error: it need not try to pull it.
            Err(ImageError::NoSuchImage { .. }) if cannot_be_a_name(&spec.image) => {
                Err(Error::Invalid("invalid reference format".into()))
            }
            Err(ImageError::NoSuchImage { .. }) => {
                Err(Error::NotFound(crate::image::no_such_image(&spec.image)))
            }
            Err(e) => Err(e.into()),
        }
    }

    fn take_name(&self, wanted: Option<&str>, id: &ContainerId) -> Result<String> {
        if let Some(wanted) = wanted {
            let plain = wanted.strip_prefix('/').unwrap_or(wanted);
            check_name(wanted)?;
            self.reserve_name(plain, id)?;
            return Ok(plain.to_owned());
        }
        for attempt in 0..32 {
            let seed =
                u64::from_str_radix(&ContainerId::random().as_str()[..16], 16).unwrap_or(u64::from(attempt));
            let name = names::generate(seed, attempt);
            if self.reserve_name(&name, id).is_ok() {
                return Ok(name);
            }
        }
        let name = id.short().to_owned();
        self.reserve_name(&name, id)?;
        Ok(name)
    }

    /// `container:NAME` is kept as `container:ID`: names change (moby `adaptSharedNamespaceContainer`).
    fn name_by_id(&self, spec: &mut ContainerSpec) {
        let by_id = |target: &mut String| {
            if let Ok(found) = self.find(target) {
                *target = found.id.to_string();
            }
        };
        if let NetworkMode::Container(target) = &mut spec.networking.mode {
            by_id(target);
        }
        if let IpcSharing::Container(target) = &mut spec.namespaces.ipc {
            by_id(target);
        }
        if let Sharing::Container(target) = &mut spec.namespaces.pid {
            by_id(target);
        }
    }

    /// What only this machine can say of a spec.
    fn check(&self, spec: &ContainerSpec) -> Result<()> {
        if !spec.runtime.is_empty() && !crate::machine::known_runtime(&self.inner.config, &spec.runtime) {
            return Err(Error::Invalid(format!("unknown or invalid runtime name: {}", spec.runtime)));
        }
        if !spec.storage_options.is_empty() {
            return Err(Error::Internal(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option".into(),
            ));
        }
        if let IpcSharing::Container(target) = &spec.namespaces.ipc {
            self.find(target).map_err(|e| Error::Invalid(e.to_string()))?;
        }
        if let Sharing::Container(target) = &spec.namespaces.pid {
            self.find(target).map_err(|e| Error::Invalid(e.to_string()))?;
        }
        for link in spec.networking.links.iter().flatten() {
            let (target, _) = super::links::parse(link);
            self.find(target)
                .map_err(|e| Error::Invalid(format!("could not get container for {target}: {e}")))?;
        }
        self.inner.config_check_log(spec)?;
        Ok(())
    }

    /// The daemon's defaults, as Docker's inspect shows them.
    fn fill_defaults(&self, spec: &mut ContainerSpec) {
        let config = &self.inner.config;
        if spec.log.driver.is_empty() {
            spec.log.driver = config.log.driver.clone();
            if spec.log.options.is_empty() {
                spec.log.options = config.log.options.clone();
            }
        }
        if spec.shm_size == 0 {
            spec.shm_size = config.default_shm_size;
        }
        if spec.namespaces.ipc == IpcSharing::Default {
            spec.namespaces.ipc =
                if config.default_ipc_shareable { IpcSharing::Shareable } else { IpcSharing::Private };
        }
        if spec.namespaces.cgroup_host.is_none() {
            let by_version = self.inner.runtime.cgroups().version == 1;
            spec.namespaces.cgroup_host = Some(
                config.default_cgroupns_host.unwrap_or(by_version) || spec.security.privileged && by_version,
            );
        }
        if spec.runtime.is_empty() {
            spec.runtime = crate::machine::default_runtime(config).to_owned();
        }
        let memory = spec.resources.memory;
        if memory > 0 && spec.resources.memory_swap == 0 {
            spec.resources.memory_swap = memory * 2;
        }
    }
}

/// Docker's rule for container names.
pub(super) fn check_name(wanted: &str) -> Result<()> {
    let plain = wanted.strip_prefix('/').unwrap_or(wanted);
    if name::is_valid(plain) {
        return Ok(());
    }
    Err(Error::Invalid(format!("Invalid container name ({wanted}), only {} are allowed", name::PATTERN)))
}

/// Whether no image can have that name: it is no reference, and no id either.
fn cannot_be_a_name(image: &str) -> bool {
    let id = image.len() == 64 && image.bytes().all(|b| b.is_ascii_hexdigit());
    !id && minke_image::Reference::parse(image).is_err()
}

fn check_platform(spec: &ContainerSpec, image: &Image, warnings: &mut Vec<String>) -> Result<()> {
    let host = minke_image::platform::host();
    let made_for = image.config.platform();
    if let Some(wanted) = &spec.platform {
        if !minke_image::platform::suits(wanted, &made_for) {
            return Err(Error::NotFound(format!(
                "image with reference {} was found but does not provide the specified platform ({})",
                spec.image,
                minke_image::platform::format(wanted)
            )));
        }
        return Ok(());
    }
    if made_for.architecture != host.architecture && !made_for.architecture.is_empty() {
        warnings.push(format!(
            "The requested image's platform ({}) does not match the detected host platform ({}) and no specific platform was requested",
            minke_image::platform::format(&made_for),
            minke_image::platform::format(&host)
        ));
    }
    Ok(())
}

/// Empty endpoints by network name.
pub(super) type Endpoints = BTreeMap<String, minke_model::network::Endpoint>;
