//! A container's mounts: decided at create, found on the host at start.
//!
//! Order of precedence, as Docker's: `volumes-from`, then `-v`, then `--mount`, then the image's volumes; a later one
//! for the same target replaces one that was taken from another container only.

use super::Containers;
use crate::{Error, error::Result, volume::VolumeCreate};
use minke_image::tree;
use minke_model::{
    Container, ContainerId, ContainerSpec, Labels,
    go::clean_rooted,
    mount::{BindSpec, MountKind, MountPoint, MountSpec, Propagation, ReadOnlyRecursion},
};
use minke_runtime::{MountSource, ResolvedMount};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

/// A mount point, and the volume to make for it.
pub(super) struct Planned {
    point: MountPoint,
    volume: Option<VolumeCreate>,
}

/// Decides the mounts of `spec`. Makes nothing.
pub(super) fn plan(containers: &Containers, spec: &ContainerSpec) -> Result<Vec<Planned>> {
    let mut inherited: BTreeMap<String, Planned> = BTreeMap::new();
    for from in spec.volumes_from.iter().flatten() {
        let (name, mode) = parse_volumes_from(from)?;
        let other = containers.get(name).map_err(|e| Error::Invalid(e.to_string()))?;
        for point in &other.mounts {
            let mut point = point.clone();
            point.copy_up = false;
            point.from_mount_spec = false;
            if mode.split(',').any(|m| m == "ro") {
                point.writable = false;
            }
            if !mode.is_empty() {
                point.mode = mode.to_owned();
            }
            inherited.insert(point.destination.clone(), Planned { point, volume: None });
        }
    }
    let mut own: BTreeMap<String, Planned> = BTreeMap::new();
    for bind in spec.binds.iter().flatten() {
        let planned = of_bind(containers, spec, bind)?;
        add(&mut own, planned)?;
    }
    for mount in &spec.mounts {
        let planned = of_mount(containers, mount)?;
        add(&mut own, planned)?;
    }
    for target in spec.tmpfs.keys() {
        if own.contains_key(&clean_rooted(target)) {
            return Err(Error::Invalid(format!("Duplicate mount point: {target}")));
        }
    }
    let mut all = inherited;
    all.extend(own);
    for target in &spec.volumes {
        let target = clean_rooted(target);
        if all.contains_key(&target) || spec.tmpfs.keys().any(|t| clean_rooted(t) == target) {
            continue;
        }
        all.insert(target.clone(), anonymous(&target, &spec.volume_driver));
    }
    Ok(all.into_values().collect())
}

fn add(all: &mut BTreeMap<String, Planned>, planned: Planned) -> Result<()> {
    let target = planned.point.destination.clone();
    if all.insert(target.clone(), planned).is_some() {
        return Err(Error::Invalid(format!("Duplicate mount point: {target}")));
    }
    Ok(())
}

fn of_bind(containers: &Containers, spec: &ContainerSpec, bind: &BindSpec) -> Result<Planned> {
    let target = clean_rooted(&bind.target);
    let flags: Vec<&str> = bind.mode.split(',').filter(|m| !m.is_empty()).collect();
    let writable = !flags.contains(&"ro");
    if bind.source.is_empty() {
        let mut planned = anonymous(&target, &spec.volume_driver);
        planned.point.writable = writable;
        planned.point.copy_up = !flags.contains(&"nocopy");
        planned.point.mode = bind.mode.clone();
        return Ok(planned);
    }
    if !bind.source.starts_with('/') {
        let volume = VolumeCreate {
            name: bind.source.clone(),
            driver: spec.volume_driver.clone(),
            ..VolumeCreate::default()
        };
        let point = MountPoint {
            copy_up: !flags.contains(&"nocopy"),
            mode: if bind.mode.is_empty() { "z".into() } else { bind.mode.clone() },
            ..volume_point(&target, &bind.source, writable)
        };
        return Ok(Planned { point, volume: Some(volume) });
    }
    let source = PathBuf::from(clean_rooted(&bind.source));
    let asked = flags.iter().find_map(|f| Propagation::parse(f));
    let propagation = propagation_of(&containers.inner.config.data_root, &source, asked)?;
    if !source.exists() {
        // Docker's habit for `-v`: the missing directory is made.
        std::fs::create_dir_all(&source).map_err(|e| {
            Error::Invalid(format!(
                "error while creating mount source path '{}': mkdir {}: {e}",
                source.display(),
                source.display()
            ))
        })?;
    }
    let point = MountPoint {
        kind: MountKind::Bind,
        name: String::new(),
        source: source.display().to_string(),
        destination: target,
        driver: String::new(),
        mode: bind.mode.clone(),
        writable,
        propagation: Some(propagation),
        non_recursive: false,
        read_only_recursion: if bind.shallow {
            ReadOnlyRecursion::Never
        } else {
            ReadOnlyRecursion::IfPossible
        },
        copy_up: false,
        subpath: String::new(),
        tmpfs_options: String::new(),
        from_mount_spec: false,
    };
    Ok(Planned { point, volume: None })
}

