//! The container's root, made in its own mount namespace: every target is opened inside the root and mounted on by
//! descriptor (CVE-2019-16884, CVE-2021-30465, CVE-2023-27561).
//!
//! Never: a path of the container looked up as a path of the host.

use crate::{
    plan::{ReadOnlyDepth, Root, StartPlan, Step},
    protocol::Stage,
    report::{At, Failure, Outcome},
};
use minke_linux::{mount, namespace};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files of procfs that a bind may cover: those that give a container a view of its own.
const PROC_ALLOWED: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// The root on its way.
pub(crate) struct RootFs {
    root: OwnedFd,
    /// The host's /dev/null, checked; once it hides something, that mount.
    null: OwnedFd,
    /// `null` is such a mount.
    null_is_locked: bool,
    /// Made once, copied for every hidden directory.
    empty: Option<OwnedFd>,
    /// No mount of this namespace travels anywhere: copies need not be told so.
    private: bool,
    /// Copies of sources whose propagation is asked for, taken before anything is made private.
    early: Vec<Option<OwnedFd>>,
}

fn host(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

impl RootFs {
    /// Makes the root and puts it on top of the host's in this mount namespace.
    pub(crate) fn make(plan: &StartPlan) -> Outcome<RootFs> {
        let travel =
            if plan.root_propagation == 0 { libc::MS_PRIVATE | libc::MS_REC } else { plan.root_propagation };
        mount::mount_path(None, "/", None, travel | libc::MS_REC, None).at(Stage::Root, "/")?;
        let early = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Bind { source, subpath, recursive, propagation, .. }
                    if propagation & (libc::MS_SHARED | libc::MS_SLAVE) != 0 =>
                {
                    copy_source(source, subpath, *recursive).map(Some)
                }
                // Another container's: joining its mount namespace leaves this one's root for a moment.
                Step::Bind { source, recursive, .. } => match inside_container(source) {
                    Some((pid, path)) => copy_from_container(pid, path, *recursive).map(Some),
                    None => Ok(None),
                },
                _ => Ok(None),
            })
            .collect::<Outcome<Vec<_>>>()?;
        // What is attached to `/` must not appear on the host.
        mount::mount_path(None, "/", None, libc::MS_PRIVATE, None).at(Stage::Root, "/")?;
        let root = match &plan.root {
            Root::Bind { path } => bound(path)?,
            Root::Overlay { lower, upper, .. } if lower.is_empty() => bound(upper)?,
            Root::Overlay { lower, upper, work } => {
                mount::overlay(lower, Some((upper, work))).at(Stage::Root, upper.as_str())?
            }
            Root::Volatile { lower, upper, work } => {
                mount::overlay_volatile(lower, upper, work).at(Stage::Root, upper.as_str())?
            }
        };
        let top = host("/").at(Stage::Root, "/")?;
        mount::attach(root.as_fd(), top.as_fd()).at(Stage::Root, "/")?;
        Ok(RootFs {
            root,
            null: real_null()?,
            null_is_locked: false,
            empty: None,
            private: plan.root_propagation == 0,
            early,
        })
    }

    /// The root.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Does all steps, in order.
    pub(crate) fn furnish(&mut self, steps: &[Step]) -> Outcome<()> {
        steps.iter().enumerate().try_for_each(|(i, step)| self.step(i, step))
    }

    fn step(&mut self, index: usize, step: &Step) -> Outcome<()> {
        match step {
            Step::Mount { fstype, source, target, flags, data, propagation } => {
                refuse_root(source, target)?;
                self.mount(fstype, source, target, *flags, data, *propagation)
                    .map_err(|failure| mounting(failure, source, target))
            }
            Step::Bind { source, subpath, target, recursive, flags, depth, propagation } => {
                refuse_root(source, target)?;
                let early = self.early.get_mut(index).and_then(Option::take);
                early
                    .map_or_else(|| copy_source(source, subpath, *recursive), Ok)
                    .and_then(|tree| self.bind(tree, target, *recursive, *flags, *depth, *propagation))
                    .map_err(|failure| mounting(failure, source, target))
            }
            Step::Layers { lower, subpath, target } => self.layers(lower, subpath, target),
            Step::Node { path, kind, major, minor, mode, uid, gid } => {
                self.node(path, *kind, (*major, *minor), *mode, (*uid, *gid))
            }
            Step::Link { path, to } => {
                let (parent, name) =
                    mount::make_parent_in_root(self.fd(), path).at(Stage::Mount, path.as_str())?;
                match rustix::fs::symlinkat(to.as_str(), &parent, name) {
                    Ok(()) | Err(Errno::EXIST) => Ok(()),
                    Err(e) => Err(e).at(Stage::Mount, path.as_str()),
                }
            }
            Step::Mask { path } => self.mask(path),
            Step::ReadOnly { path } => self.read_only(path),
        }
    }

    fn mount(
        &self,
        fstype: &str,
        source: &str,
        target: &str,
        flags: u64,
        data: &str,
        propagation: u64,
    ) -> Outcome<()> {
        let existed = mount::open_in_root(self.fd(), target, OFlags::PATH | OFlags::DIRECTORY).is_ok();
        let mut fd = mount::make_dir_in_root(self.fd(), target).at(Stage::Mount, target)?;
        if matches!(fstype, "proc" | "sysfs") {
            // A link in their place would let the image say where they go (CVE-2019-19921, CVE-2023-27561).
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            fd = mount::resolve(self.fd(), target, OFlags::PATH | OFlags::DIRECTORY, how)
                .at(Stage::Mount, target)?;
        }
        refuse_inside_proc(fd.as_fd(), target)?;
        let mut data = data.to_owned();
        if fstype == "tmpfs" && existed && !data.split(',').any(|o| o.starts_with("mode=")) {
            // A memory file system takes over the mode of what it covers, as /tmp's sticky bit.
            let mode = rustix::fs::fstat(&fd).at(Stage::Mount, target)?.st_mode & 0o7777;
            data = if data.is_empty() { format!("mode={mode:o}") } else { format!("{data},mode={mode:o}") };
        }
        mount::mount(fstype, source, fd.as_fd(), flags, &data).at(Stage::Mount, target)?;
        if propagation != 0 {
            let top = mount::open_in_root(self.fd(), target, OFlags::PATH).at(Stage::Mount, target)?;
            mount::mount_path(None, &mount::fd_path(&top), None, propagation, None)
                .at(Stage::Mount, target)?;
        }
        Ok(())
    }

    fn bind(
        &self,
        tree: OwnedFd,
        target: &str,
        recursive: bool,
        flags: u64,
        depth: ReadOnlyDepth,
        propagation: u64,
    ) -> Outcome<()> {
        let dir = mount::is_dir(tree.as_fd()).at(Stage::Mount, target)?;
        let fd = if dir {
            mount::make_dir_in_root(self.fd(), target)
        } else {
            mount::make_file_in_root(self.fd(), target)
        }
        .at(Stage::Mount, target)?;
        if !dir && mount::is_dir(fd.as_fd()).at(Stage::Mount, target)? {
            return Err(Errno::NOTDIR).at(Stage::Mount, target);
        }
        let covers_proc = target.trim_end_matches('/') == "/proc"
            && mount::magic(&tree).is_ok_and(|m| m == mount::PROC_MAGIC);
        if !covers_proc && !PROC_ALLOWED.contains(&target) {
            refuse_inside_proc(fd.as_fd(), target)?;
        }
        let travels = propagation != 0 || !self.private;
        let propagation = if propagation == 0 { libc::MS_PRIVATE | libc::MS_REC } else { propagation };
        let deep = propagation & libc::MS_REC != 0;
        let attributes = flags & mount::ATTRIBUTES;
        if travels || attributes != 0 {
            let done = match travels {
                true => mount::set_attributes(tree.as_fd(), 0, propagation, deep)
                    .and_then(|()| mount::set_attributes(tree.as_fd(), attributes, 0, false)),
                false => mount::set_attributes(tree.as_fd(), attributes, 0, false),
            };
            match done {
                Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
                    return self.bind_before_5_12(&tree, fd.as_fd(), target, flags, depth, propagation);
                }
                done => done.at(Stage::Mount, target)?,
            }
        }
        if flags & libc::MS_RDONLY != 0 && recursive && depth != ReadOnlyDepth::Top {
            let done = mount::set_attributes(tree.as_fd(), libc::MS_RDONLY, 0, true);
            if depth == ReadOnlyDepth::All {
                done.at(Stage::Mount, target)?;
            }
        }
        mount::attach(tree.as_fd(), fd.as_fd()).at(Stage::Mount, target)
    }

    /// Attributes by remount, once the mount is in its place; mounts below cannot be made read-only.
    fn bind_before_5_12(
        &self,
        tree: &OwnedFd,
        at: BorrowedFd<'_>,
        target: &str,
        flags: u64,
        depth: ReadOnlyDepth,
        propagation: u64,
    ) -> Outcome<()> {
        if depth == ReadOnlyDepth::All && flags & libc::MS_RDONLY != 0 {
            return Err(Failure { stage: Stage::Mount, errno: libc::ENOSYS, detail: target.into() });
        }
        mount::attach(tree.as_fd(), at).at(Stage::Mount, target)?;
        let path = mount::fd_path(tree);
        mount::mount_path(None, &path, None, propagation, None).at(Stage::Mount, target)?;
        if flags & mount::ATTRIBUTES != 0 {
            let have = rustix::fs::fstatvfs(tree).at(Stage::Mount, target)?.f_flag.bits() & mount::ATTRIBUTES;
            mount::mount_path(
                None,
                &path,
                None,
                libc::MS_REMOUNT | libc::MS_BIND | (flags & mount::ATTRIBUTES) | have,
                None,
            )
            .at(Stage::Mount, target)?;
        }
        Ok(())
    }

    fn layers(&self, lower: &[String], subpath: &str, target: &str) -> Outcome<()> {
        let tree = match lower {
            [one] => {
                let tree = bound(one)?;
                mount::set_attributes(tree.as_fd(), libc::MS_RDONLY, 0, false).at(Stage::Mount, target)?;
                tree
            }
            many => mount::overlay(many, None).at(Stage::Mount, target)?,
        };
        let is_file = !subpath.is_empty() && {
            let part = mount::open_in_root(tree.as_fd(), subpath, OFlags::PATH).at(Stage::Mount, subpath)?;
            !mount::is_dir(part.as_fd()).at(Stage::Mount, subpath)?
        };
        if is_file {
            return self.layers_file(tree, subpath, target);
        }
        let fd = mount::make_dir_in_root(self.fd(), target).at(Stage::Mount, target)?;
        refuse_inside_proc(fd.as_fd(), target)?;
        mount::attach(tree.as_fd(), fd.as_fd()).at(Stage::Mount, target)?;
        if subpath.is_empty() {
            return Ok(());
        }
        // Kernels before 6.15 copy only from what is attached: the part goes on top of the whole.
        let part = mount::open_in_root(tree.as_fd(), subpath, OFlags::PATH).at(Stage::Mount, subpath)?;
        let copy = mount::copy(part.as_fd(), false).at(Stage::Mount, subpath)?;
        mount::attach(copy.as_fd(), tree.as_fd()).at(Stage::Mount, target)
    }

    /// A file of an image. The whole is attached beside it only while the file is copied from it.
    fn layers_file(&self, tree: OwnedFd, subpath: &str, target: &str) -> Outcome<()> {
        let file = mount::make_file_in_root(self.fd(), target).at(Stage::Mount, target)?;
        refuse_inside_proc(file.as_fd(), target)?;
        let (place, _) = mount::make_parent_in_root(self.fd(), target).at(Stage::Mount, target)?;
        mount::attach(tree.as_fd(), place.as_fd()).at(Stage::Mount, target)?;
        let part = mount::open_in_root(tree.as_fd(), subpath, OFlags::PATH).at(Stage::Mount, subpath)?;
        let copy = mount::copy(part.as_fd(), false).at(Stage::Mount, subpath)?;
        drop(part);
        mount::detach(tree.as_fd()).at(Stage::Mount, target)?;
        mount::attach(copy.as_fd(), file.as_fd()).at(Stage::Mount, target)
    }

    fn node(
        &self,
        path: &str,
        kind: u32,
        (major, minor): (u32, u32),
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Outcome<()> {
        let (parent, name) = mount::make_parent_in_root(self.fd(), path).at(Stage::Device, path)?;
        let device = rustix::fs::makedev(major, minor);
        let made = rustix::fs::mknodat(
            &parent,
            name,
            rustix::fs::FileType::from_raw_mode(kind),
            Mode::from_raw_mode(mode),
            device,
        );
        match made {
            Ok(()) if (uid, gid) == (0, 0) => return Ok(()),
            Ok(()) => {
                let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
                return rustix::fs::chownat(
                    &parent,
                    name,
                    Some(uid),
                    Some(gid),
                    rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
                )
                .at(Stage::Device, path);
            }
            Err(Errno::EXIST | Errno::PERM) => {}
            Err(e) => return Err(e).at(Stage::Device, path),
        }
        // Something is there, or nodes may not be made here: the host's own node is bound, if it is the right one.
        let there = mount::make_file_in_root(self.fd(), path).at(Stage::Device, path)?;
        let same = |fd: &OwnedFd| {
            rustix::fs::fstat(fd).is_ok_and(|s| s.st_mode & libc::S_IFMT == kind && s.st_rdev == device)
        };
        if same(&there) {
            return Ok(());
        }
        let source = host(path).at(Stage::Device, path)?;
        if !same(&source) {
            return Err(Errno::NODEV).at(Stage::Device, path);
        }
        let tree = mount::copy(source.as_fd(), false).at(Stage::Device, path)?;
        attach_locked(&tree, there.as_fd()).at(Stage::Device, path)
    }

    fn mask(&mut self, path: &str) -> Outcome<()> {
        let Some(fd) =
            optional(mount::open_in_root(self.root.as_fd(), path, OFlags::PATH)).at(Stage::Mask, path)?
        else {
            return Ok(());
        };
        let cover = if mount::is_dir(fd.as_fd()).at(Stage::Mask, path)? {
            // The first cover is the mount itself, further ones are copies of it.
            match &self.empty {
                Some(empty) => mount::copy(empty.as_fd(), false).at(Stage::Mask, path)?,
                None => {
                    let empty = mount::empty_dir().at(Stage::Mask, path)?;
                    mount::attach(empty.as_fd(), fd.as_fd()).at(Stage::Mask, path)?;
                    self.empty = Some(empty);
                    return Ok(());
                }
            }
        } else {
            let cover = mount::copy(self.null.as_fd(), false).at(Stage::Mask, path)?;
            if !self.null_is_locked {
                // It is the host's own node: nobody inside may change its mode, owner or times.
                attach_locked(&cover, fd.as_fd()).at(Stage::Mask, path)?;
                (self.null, self.null_is_locked) = (cover, true);
                return Ok(());
            }
            cover
        };
        mount::attach(cover.as_fd(), fd.as_fd()).at(Stage::Mask, path)
    }

    fn read_only(&self, path: &str) -> Outcome<()> {
        let Some(fd) = optional(mount::open_in_root(self.fd(), path, OFlags::PATH)).at(Stage::Mask, path)?
        else {
            return Ok(());
        };
        if mount::is_root(fd.as_fd()) && mount::set_attributes(fd.as_fd(), libc::MS_RDONLY, 0, false).is_ok()
        {
            // A mount of its own needs no second one on top; what is mounted below says for itself.
            return Ok(());
        }
        let tree = mount::copy(fd.as_fd(), true).at(Stage::Mask, path)?;
        match mount::set_attributes(tree.as_fd(), libc::MS_RDONLY, 0, true) {
            Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
                mount::attach(tree.as_fd(), fd.as_fd()).at(Stage::Mask, path)?;
                let have =
                    rustix::fs::fstatvfs(&tree).at(Stage::Mask, path)?.f_flag.bits() & mount::ATTRIBUTES;
                mount::mount_path(
                    None,
                    &mount::fd_path(&tree),
                    None,
                    libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | have,
                    None,
                )
                .at(Stage::Mask, path)
            }
            done => {
                done.at(Stage::Mask, path)?;
                mount::attach(tree.as_fd(), fd.as_fd()).at(Stage::Mask, path)
            }
        }
    }

    /// Puts the terminal at /dev/console, by the descriptor that was opened (CVE-2025-52565).
    pub(crate) fn console(&self, slave: BorrowedFd<'_>) -> Outcome<()> {
        let path = "/dev/console";
        let fd = mount::make_file_in_root(self.fd(), path).at(Stage::Terminal, path)?;
        let tree = mount::copy(slave, false).at(Stage::Terminal, path)?;
        mount::attach(tree.as_fd(), fd.as_fd()).at(Stage::Terminal, path)
    }

    /// Enters the root and lets go of the host's.
    pub(crate) fn enter(&self, read_only: bool, propagation: u64) -> Outcome<()> {
        if read_only {
            match mount::set_attributes(self.fd(), libc::MS_RDONLY, 0, false) {
                Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
                    mount::mount_path(
                        None,
                        &mount::fd_path(&self.root),
                        None,
                        libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY,
                        None,
                    )
                    .at(Stage::Root, "/")?;
                }
                done => done.at(Stage::Root, "/")?,
            }
        }
        rustix::process::fchdir(self.fd()).at(Stage::Pivot, "/")?;
        mount::pivot_to_cwd().at(Stage::Pivot, "/")?;
        if propagation != 0 {
            mount::mount_path(None, "/", None, propagation, None).at(Stage::Pivot, "/")?;
        }
        Ok(())
    }
}

