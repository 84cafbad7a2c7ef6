//! Mounts by descriptors: a target is opened once, inside a root, and never named by a path again.
//!
//! Never: a path inside a container joined to a path of the host (CVE-2019-16884, CVE-2021-30465).

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    },
};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// `MS_RDONLY`.
pub const READ_ONLY: u64 = libc::MS_RDONLY;
/// PROC_SUPER_MAGIC.
pub const PROC_MAGIC: u64 = 0x9fa0;
/// SYSFS_MAGIC.
pub const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Attributes of mounts that calls here take: the low bits of `MS_*` and `MOUNT_ATTR_*` are the same.
pub const ATTRIBUTES: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Opens a path inside `root`: links and `..` never lead out of it, magic links nowhere (5.6).
pub fn open_in_root(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    resolve(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// openat2 with `how`; a rename race of others asks for another try, of which there are enough.
pub fn resolve(dir: BorrowedFd<'_>, path: &str, flags: OFlags, how: ResolveFlags) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    for _ in 0..128 {
        match rustix::fs::openat2(dir, path.as_c_str(), flags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN) => continue,
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// A directory inside `root`, made with its parents (mode 0755) where missing. `..` is refused in a path to be made.
pub fn make_dir_in_root(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    match open_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
        done => return done,
    }
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") {
        return Err(Errno::INVAL.into());
    }
    // The longest part that exists, following links inside; what is missing below is new, hence no link.
    let mut have = parts.len();
    let mut at = loop {
        have = have.checked_sub(1).ok_or(Errno::NOENT)?;
        match open_in_root(root, &format!("/{}", parts[..have].join("/")), OFlags::PATH | OFlags::DIRECTORY) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) && have > 0 => continue,
            found => break found?,
        }
    };
    for part in &parts[have..] {
        match rustix::fs::mkdirat(&at, *part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        at = rustix::fs::openat(
            &at,
            *part,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
    }
    Ok(at)
}

/// The parent directory of a path inside `root` (made where missing) and the path's last part.
pub fn make_parent_in_root<'a>(root: BorrowedFd<'_>, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("/", path));
    if name.is_empty() || name == ".." || name == "." {
        return Err(Errno::INVAL.into());
    }
    Ok((make_dir_in_root(root, if parent.is_empty() { "/" } else { parent })?, name))
}

/// A file inside `root`, made empty (mode 0644, parents too) where missing: a target to mount on.
pub fn make_file_in_root(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    match open_in_root(root, path, OFlags::PATH) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
        done => return done,
    }
    let (parent, name) = make_parent_in_root(root, path)?;
    match rustix::fs::openat(
        &parent,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    ) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(rustix::fs::openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether a descriptor is the root of a mount (5.8; false before).
pub fn is_root(fd: BorrowedFd<'_>) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|s| s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether a descriptor is a directory.
pub fn is_dir(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// The kind of file system a descriptor lies on.
pub fn magic(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64)
}

/// A name for an open descriptor, for calls that take only paths. Needs this process's /proc.
pub fn fd_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// An upper directory shall tell all of a container's changes by itself: no data left in a lower file, no directory that
/// refers to another. And with an index, a new mount is refused while an old one of the same directories still goes.
const OVERLAY_OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off";

/// An overlay, attached nowhere. Topmost layer first; without `upper` it is read-only.
pub fn overlay(lower: &[String], upper: Option<(&str, &str)>) -> io::Result<OwnedFd> {
    // Before 6.8 layers cannot be given one by one, and each try would be a line in the kernel's log.
    if kernel_is_before(6, 8) {
        return overlay_at_once(lower, upper);
    }
    match overlay_by_layer(lower, upper, false) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => overlay_at_once(lower, upper),
        done => done,
    }
}

/// As [`overlay`], of an upper directory that a power cut may take: taking it down writes nothing to disk (kernel 5.10),
/// where it else writes all of the file system. Not twice with one work directory.
pub fn overlay_volatile(lower: &[String], upper: &str, work: &str) -> io::Result<OwnedFd> {
    let upper = Some((upper, work));
    if kernel_is_before(6, 8) {
        return overlay_at_once(lower, upper);
    }
    overlay_by_layer(lower, upper, true).or_else(|_| overlay(lower, upper))
}

/// Whether the kernel is older; one that hides its version is taken for new.
fn kernel_is_before(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().ok());
    matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(a), Some(b)) if (a, b) < (major, minor))
}