fn of_mount(containers: &Containers, mount: &MountSpec) -> Result<Planned> {
    let target = clean_rooted(&mount.target);
    let mut planned = match mount.kind {
        MountKind::Bind => mounted_bind(containers, mount, &target)?,
        MountKind::Volume => mounted_volume(mount, &target),
        MountKind::Tmpfs => Planned { point: tmpfs_point(mount, &target), volume: None },
        MountKind::Image => mounted_image(containers, mount, &target)?,
    };
    planned.point.from_mount_spec = true;
    Ok(planned)
}

fn mounted_bind(containers: &Containers, mount: &MountSpec, target: &str) -> Result<Planned> {
    let options = mount.bind.clone().unwrap_or_default();
    let source = PathBuf::from(clean_rooted(&mount.source));
    let propagation = propagation_of(&containers.inner.config.data_root, &source, options.propagation)?;
    if !source.exists() {
        if !options.create_mountpoint {
            return Err(Error::Invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source
            )));
        }
        std::fs::create_dir_all(&source)
            .map_err(Error::io(format!("error while creating mount source path '{}'", source.display())))?;
    }
    let recursion = match (options.read_only_non_recursive, options.read_only_force_recursive) {
        (true, _) => ReadOnlyRecursion::Never,
        (_, true) => ReadOnlyRecursion::Always,
        _ => ReadOnlyRecursion::IfPossible,
    };
    let point = MountPoint {
        kind: MountKind::Bind,
        name: String::new(),
        source: source.display().to_string(),
        destination: target.to_owned(),
        driver: String::new(),
        mode: String::new(),
        writable: !mount.read_only,
        propagation: Some(propagation),
        non_recursive: options.non_recursive,
        read_only_recursion: recursion,
        copy_up: false,
        subpath: String::new(),
        tmpfs_options: String::new(),
        from_mount_spec: true,
    };
    Ok(Planned { point, volume: None })
}

fn mounted_volume(mount: &MountSpec, target: &str) -> Planned {
    let options = mount.volume.clone().unwrap_or_default();
    let volume = VolumeCreate {
        name: mount.source.clone(),
        driver: options.driver,
        options: options.driver_options,
        labels: options.labels,
        anonymous: mount.source.is_empty(),
    };
    let point = MountPoint {
        copy_up: !options.no_copy,
        subpath: options.subpath,
        mode: "z".into(),
        ..volume_point(target, &mount.source, !mount.read_only)
    };
    Planned { point, volume: Some(volume) }
}