/// A directory of the host with the mounts below it, private, attached nowhere.
fn bound(path: &str) -> Outcome<OwnedFd> {
    let fd = host(path).at(Stage::Root, path)?;
    let tree = mount::copy(fd.as_fd(), true).at(Stage::Root, path)?;
    match mount::set_attributes(tree.as_fd(), 0, libc::MS_PRIVATE, true) {
        // The namespace is private already, but for mounts that were asked to travel.
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {}
        done => done.at(Stage::Root, path)?,
    }
    Ok(tree)
}

/// A copy of a bind's source; `subpath` never leads out of it.
fn copy_source(source: &str, subpath: &str, recursive: bool) -> Outcome<OwnedFd> {
    let mut fd = host(source).at(Stage::Mount, source)?;
    if !subpath.is_empty() {
        fd = mount::open_in_root(fd.as_fd(), subpath, OFlags::PATH)
            .at(Stage::Mount, format!("{source}/{subpath}"))?;
    }
    mount::copy(fd.as_fd(), recursive).at(Stage::Mount, source)
}

/// `/proc/PID/root/PATH`: a path in another container, whose mounts can only be copied from inside its namespace.
fn inside_container(source: &str) -> Option<(i32, &str)> {
    let (pid, path) = source.strip_prefix("/proc/")?.split_once("/root/")?;
    Some((pid.parse().ok()?, path))
}