fn overlay_by_layer(lower: &[String], upper: Option<(&str, &str)>, volatile: bool) -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), "source", "overlay")?;
    for layer in lower {
        rustix::mount::fsconfig_set_string(fs.as_fd(), "lowerdir+", layer)?;
    }
    if volatile {
        rustix::mount::fsconfig_set_flag(fs.as_fd(), "volatile")?;
    }
    finish_overlay(&fs, upper)
}

/// By mount(2), for kernels before 6.8: mounted for a moment on a directory of its own, copied, unmounted. All options
/// must fit into one page; layers are named from their common directory by way of a descriptor, which keeps some 200 of
/// them within it.
fn overlay_at_once(lower: &[String], upper: Option<(&str, &str)>) -> io::Result<OwnedFd> {
    let base = common_directory(lower);
    let directory = rustix::fs::open(
        if base.is_empty() { "/" } else { base },
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let prefix = fd_path(&directory);
    let short: Vec<String> = lower.iter().map(|l| format!("{prefix}{}", &l[base.len()..])).collect();
    let mut data = format!("{OVERLAY_OPTIONS},lowerdir={}", short.join(":"));
    let mut flags = MountFlags::empty();
    match upper {
        Some((upper, work)) => data += &format!(",upperdir={upper},workdir={work}"),
        None => flags |= MountFlags::RDONLY,
    }
    let point = upper.map(|(upper, _)| upper).or(lower.first().map(String::as_str)).unwrap_or("/");
    let data = CString::new(data)?;
    rustix::mount::mount("overlay", point, "overlay", flags, Some(data.as_c_str()))?;
    let copied = rustix::mount::open_tree(
        rustix::fs::CWD,
        point,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    );
    rustix::mount::unmount(point, UnmountFlags::DETACH)?;
    Ok(copied?)
}

/// The longest directory that all of `paths` lie below, without a slash at its end; `/` is the empty text.
fn common_directory(paths: &[String]) -> &str {
    let Some((first, rest)) = paths.split_first() else { return "" };
    let mut base = first.rsplit_once('/').map_or("", |(directory, _)| directory);
    while !rest.iter().all(|p| p.strip_prefix(base).is_some_and(|r| r.starts_with('/'))) {
        base = base.rsplit_once('/').map_or("", |(directory, _)| directory);
    }
    base
}

fn finish_overlay(fs: &OwnedFd, upper: Option<(&str, &str)>) -> io::Result<OwnedFd> {
    let mut attributes = MountAttrFlags::empty();
    match upper {
        Some((upper, work)) => {
            rustix::mount::fsconfig_set_string(fs.as_fd(), "upperdir", upper)?;
            rustix::mount::fsconfig_set_string(fs.as_fd(), "workdir", work)?;
        }
        None => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
    }
    for option in OVERLAY_OPTIONS.split(',') {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        rustix::mount::fsconfig_set_string(fs.as_fd(), name, value)?;
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    Ok(rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// An empty tmpfs that nobody can write, attached nowhere.
pub fn empty_dir() -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), "source", "tmpfs")?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), "size", "0k")?;
    rustix::mount::fsconfig_set_flag(fs.as_fd(), "ro")?;
    rustix::mount::fsconfig_create(fs.as_fd())?;
    Ok(rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

/// A copy of the mount at `fd` (with those below when `recursive`), attached nowhere.
pub fn copy(fd: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(fd, "", flags)?)
}

/// Attaches a mount to an open target.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::mount::move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )?)
}

/// Adds attributes (`ATTRIBUTES`) and sets propagation (0 leaves it) of the mount at `fd` (5.12).
pub fn set_attributes(fd: BorrowedFd<'_>, set: u64, propagation: u64, recursive: bool) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let attr = Attr { set: set & ATTRIBUTES, clear: 0, propagation: propagation & !libc::MS_REC, userns: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an empty path and a record of the size that is said, both alive through the call.
    match unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<Attr>(),
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes away the mount whose root a descriptor is; it lives on while something is open in it.
pub fn detach(mount: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::mount::unmount(fd_path(mount), rustix::mount::UnmountFlags::DETACH)?)
}

/// Mounts a new file system on an open target.
pub fn mount(fstype: &str, source: &str, target: BorrowedFd<'_>, flags: u64, data: &str) -> io::Result<()> {
    mount_path(Some(source), &fd_path(target), Some(fstype), flags, Some(data))
}