fn tmpfs_point(mount: &MountSpec, target: &str) -> MountPoint {
    let options = mount.tmpfs.clone().unwrap_or_default();
    let mut words = Vec::new();
    if mount.read_only {
        words.push("ro".to_owned());
    }
    if options.size > 0 {
        words.push(format!("size={}", options.size));
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    words.extend(options.options.iter().map(|o| o.join("=")));
    MountPoint {
        kind: MountKind::Tmpfs,
        name: String::new(),
        source: String::new(),
        destination: target.to_owned(),
        driver: String::new(),
        mode: String::new(),
        writable: !mount.read_only,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::IfPossible,
        copy_up: false,
        subpath: String::new(),
        tmpfs_options: words.join(","),
        from_mount_spec: true,
    }
}

fn mounted_image(containers: &Containers, mount: &MountSpec, target: &str) -> Result<Planned> {
    let id = containers
        .inner
        .store
        .resolve(&mount.source)
        .map_err(|_| Error::NotFound(crate::image::no_such_image(&mount.source)))?;
    let point = MountPoint {
        kind: MountKind::Image,
        name: id.to_string(),
        source: mount.source.clone(),
        destination: target.to_owned(),
        driver: String::new(),
        mode: String::new(),
        writable: false,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::IfPossible,
        copy_up: false,
        subpath: mount.image_subpath.clone().unwrap_or_default(),
        tmpfs_options: String::new(),
        from_mount_spec: true,
    };
    Ok(Planned { point, volume: None })
}

fn anonymous(target: &str, driver: &str) -> Planned {
    let volume = VolumeCreate { driver: driver.to_owned(), anonymous: true, ..VolumeCreate::default() };
    let point = MountPoint { copy_up: true, ..volume_point(target, "", true) };
    Planned { point, volume: Some(volume) }
}

fn volume_point(target: &str, name: &str, writable: bool) -> MountPoint {
    MountPoint {
        kind: MountKind::Volume,
        name: name.to_owned(),
        source: String::new(),
        destination: target.to_owned(),
        driver: "local".into(),
        mode: String::new(),
        writable,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::IfPossible,
        copy_up: false,
        subpath: String::new(),
        tmpfs_options: String::new(),
        from_mount_spec: false,
    }
}

/// How a bind mount travels. One that shows the daemon's own tree must let go what the daemon unmounts: it follows the
/// host where nothing is asked for, and what would keep mounts back is refused (moby `validateBindDaemonRoot`).
fn propagation_of(root: &Path, source: &Path, asked: Option<Propagation>) -> Result<Propagation> {
    if !source.starts_with(root) && !root.starts_with(source) {
        return Ok(asked.unwrap_or_default());
    }
    match asked {
        None => Ok(Propagation::Rslave),
        Some(fine @ (Propagation::Rslave | Propagation::Rshared)) => Ok(fine),
        Some(other) => Err(Error::Invalid(format!(
            "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root, daemon root: \"{}\", bind mount source: \"{}\", propagation: \"{}\"",
            root.display(),
            source.display(),
            other.as_str()
        ))),
    }
}

/// Refuses a part of a volume that is not there or leads out of it, in dockerd's words. What is mounted is found again
/// below the volume's root, where no link leads out: this only says why not.
fn check_subpath(base: &Path, subpath: &str) -> Result<()> {
    if subpath.is_empty() {
        return Ok(());
    }
    let whole = base.join(subpath);
    let real = whole.canonicalize().map_err(|e| {
        // Go names the part that is missing.
        let parts = whole.ancestors().collect::<Vec<_>>();
        let missing = parts.iter().rev().find(|part| part.symlink_metadata().is_err()).unwrap_or(&parts[0]);
        let why = minke_linux::words::of(&e);
        Error::NotFound(format!("cannot access path {}: lstat {}: {why}", whole.display(), missing.display()))
    })?;
    let base = base.canonicalize().map_err(Error::io(format!("cannot access path {}", base.display())))?;
    if real.starts_with(&base) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "path concatenation escapes the base directory, base: {}, subpath: {subpath}",
        base.display()
    )))
}

/// The same for a part of an image.
fn check_part(root: BorrowedFd<'_>, image: &str, subpath: &str) -> Result<()> {
    use rustix::{
        fs::{Mode, OFlags, ResolveFlags, openat2},
        io::Errno,
    };
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, subpath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
        Ok(_) => Ok(()),
        Err(Errno::XDEV) => Err(Error::Invalid(format!(
            "path concatenation escapes the base directory, base: {image}, subpath: {subpath}"
        ))),
        Err(errno) => {
            let why = minke_linux::words::of(&errno.into());
            Err(Error::NotFound(format!("cannot access path {image}/{subpath}: {why}")))
        }
    }
}

/// A directory below another one, found without leaving it.
fn part_of(base: &Path, subpath: &str) -> std::io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(base, flags, Mode::empty())?;
    minke_linux::mount::open_in_root(root.as_fd(), subpath, OFlags::PATH | OFlags::DIRECTORY)
}