/// A copy of a mount of another container; `path` never leads out of its root.
fn copy_from_container(pid: i32, path: &str, recursive: bool) -> Outcome<OwnedFd> {
    let own = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::Mount, path)?;
    let top = host("/").at(Stage::Mount, path)?;
    let theirs = namespace::open(pid, "mnt").at(Stage::Mount, path)?;
    namespace::join(theirs.as_fd(), namespace::MOUNT).at(Stage::Mount, path)?;
    let tree = host("/")
        .map_err(std::io::Error::from)
        .and_then(|root| mount::open_in_root(root.as_fd(), path, OFlags::PATH))
        .and_then(|fd| mount::copy(fd.as_fd(), recursive));
    // Back, to the very root that there was.
    namespace::join(own.as_fd(), namespace::MOUNT).at(Stage::Mount, path)?;
    rustix::process::fchdir(&top).and_then(|()| rustix::process::chroot(".")).at(Stage::Mount, path)?;
    tree.at(Stage::Mount, path)
}

/// Mounts a device node of the host so that it can be used, but not be changed: a read-only mount keeps the node's mode
/// and owner, while the device behind it reads and writes as before.
fn attach_locked(tree: &OwnedFd, at: BorrowedFd<'_>) -> std::io::Result<()> {
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NOEXEC;
    match mount::set_attributes(tree.as_fd(), flags, 0, false) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            mount::attach(tree.as_fd(), at)?;
            mount::mount_path(
                None,
                &mount::fd_path(tree),
                None,
                libc::MS_REMOUNT | libc::MS_BIND | flags,
                None,
            )
        }
        done => done.and_then(|()| mount::attach(tree.as_fd(), at)),
    }
}