/// mount(2).
pub fn mount_path(
    source: Option<&str>,
    target: &str,
    fstype: Option<&str>,
    flags: u64,
    data: Option<&str>,
) -> io::Result<()> {
    let c = |s: Option<&str>| s.map(CString::new).transpose();
    let (source, target, fstype, data) =
        (c(source)?, CString::new(target)?, c(fstype)?, c(data.filter(|d| !d.is_empty()))?);
    let p = |s: &Option<CString>| s.as_ref().map_or(std::ptr::null(), |s| s.as_ptr());
    // SAFETY: all strings live through the call; null is allowed for what is absent.
    match unsafe { libc::mount(p(&source), target.as_ptr(), p(&fstype), flags, p(&data).cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the current directory the root and lets go of the old one, mounts and all.
pub fn pivot_to_cwd() -> io::Result<()> {
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::pivot_root(".", ".")?;
    // The old root now lies on top of the new one: nothing of its going may travel to the host. Entered, since `.` would
    // be the new root still, whose shared mounts shall stay so.
    rustix::process::fchdir(&old)?;
    mount_path(None, ".", None, libc::MS_SLAVE | libc::MS_REC, None)?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is gone when the test ends.
    struct Dir(std::path::PathBuf);
    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("minke-mount-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Dir(path)
        }
        fn fd(&self) -> OwnedFd {
            rustix::fs::open(&self.0, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .unwrap()
        }
    }
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_never_lead_out_of_the_root() {
        let dir = Dir::new("escape");
        std::fs::create_dir(dir.0.join("in")).unwrap();
        std::os::unix::fs::symlink("/in", dir.0.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../../../in", dir.0.join("dots")).unwrap();
        for name in ["absolute", "dots", "../../../in"] {
            let fd = open_in_root(dir.fd().as_fd(), name, OFlags::PATH).unwrap();
            assert_eq!(std::fs::read_link(fd_path(&fd)).unwrap(), dir.0.join("in"), "{name}");
        }
    }

    #[test]
    fn missing_targets_are_made_inside_through_links() {
        let dir = Dir::new("make");
        std::fs::create_dir(dir.0.join("real")).unwrap();
        std::os::unix::fs::symlink("/real", dir.0.join("link")).unwrap();
        make_dir_in_root(dir.fd().as_fd(), "/link/a/b").unwrap();
        make_file_in_root(dir.fd().as_fd(), "/link/c/file").unwrap();
        assert!(dir.0.join("real/a/b").is_dir());
        assert!(dir.0.join("real/c/file").is_file());
    }

    #[test]
    fn a_dangling_link_on_the_way_is_refused_and_makes_nothing() {
        let dir = Dir::new("dangling");
        std::os::unix::fs::symlink("/nowhere", dir.0.join("link")).unwrap();
        assert!(make_dir_in_root(dir.fd().as_fd(), "/link/a").is_err());
        assert!(!dir.0.join("nowhere").exists());
    }

    #[test]
    fn layers_have_their_nearest_directory_in_common() {
        let of = |paths: &[&str]| {
            common_directory(&paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).to_owned()
        };
        assert_eq!(of(&["/a/l/x", "/a/l/y"]), "/a/l");
        assert_eq!(of(&["/a/l/x", "/a/lm/y"]), "/a");
        assert_eq!(of(&["/x", "/y"]), "");
    }

    #[test]
    fn both_ways_mount_many_layers_and_read_the_topmost() {
        let root = std::env::temp_dir().join(format!("minke-overlay-{}", std::process::id()));
        let text = |path: std::path::PathBuf| path.display().to_string();
        let lower: Vec<String> =
            (0..100).map(|n| text(root.join(format!("layer-with-a-name-{n}")))).collect();
        for (n, layer) in lower.iter().enumerate() {
            std::fs::create_dir_all(layer).unwrap();
            std::fs::write(format!("{layer}/f"), n.to_string()).unwrap();
        }
        let (upper, work) = (text(root.join("upper")), text(root.join("work")));
        for directory in [&upper, &work] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let upper = Some((upper.as_str(), work.as_str()));
        for mount in [overlay_by_layer(&lower, upper, false), overlay_at_once(&lower, upper)] {
            let mount = mount.unwrap();
            assert_eq!(std::fs::read_to_string(format!("{}/f", fd_path(&mount))).unwrap(), "0");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