fn fd_path(fd: &std::os::fd::OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// `container[:ro|rw|…]`.
fn parse_volumes_from(text: &str) -> Result<(&str, &str)> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(Error::Invalid(format!("invalid volumes-from specification: {text}")));
    }
    let known = ["", "ro", "rw", "z", "Z", "nocopy"];
    if mode.split(',').any(|m| !known.contains(&m) && Propagation::parse(m).is_none()) {
        return Err(Error::Invalid(format!("invalid mode for volumes-from: {mode}")));
    }
    Ok((name, mode))
}

impl Containers {
    /// Makes the volumes of planned mounts and notes that `id` names them; the finished mount points.
    pub(super) async fn make_volumes(
        &self,
        id: &ContainerId,
        planned: Vec<Planned>,
    ) -> Result<Vec<MountPoint>> {
        let mut points: Vec<MountPoint> = Vec::with_capacity(planned.len());
        for Planned { mut point, volume } in planned {
            if let Some(wish) = volume {
                match self.inner.volumes.create(wish).await {
                    Ok(made) => {
                        point.name.clone_from(&made.volume.name);
                        point.source = made.mountpoint.display().to_string();
                    }
                    Err(e) => {
                        self.let_volumes_go(id, &points);
                        return Err(e);
                    }
                }
            }
            if point.kind == MountKind::Volume {
                self.inner.volumes.hold(&point.name, id);
            }
            points.push(point);
        }
        Ok(points)
    }

    /// Notes that `id` names its volumes no more.
    pub(super) fn let_volumes_go(&self, id: &ContainerId, points: &[MountPoint]) {
        for point in points.iter().filter(|p| p.kind == MountKind::Volume) {
            self.inner.volumes.let_go(&point.name, id);
        }
    }

    /// Fills empty volumes from the image, as Docker does at their first use.
    pub(super) async fn copy_up(&self, record: &Container) -> Result<()> {
        let Some(image) = record.image_id.clone() else { return Ok(()) };
        for point in record.mounts.iter().filter(|p| p.copy_up && p.kind == MountKind::Volume) {
            let data = PathBuf::from(&point.source);
            let (store, image, target) = (self.inner.store.clone(), image.clone(), point.destination.clone());
            let what = format!("cannot fill volume {} from {} of the image", point.name, point.destination);
            let subpath = point.subpath.clone();
            let filled = crate::blocking(move || {
                // Held while its content comes: nobody can put a link in its place.
                let held = match subpath.as_str() {
                    "" => None,
                    subpath => match part_of(&data, subpath) {
                        Ok(part) => Some(part),
                        // The start says what is wrong with it.
                        Err(_) => return Ok(()),
                    },
                };
                let data = held.as_ref().map_or(data, |fd| PathBuf::from(format!("{}/.", fd_path(fd))));
                if std::fs::read_dir(&data)?.next().is_some() {
                    return Ok(());
                }
                let root = store.open_image(&image).map_err(std::io::Error::other)?;
                tree::copy_directory(root.as_fd(), &target, &data).map_err(std::io::Error::other)
            })
            .await?;
            filled.map_err(Error::io(what))?;
        }
        Ok(())
    }

    /// The volume's directory, once it is sure that the part asked for is there, and inside of it.
    fn volume_source(&self, record: &Container, point: &MountPoint) -> Result<PathBuf> {
        let base = self.inner.volumes.mount(&point.name, &record.id)?;
        if let Err(e) = check_subpath(&base, &point.subpath) {
            self.inner.volumes.unmount(&point.name, &record.id);
            return Err(e);
        }
        Ok(base)
    }

