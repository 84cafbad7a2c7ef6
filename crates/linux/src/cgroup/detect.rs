//! Which cgroup hierarchies are mounted where: v1, hybrid or v2 (cgroups(7)). Only reads.

use super::CgroupError;
use std::path::{Path, PathBuf};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where.
    pub mount: PathBuf,
    /// Its v1 controllers as mounted (`cpu`, `name=systemd`); empty for v2.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    /// The controllers joined with commas as the kernel names the hierarchy: `cpu,cpuacct`; empty for v2.
    pub fn name(&self) -> String {
        self.controllers.join(",")
    }

    /// Whether this v1 hierarchy has `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// All mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// v1's, with at least one controller or name each.
    pub v1: Vec<Hierarchy>,
    /// v2's, which carries no controllers when `v1` has them.
    pub v2: Option<Hierarchy>,
}

/// v1 options of a cgroup mount that are not controllers (kernel/cgroup/cgroup-v1.c, `cgroup1_fs_parameters`).
const NOT_CONTROLLERS: [&str; 8] =
    ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "nofavordynmods"];

impl Mounts {
    /// Looks at this process's mounts.
    ///
    /// # Errors
    /// When /proc cannot be read or no hierarchy is mounted.
    pub fn find() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read_to_string(path)
            .map_err(|source| CgroupError::Read { path: path.into(), source })?;
        let mounts = Self::parse(&text);
        if mounts.v1.is_empty() && mounts.v2.is_none() {
            return Err(CgroupError::NoHierarchy);
        }
        Ok(mounts)
    }

    /// Reads mountinfo (proc_pid_mountinfo(5)). Of several mounts of one hierarchy the first below
    /// /sys/fs/cgroup counts, else the first.
    pub fn parse(mountinfo: &str) -> Self {
        let mut found = Mounts::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            let (Some(kind), Some(_), Some(options)) = (right.next(), right.next(), right.next()) else {
                continue;
            };
            let mount = PathBuf::from(unescape(mount));
            match kind {
                "cgroup2" => {
                    let better = found.v2.as_ref().is_none_or(|old| !usual(&old.mount) && usual(&mount));
                    if better {
                        found.v2 = Some(Hierarchy { mount, controllers: Vec::new() });
                    }
                }
                "cgroup" => {
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|o| !NOT_CONTROLLERS.contains(o) && !o.starts_with("release_agent="))
                        .map(str::to_owned)
                        .collect();
                    match found.v1.iter_mut().find(|h| h.controllers == controllers) {
                        Some(old) if !usual(&old.mount) && usual(&mount) => old.mount = mount,
                        Some(_) => {}
                        None if controllers.is_empty() => {}
                        None => found.v1.push(Hierarchy { mount, controllers }),
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// 2 when all controllers are v2's, 1 for v1 and hybrid, as Docker's `CgroupVersion` says.
    pub fn version(&self) -> u8 {
        if self.v1.iter().any(|h| h.controllers.iter().any(|c| !c.starts_with("name="))) { 1 } else { 2 }
    }

    /// Whether v2 is mounted beside v1's controllers.
    pub fn is_hybrid(&self) -> bool {
        self.version() == 1 && self.v2.is_some()
    }

    /// The v1 hierarchy of `controller`.
    pub fn v1_of(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|h| h.has(controller))
    }
}

/// Whether a mount lies where everyone looks for it.
fn usual(mount: &Path) -> bool {
    mount.starts_with("/sys/fs/cgroup")
}

/// mountinfo writes blanks and backslashes in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_is_version_one_with_a_v2_beside() {
        let mounts = Mounts::parse(
            "30 20 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             32 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n\
             33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(mounts.version(), 1);
        assert!(mounts.is_hybrid());
        assert_eq!(mounts.v1_of("cpuacct").unwrap().name(), "cpu,cpuacct");
        assert_eq!(mounts.v1[1].controllers, ["name=systemd"]);
        assert_eq!(mounts.v2.unwrap().mount, Path::new("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn a_v2_only_machine_is_version_two_also_with_a_named_v1() {
        let v2 = "33 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Mounts::parse(v2).version(), 2);
        let named = format!("{v2}32 30 0:28 / /mnt/x rw - cgroup none rw,name=elogind\n");
        let mounts = Mounts::parse(&named);
        assert_eq!((mounts.version(), mounts.is_hybrid()), (2, false));
    }

    #[test]
    fn the_mount_where_everyone_looks_counts() {
        let mounts = Mounts::parse(
            "1 1 0:1 / /mnt/a\\040b rw - cgroup c rw,memory\n2 1 0:1 / /sys/fs/cgroup/memory rw - cgroup c rw,memory\n",
        );
        assert_eq!(mounts.v1.len(), 1);
        assert_eq!(mounts.v1[0].mount, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(
            Mounts::parse("1 1 0:1 / /mnt/a\\040b rw - cgroup c rw,memory\n").v1[0].mount,
            Path::new("/mnt/a b")
        );
    }
}
