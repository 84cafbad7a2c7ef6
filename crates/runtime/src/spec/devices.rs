//! Which devices a container sees, and which it may use. Pure, but for looking at the host's nodes.

use super::{SpecError, defaults};
use minke_linux::cgroup::{DeviceKind, DeviceRule, devices::access_of};
use minke_model::ContainerSpec;
use minke_shim::plan::Step;
use std::{io, path::Path};

/// `S_IFCHR`.
const CHAR: u32 = 0o020_000;
/// `S_IFBLK`.
const BLOCK: u32 = 0o060_000;
/// How deep a directory of devices is looked through, and how many are taken: /dev is flat.
const DEPTH: u32 = 8;
const MOST: usize = 16_384;

/// A device node of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where.
    pub path: String,
    /// A block device, else a character device.
    pub block: bool,
    /// Its driver.
    pub major: u32,
    /// Which of the driver's.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Looks at the host's devices; a fake in tests.
pub trait DeviceLookup {
    /// The node at `path`, symlinks followed.
    ///
    /// # Errors
    /// When there is none or it is no device.
    fn node(&self, path: &str) -> io::Result<Node>;
    /// All nodes in a directory and below.
    ///
    /// # Errors
    /// When it is no directory.
    fn below(&self, path: &str) -> io::Result<Vec<Node>>;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDevices;

impl DeviceLookup for HostDevices {
    fn node(&self, path: &str) -> io::Result<Node> {
        node_of(path.to_owned(), &std::fs::metadata(path)?)
            .ok_or_else(|| io::Error::other("not a device node"))
    }

    fn below(&self, path: &str) -> io::Result<Vec<Node>> {
        let mut nodes = Vec::new();
        collect(Path::new(path), &mut nodes, 0)?;
        nodes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(nodes)
    }
}

/// A device's node; `None` for other files.
fn node_of(path: String, meta: &std::fs::Metadata) -> Option<Node> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let kind = meta.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return None;
    }
    Some(Node {
        path,
        block: kind.is_block_device(),
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

/// Directories of /dev that hold no devices of the machine, or are made anew for each container.
const NOT_DEVICES: [&str; 8] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];

/// Nodes in a directory and below; symlinks are not followed.
fn collect(dir: &Path, nodes: &mut Vec<Node>, depth: u32) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if NOT_DEVICES.iter().any(|skipped| name == *skipped) || nodes.len() >= MOST {
            continue;
        }
        // What goes away while one looks was not there.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && depth < DEPTH {
            let _ = collect(&entry.path(), nodes, depth + 1);
        } else if let Some(node) = node_of(entry.path().to_string_lossy().into_owned(), &meta) {
            nodes.push(node);
        }
    }
    Ok(())
}

/// A container's devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Devices {
    /// Nodes besides the default ones, with their paths inside.
    pub(super) nodes: Vec<Node>,
    /// Rules of its device cgroup.
    pub(super) rules: Vec<DeviceRule>,
}

/// What a container asks for: all of the host's when privileged, else `--device` and `--device-cgroup-rule`.
pub(super) fn plan(spec: &ContainerSpec, lookup: &dyn DeviceLookup) -> Result<Devices, SpecError> {
    if spec.security.privileged {
        let mut nodes = lookup.below("/dev").unwrap_or_default();
        nodes.retain(|node| is_free(&node.path));
        add_renamed(spec, lookup, &mut nodes)?;
        return Ok(Devices { nodes, rules: vec![DeviceRule::everything()] });
    }
    let mut devices = Devices {
        nodes: Vec::new(),
        rules: defaults::DEVICE_RULES.iter().filter_map(|r| DeviceRule::parse(r)).collect(),
    };
    for asked in spec.resources.devices.iter().flatten() {
        // Docker passes on what it is given, and letters that mean nothing give nothing.
        let letters: String = asked.permissions.chars().filter(|c| "rwm".contains(*c)).collect();
        let access = access_of(&letters).unwrap_or_default();
        for node in find(lookup, &asked.host_path, &asked.container_path)? {
            let kind = if node.block { DeviceKind::Block } else { DeviceKind::Char };
            let (major, minor) = (Some(node.major), Some(node.minor));
            if access != 0 {
                devices.rules.push(DeviceRule { allow: true, kind, major, minor, access });
            }
            // What every container has it has once.
            if is_free(&node.path) {
                devices.nodes.push(node);
            }
        }
    }
    for text in spec.resources.device_cgroup_rules.iter().flatten() {
        let rule = DeviceRule::parse(text).ok_or_else(|| SpecError::DeviceRule { rule: text.clone() })?;
        devices.rules.push(rule);
    }
    Ok(devices)
}