    /// Finds each mount's content on the host for a container that starts. Volumes are held mounted until
    /// `release_mounts`.
    pub(super) fn resolve_mounts(&self, record: &Container) -> Result<Vec<ResolvedMount>> {
        let mut resolved = Vec::with_capacity(record.mounts.len() + record.spec.tmpfs.len());
        for point in &record.mounts {
            let source = match point.kind {
                MountKind::Volume => MountSource::Path(self.volume_source(record, point)?),
                MountKind::Bind => {
                    let path = PathBuf::from(&point.source);
                    if !path.exists() {
                        return Err(self.missing_source(record, point));
                    }
                    MountSource::Path(path)
                }
                MountKind::Tmpfs => MountSource::Tmpfs,
                MountKind::Image => {
                    let id = self.inner.store.resolve(&point.name)?;
                    if !point.subpath.is_empty() {
                        check_part(self.inner.store.open_image(&id)?.as_fd(), &point.name, &point.subpath)?;
                    }
                    MountSource::Layers(self.inner.store.layer_paths(&id)?)
                }
            };
            resolved.push(ResolvedMount {
                kind: point.kind,
                source,
                subpath: point.subpath.clone(),
                target: point.destination.clone(),
                writable: point.writable,
                propagation: point.propagation,
                non_recursive: point.non_recursive,
                read_only_recursion: point.read_only_recursion,
                tmpfs_options: point.tmpfs_options.clone(),
            });
        }
        for (target, options) in &record.spec.tmpfs {
            resolved.push(ResolvedMount {
                kind: MountKind::Tmpfs,
                source: MountSource::Tmpfs,
                subpath: String::new(),
                target: clean_rooted(target),
                writable: !options.split(',').any(|o| o == "ro"),
                propagation: None,
                non_recursive: false,
                read_only_recursion: ReadOnlyRecursion::IfPossible,
                tmpfs_options: options.clone(),
            });
        }
        // Parents before what lies below them.
        resolved.sort_by_key(|m| m.target.matches('/').count() + usize::from(m.target != "/"));
        Ok(resolved)
    }

    fn missing_source(&self, record: &Container, point: &MountPoint) -> Error {
        let text = if point.from_mount_spec {
            format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                point.source
            )
        } else {
            format!(
                "bind source path does not exist: {} (mounted at {} of container {})",
                point.source, point.destination, record.name
            )
        };
        Error::Invalid(text)
    }

    /// Takes back what `resolve_mounts` held.
    pub(super) fn release_mounts(&self, record: &Container) {
        for point in record.mounts.iter().filter(|p| p.kind == MountKind::Volume) {
            self.inner.volumes.unmount(&point.name, &record.id);
        }
    }

    /// Labels that `label!=` filters and events of a container see.
    pub(super) fn labels(record: &Container) -> &Labels {
        &record.spec.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, want) in [("/a//b/", "/a/b"), ("/a/../..", "/"), ("/a/./b", "/a/b"), ("a", "/a")] {
            assert_eq!(clean_rooted(path), want);
        }
    }

    #[test]
    fn what_shows_the_daemons_own_tree_follows_the_host() {
        let of = |source: &str, asked| propagation_of(Path::new("/var/lib/d"), Path::new(source), asked).ok();
        assert_eq!(of("/srv", None), Some(Propagation::default()));
        assert_eq!(of("/srv", Some(Propagation::Shared)), Some(Propagation::Shared));
        for own in ["/var/lib/d", "/var/lib/d/volumes", "/var", "/"] {
            assert_eq!(of(own, None), Some(Propagation::Rslave), "{own}");
            assert_eq!(of(own, Some(Propagation::Rshared)), Some(Propagation::Rshared), "{own}");
            assert_eq!(of(own, Some(Propagation::Rprivate)), None, "{own}");
        }
    }

    #[test]
    fn a_part_of_a_volume_must_be_there_and_inside() {
        let base = std::env::temp_dir().join(format!("minke-subpath-{}", std::process::id()));
        std::fs::create_dir_all(base.join("sub")).unwrap();
        std::os::unix::fs::symlink("/", base.join("out")).unwrap();
        std::os::unix::fs::symlink("sub", base.join("in")).unwrap();
        let said =
            |subpath: &str| check_subpath(&base, subpath).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!((said(""), said("sub"), said("in")), (String::new(), String::new(), String::new()));
        let (none, whole) =
            (base.join("none").display().to_string(), base.join("none/deep").display().to_string());
        assert_eq!(
            said("none/deep"),
            format!("cannot access path {whole}: lstat {none}: no such file or directory")
        );
        assert!(said("out").starts_with("path concatenation escapes the base directory"), "{}", said("out"));
        assert!(part_of(&base, "sub").is_ok() && part_of(&base, "none").is_err());
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn volumes_from_takes_a_mode() {
        assert_eq!(parse_volumes_from("web:ro").ok(), Some(("web", "ro")));
        assert!(parse_volumes_from("web:bogus").is_err());
        assert!(parse_volumes_from(":ro").is_err());
    }
}