/// The host's /dev/null, if it is the null device (CVE-2025-31133: what hides a path must hide it).
fn real_null() -> Outcome<OwnedFd> {
    let fd = host("/dev/null").at(Stage::Mask, "/dev/null")?;
    let stat = rustix::fs::fstat(&fd).at(Stage::Mask, "/dev/null")?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(Errno::NODEV).at(Stage::Mask, "/dev/null");
    }
    Ok(fd)
}

/// Nothing may be mounted over the root itself: it would be all that the container sees. In runc's words.
fn refuse_root(source: &str, target: &str) -> Outcome<()> {
    if target != "/" {
        return Ok(());
    }
    Err(Failure {
        stage: Stage::Mount,
        errno: 0,
        detail: format!(
            "error mounting {source:?} to rootfs at \"/\": create mountpoint for / mount: mountpoint \"/\" is on the top of rootfs \"/\""
        ),
    })
}

/// Names both ends of a mount that failed, in runc's words: clients look for its inner part.
fn mounting(failure: Failure, source: &str, target: &str) -> Failure {
    if failure.stage != Stage::Mount || failure.errno == 0 {
        return failure;
    }
    let detail =
        format!("error mounting {source:?} to rootfs at {target:?}: mount src={source}, dst={target}");
    Failure { detail, ..failure }
}

/// Nothing may be mounted over files of procfs: a container would be told lies about its own confinement.
fn refuse_inside_proc(fd: BorrowedFd<'_>, target: &str) -> Outcome<()> {
    if mount::magic(fd).at(Stage::Mount, target)? == mount::PROC_MAGIC {
        return Err(Failure {
            stage: Stage::Mount,
            errno: 0,
            detail: format!("{target:?} cannot be mounted because it is inside /proc"),
        });
    }
    Ok(())
}

/// Missing is fine.
fn optional(found: std::io::Result<OwnedFd>) -> std::io::Result<Option<OwnedFd>> {
    match found {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}