/// Whether no default node or link has that path.
fn is_free(path: &str) -> bool {
    defaults::NODES.iter().all(|node| node.path != path)
        && defaults::LINKS.iter().all(|(link, _)| *link != path)
}

/// A privileged container has all devices under their own names; other names are added.
fn add_renamed(
    spec: &ContainerSpec,
    lookup: &dyn DeviceLookup,
    nodes: &mut Vec<Node>,
) -> Result<(), SpecError> {
    for asked in spec.resources.devices.iter().flatten().filter(|d| d.host_path != d.container_path) {
        for node in find(lookup, &asked.host_path, &asked.container_path)? {
            if nodes.iter().all(|n| n.path != node.path) {
                nodes.push(node);
            }
        }
    }
    Ok(())
}

/// A node, or all nodes of a directory, under the path inside.
fn find(lookup: &dyn DeviceLookup, host: &str, inside: &str) -> Result<Vec<Node>, SpecError> {
    let failed = |cause: io::Error| SpecError::Device { path: host.to_owned(), cause };
    match lookup.node(host) {
        Ok(node) => Ok(vec![Node { path: inside.to_owned(), ..node }]),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(failed(cause)),
        Err(cause) => {
            let nodes = lookup.below(host).map_err(|_| failed(cause))?;
            let inside = inside.trim_end_matches('/');
            let host = host.trim_end_matches('/');
            let renamed = |node: Node| {
                let rest = node.path.strip_prefix(host).unwrap_or_default().to_owned();
                Node { path: format!("{inside}{rest}"), ..node }
            };
            Ok(nodes.into_iter().map(renamed).collect())
        }
    }
}

/// Steps that make a container's /dev: default nodes, links, then what it asked for.
pub(super) fn steps(devices: &Devices, kcore: bool) -> Vec<Step> {
    let mut steps = Vec::with_capacity(12 + devices.nodes.len());
    for node in &defaults::NODES {
        let (major, minor) = (node.major, node.minor);
        steps.push(Step::Node {
            path: node.path.into(),
            kind: CHAR,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        });
    }
    for (path, to) in defaults::LINKS.into_iter().filter(|(path, _)| kcore || *path != "/dev/core") {
        steps.push(Step::Link { path: path.into(), to: to.into() });
    }
    for node in &devices.nodes {
        steps.push(Step::Node {
            path: node.path.clone(),
            kind: if node.block { BLOCK } else { CHAR },
            major: node.major,
            minor: node.minor,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::{FakeDevices, container_spec};
    use minke_model::resources::DeviceSpec;

    fn asking(host: &str, inside: &str, permissions: &str) -> ContainerSpec {
        let mut spec = container_spec();
        let device = DeviceSpec {
            host_path: host.into(),
            container_path: inside.into(),
            permissions: permissions.into(),
        };
        spec.resources.devices = Some(vec![device]);
        spec
    }

    #[test]
    fn a_device_comes_under_its_new_name_with_its_rule() {
        let devices = plan(&asking("/dev/sda", "/dev/xvda", "r"), &FakeDevices).unwrap();
        assert_eq!(devices.nodes[0].path, "/dev/xvda");
        assert_eq!(devices.rules.last().unwrap().to_string(), "b 8:0 r");
    }

    #[test]
    fn a_directory_of_devices_comes_whole() {
        let devices = plan(&asking("/dev/snd", "/dev/sound", "rwm"), &FakeDevices).unwrap();
        let paths: Vec<_> = devices.nodes.iter().map(|n| n.path.as_str()).collect();
        assert_eq!(paths, ["/dev/sound/pcm0", "/dev/sound/timer"]);
    }

    #[test]
    fn what_does_not_exist_is_told_in_docker_s_words() {
        let error = plan(&asking("/dev/nope", "/dev/nope", "rwm"), &FakeDevices).unwrap_err();
        let expected = "error gathering device information while adding custom device \"/dev/nope\": no such file or directory";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn rules_are_taken_as_written_or_refused() {
        let mut spec = container_spec();
        spec.resources.device_cgroup_rules = Some(vec!["c 10:* rw".into()]);
        assert_eq!(plan(&spec, &FakeDevices).unwrap().rules.last().unwrap().to_string(), "c 10:* rw");
        spec.resources.device_cgroup_rules = Some(vec!["bogus".into()]);
        plan(&spec, &FakeDevices).unwrap_err();
    }

    #[test]
    fn the_machine_s_devices_are_found() {
        let null = HostDevices.node("/dev/null").unwrap();
        assert_eq!((null.block, null.major, null.minor), (false, 1, 3));
        HostDevices.node("/etc/passwd").unwrap_err();
        assert!(HostDevices.below("/dev").unwrap().iter().any(|node| node.path == "/dev/null"));
    }
}
