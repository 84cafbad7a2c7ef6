//! The steps that build a container's root: default mounts, then the user's, the shallow before the deep. Pure.

use super::{Host, SpecError, defaults, devices};
use crate::request::{CreateRequest, MountSource, NetJoin, ResolvedMount};
use minke_linux::cgroup::Cgroup;
use minke_model::{
    container::{IpcSharing, NamespaceSpec},
    go::clean_rooted,
    mount::{MountKind, Propagation, ReadOnlyRecursion},
};
use minke_shim::plan::{ReadOnlyDepth, Step};
use std::path::Path;

/// mount(2)'s flags (include/uapi/linux/mount.h).
pub(super) mod flag {
    pub(in super::super) const RDONLY: u64 = 1;
    pub(in super::super) const NOSUID: u64 = 2;
    pub(in super::super) const NODEV: u64 = 4;
    pub(in super::super) const NOEXEC: u64 = 8;
    pub(in super::super) const SYNCHRONOUS: u64 = 16;
    pub(in super::super) const MANDLOCK: u64 = 64;
    pub(in super::super) const DIRSYNC: u64 = 128;
    pub(in super::super) const NOSYMFOLLOW: u64 = 256;
    pub(in super::super) const NOATIME: u64 = 1024;
    pub(in super::super) const NODIRATIME: u64 = 2048;
    pub(in super::super) const REC: u64 = 1 << 14;
    pub(in super::super) const PRIVATE: u64 = 1 << 18;
    pub(in super::super) const SLAVE: u64 = 1 << 19;
    pub(in super::super) const SHARED: u64 = 1 << 20;
    pub(in super::super) const RELATIME: u64 = 1 << 21;
    pub(in super::super) const STRICTATIME: u64 = 1 << 24;
}
use flag::*;

/// Where cgroups are seen inside.
const CGROUP: &str = "/sys/fs/cgroup";

/// Words of tmpfs options that are flags of mount(2): what they set and what they clear (mount(8)). `defaults` is
/// nothing.
const WORDS: [(&str, u64, u64); 26] = [
    ("defaults", 0, 0),
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", NOSUID, 0),
    ("suid", 0, NOSUID),
    ("nodev", NODEV, 0),
    ("dev", 0, NODEV),
    ("noexec", NOEXEC, 0),
    ("exec", 0, NOEXEC),
    ("sync", SYNCHRONOUS, 0),
    ("async", 0, SYNCHRONOUS),
    ("mand", MANDLOCK, 0),
    ("nomand", 0, MANDLOCK),
    ("dirsync", DIRSYNC, 0),
    ("noatime", NOATIME, STRICTATIME),
    ("atime", 0, NOATIME),
    ("nodiratime", NODIRATIME, 0),
    ("diratime", 0, NODIRATIME),
    ("relatime", RELATIME, STRICTATIME),
    ("norelatime", 0, RELATIME),
    ("strictatime", STRICTATIME, NOATIME),
    ("nostrictatime", 0, STRICTATIME),
    ("nosymfollow", NOSYMFOLLOW, 0),
    ("symfollow", 0, NOSYMFOLLOW),
    ("bind", 0, 0),
    ("rbind", 0, 0),
];

/// All steps, masks included, and how mounts travel over the root as a whole.
pub(super) fn plan(
    request: &CreateRequest,
    host: &Host,
    cgroup: &Cgroup,
    devices: &devices::Devices,
) -> Result<(Vec<Step>, u64), SpecError> {
    let spec = &request.container.spec;
    let users = user_mounts(request)?;
    let taken = |target: &str| users.iter().any(|(path, _)| path == target);
    let own_dev = !taken("/dev");

    let mut steps = default_mounts(request, host, cgroup);
    // What the user mounts stands in for what would be there.
    steps.retain(|step| {
        let target = target_of(step);
        // Parts of the cgroup tree go with it.
        let replaced = taken(target) || (target.starts_with("/sys/fs/cgroup/") && taken(CGROUP));
        !replaced && (own_dev || !target.starts_with("/dev"))
    });
    if own_dev {
        let after_dev = steps.iter().position(|s| target_of(s) == "/dev").map_or(0, |at| at + 1);
        let nodes = devices::steps(devices, host.kcore);
        steps.splice(after_dev..after_dev, nodes);
    }
    steps.extend(users.into_iter().map(|(_, step)| step));

    let (masked, readonly) = super::security::paths(spec, host);
    // A path that the user mounts is the user's to see and write.
    steps.extend(readonly.into_iter().map(|path| Step::ReadOnly { path }));
    steps.extend(masked.into_iter().map(|path| Step::Mask { path }));
    Ok((steps, root_propagation(&request.mounts)))
}

/// Where a step works.
fn target_of(step: &Step) -> &str {
    match step {
        Step::Mount { target, .. } | Step::Bind { target, .. } | Step::Layers { target, .. } => target,
        Step::Node { path, .. } | Step::Link { path, .. } | Step::Mask { path } | Step::ReadOnly { path } => {
            path
        }
    }
}

/// The root travels with the mount that travels the most (moby `oci_linux.go`, `WithMounts`).
fn root_propagation(mounts: &[ResolvedMount]) -> u64 {
    let any =
        |wanted: &[Propagation]| mounts.iter().any(|m| m.propagation.is_some_and(|p| wanted.contains(&p)));
    if any(&[Propagation::Shared, Propagation::Rshared]) {
        SHARED
    } else if any(&[Propagation::Slave, Propagation::Rslave]) {
        SLAVE | REC
    } else {
        0
    }
}

/// A new file system.
fn mount(fstype: &str, source: &str, target: &str, flags: u64, data: &str) -> Step {
    Step::Mount {
        fstype: fstype.into(),
        source: source.into(),
        target: target.into(),
        flags,
        data: data.into(),
        propagation: 0,
    }
}

/// A path of the host.
fn bind(source: &str, target: &str, flags: u64) -> Step {
    Step::Bind {
        source: source.into(),
        subpath: String::new(),
        target: target.into(),
        recursive: true,
        flags,
        depth: ReadOnlyDepth::AllIfPossible,
        propagation: 0,
    }
}

/// /proc, /dev, /sys and what is in them (moby `oci/defaults.go`, `DefaultLinuxSpec`).
fn default_mounts(request: &CreateRequest, host: &Host, cgroup: &Cgroup) -> Vec<Step> {
    let spec = &request.container.spec;
    let locked = NOSUID | NOEXEC | NODEV;
    let readonly = if spec.security.privileged { 0 } else { RDONLY };
    let mut steps = vec![
        mount("proc", "proc", "/proc", locked, ""),
        mount("tmpfs", "tmpfs", "/dev", NOSUID | STRICTATIME, "mode=755,size=65536k"),
        mount("devpts", "devpts", "/dev/pts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("sysfs", "sysfs", "/sys", locked | readonly, ""),
    ];
    steps.extend(cgroup_mounts(request, host, cgroup));
    steps.push(mount("mqueue", "mqueue", "/dev/mqueue", locked, ""));
    steps.extend(shm(request, &spec.namespaces));
    steps
}

/// /dev/shm: own, the machine's, another container's or none.
fn shm(request: &CreateRequest, namespaces: &NamespaceSpec) -> Option<Step> {
    let path = "/dev/shm";
    match (&namespaces.ipc, request.join.ipc) {
        (IpcSharing::None, _) => None,
        (IpcSharing::Host, _) => Some(bind(path, path, 0)),
        (IpcSharing::Container(_), Some(pid)) => Some(bind(&format!("/proc/{pid}/root{path}"), path, 0)),
        (IpcSharing::Shareable, _) if request.shm.is_some() => {
            request.shm.as_ref().map(|shm| bind(&shm.to_string_lossy(), path, 0))
        }
        _ => {
            let size = match request.container.spec.shm_size {
                0 => defaults::SHM_SIZE,
                size => size,
            };
            Some(mount("tmpfs", "shm", path, NOSUID | NODEV | NOEXEC, &format!("mode=1777,size={size}")))
        }
    }
}

/// Whether the container sees the machine's cgroups by their full names (moby `adaptContainerSettings`: private on
/// v2, the machine's on v1).
pub(super) fn cgroup_namespace_is_host(namespaces: &NamespaceSpec, version: u8) -> bool {
    namespaces.cgroup_host.unwrap_or(version == 1)
}

/// /sys/fs/cgroup as Docker shows it: v2's one tree, or a directory for each v1 hierarchy.
fn cgroup_mounts(request: &CreateRequest, host: &Host, cgroup: &Cgroup) -> Vec<Step> {
    let spec = &request.container.spec;
    let locked = NOSUID | NOEXEC | NODEV;
    let readonly = if super::security::writable_cgroups(&spec.security) { 0 } else { RDONLY };
    if host.cgroups.version() == 2 {
        return vec![mount("cgroup2", "cgroup", CGROUP, locked | readonly | RELATIME, "")];
    }
    let in_host = cgroup_namespace_is_host(&spec.namespaces, 1);
    let mut steps = vec![mount("tmpfs", "tmpfs", CGROUP, locked, "mode=755")];
    for hierarchy in &host.cgroups.mounts().v1 {
        let name = hierarchy.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = format!("{CGROUP}/{name}");
        let links = hierarchy.controllers.iter().filter(|c| **c != name && !c.starts_with("name="));
        let links = links.map(|c| Step::Link { path: format!("{CGROUP}/{c}"), to: name.clone() });
        if in_host {
            let inner = cgroup.path();
            let source = hierarchy.mount.join(inner.trim_start_matches('/'));
            steps.push(bind(&source.to_string_lossy(), &target, locked | readonly));
        } else {
            steps.push(mount("cgroup", "cgroup", &target, locked | readonly, &hierarchy.name()));
        }
        steps.extend(links);
    }
    if readonly != 0 {
        steps.push(Step::ReadOnly { path: CGROUP.into() });
    }
    steps
}

/// What the user and the engine mount, the shallow before the deep; each with its target.
fn user_mounts(request: &CreateRequest) -> Result<Vec<(String, Step)>, SpecError> {
    let spec = &request.container.spec;
    let mut mounts: Vec<(String, Step)> = Vec::new();
    for wanted in &request.mounts {
        mounts.push((clean_rooted(&wanted.target), resolved(wanted, &wanted.target)?));
    }
    for (target, options) in &spec.tmpfs {
        let target = clean_rooted(target);
        if mounts.iter().all(|(taken, _)| *taken != target) {
            mounts.push((target.clone(), tmpfs(&target, options, true, None)?));
        }
    }
    for (source, target) in network_files(request) {
        if mounts.iter().all(|(taken, _)| taken != target) {
            let flags = if spec.security.readonly_rootfs { RDONLY } else { 0 };
            mounts.push((target.to_owned(), bind(&source.to_string_lossy(), target, flags)));
        }
    }
    // Stable: mounts of one depth stay in the order that they were asked for.
    mounts.sort_by_key(|(target, _)| target.split('/').filter(|part| !part.is_empty()).count());
    Ok(mounts)
}

/// The files that hold a container's network names.
fn network_files(request: &CreateRequest) -> Vec<(&Path, &'static str)> {
    let files = request.files.iter().flat_map(|files| {
        [
            (&files.resolv_conf, "/etc/resolv.conf"),
            (&files.hostname, "/etc/hostname"),
            (&files.hosts, "/etc/hosts"),
        ]
    });
    files
        .filter(|(source, _)| !source.as_os_str().is_empty())
        .map(|(source, target)| (source.as_path(), target))
        .collect()
}

/// One mount of the container's record.
fn resolved(wanted: &ResolvedMount, target: &str) -> Result<Step, SpecError> {
    let target = clean_rooted(target);
    Ok(match &wanted.source {
        MountSource::Tmpfs => tmpfs(&target, &wanted.tmpfs_options, wanted.writable, wanted.propagation)?,
        MountSource::Layers(lower) => Step::Layers {
            lower: lower.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            subpath: wanted.subpath.clone(),
            target,
        },
        MountSource::Path(source) => Step::Bind {
            source: source.to_string_lossy().into_owned(),
            subpath: wanted.subpath.clone(),
            target,
            recursive: !wanted.non_recursive,
            flags: if wanted.writable { 0 } else { RDONLY },
            depth: match wanted.read_only_recursion {
                _ if wanted.non_recursive || wanted.kind != MountKind::Bind => ReadOnlyDepth::Top,
                ReadOnlyRecursion::Never => ReadOnlyDepth::Top,
                ReadOnlyRecursion::IfPossible => ReadOnlyDepth::AllIfPossible,
                ReadOnlyRecursion::Always => ReadOnlyDepth::All,
            },
            propagation: propagation_flags(wanted.propagation),
        },
    })
}

/// `MS_*` of a propagation; `rprivate`, which all new mounts have, is 0.
fn propagation_flags(propagation: Option<Propagation>) -> u64 {
    match propagation {
        None | Some(Propagation::Rprivate) => 0,
        Some(Propagation::Private) => PRIVATE,
        Some(Propagation::Shared) => SHARED,
        Some(Propagation::Rshared) => SHARED | REC,
        Some(Propagation::Slave) => SLAVE,
        Some(Propagation::Rslave) => SLAVE | REC,
    }
}

/// A tmpfs: locked unless its options say otherwise. Of options that contradict each other the last counts.
fn tmpfs(
    target: &str,
    options: &str,
    writable: bool,
    propagation: Option<Propagation>,
) -> Result<Step, SpecError> {
    let mut flags = NOSUID | NODEV | NOEXEC;
    let mut travel = propagation_flags(propagation);
    let mut data: Vec<&str> = Vec::new();
    for word in options.split(',').filter(|word| !word.is_empty()) {
        if let Some((_, set, clear)) = WORDS.iter().find(|(name, ..)| *name == word) {
            flags = (flags & !clear) | set;
        } else if let Some(propagation) = Propagation::parse(word) {
            travel = propagation_flags(Some(propagation));
        } else {
            let key = word.split('=').next().unwrap_or(word);
            if !matches!(
                key,
                "size"
                    | "mode"
                    | "uid"
                    | "gid"
                    | "nr_inodes"
                    | "nr_blocks"
                    | "mpol"
                    | "huge"
                    | "inode32"
                    | "inode64"
                    | "noswap"
            ) {
                return Err(SpecError::TmpfsOption { option: word.to_owned() });
            }
            data.retain(|old| old.split('=').next() != Some(key));
            data.push(word);
        }
    }
    if !writable {
        flags |= RDONLY;
    }
    Ok(Step::Mount {
        fstype: "tmpfs".into(),
        source: "tmpfs".into(),
        target: target.into(),
        flags,
        data: data.join(","),
        propagation: travel,
    })
}

/// Whether the container has a network namespace of its own, whose sysctls are its own to set.
pub(super) fn has_own_network(request: &CreateRequest) -> bool {
    request.join.net == NetJoin::New
}
