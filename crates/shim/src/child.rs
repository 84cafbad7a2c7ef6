//! The child's way from clone to exec: waits for *go*, makes the root, becomes the user, execs.
//!
//! Never returns: it execs, or says why not and ends. Nothing of the host stays open in it (CVE-2024-21626).

use crate::{
    plan::{Cgroups, ExecPlan, Namespace, Process, StartPlan},
    protocol::Stage,
    reaper,
    report::{self, At, Failure, Outcome, Word},
    rootfs::RootFs,
    search, user,
};
use minke_linux::{capability, mount, namespace, process, pty};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    process::{DumpableBehavior, Signal},
};
use std::{
    convert::Infallible,
    ffi::CString,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
};

/// Bytes of a domain name (`__NEW_UTS_LEN`).
const MAX_DOMAIN: usize = 64;
/// The capability to raise limits, as a bit.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// What a clone hands its child.
pub(crate) struct Start {
    /// To the shim.
    pub(crate) socket: OwnedFd,
    /// The shim's end of it: closed here, so that the shim's death shows.
    pub(crate) other: RawFd,
    /// Becomes 0; 1; 2. `None` is /dev/null.
    pub(crate) stdio: [Option<OwnedFd>; 3],
    /// Joined before anything else: a descriptor and the kinds of namespaces.
    pub(crate) join: Vec<(OwnedFd, u64)>,
}

/// The host's procfs, opened before anything of a container can be in its place: what is written through it
/// really reaches the kernel (CVE-2025-52881).
struct Proc {
    root: OwnedFd,
}

impl Proc {
    fn open() -> Outcome<Proc> {
        let root =
            rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .at(Stage::Root, "/proc")?;
        if mount::magic(&root).at(Stage::Root, "/proc")? != mount::PROC_MAGIC {
            return Err(Failure { stage: Stage::Root, errno: 0, detail: "/proc is not procfs".into() });
        }
        Ok(Proc { root })
    }

    /// Writes a file below /proc, without following links or leaving procfs.
    fn write(&self, path: &str, value: &str) -> std::io::Result<()> {
        let how = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let fd = mount::resolve(self.root.as_fd(), path, OFlags::WRONLY, how)?;
        rustix::io::write(&fd, value.as_bytes())?;
        Ok(())
    }

    /// Writes a file of this process.
    fn write_own(&self, name: &str, value: &str) -> std::io::Result<()> {
        // The process as this procfs numbers it: `self` says so.
        let own = rustix::fs::readlinkat(&self.root, "self", Vec::new())?;
        self.write(&format!("{}/{name}", own.to_string_lossy()), value)
    }
}

/// What both kinds of child do first: own session, own descriptors, the parent's death is theirs. Returns `keep`, moved
/// to 4 and up; the socket is 3 from here on.
fn settle(start: Start, keep: Vec<OwnedFd>) -> Outcome<(OwnedFd, Vec<OwnedFd>)> {
    process::reset_signals();
    let _ = rustix::process::setsid();
    die_with_parent();
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::Root, "/dev/null")?;
    for (n, fd) in (0..).zip(&start.stdio) {
        let from = fd.as_ref().unwrap_or(&null);
        // SAFETY: 0 to 2 are this process's own standard descriptors; nobody holds an object of them.
        if unsafe { libc::dup2(from.as_raw_fd(), n) } == -1 {
            return Err(std::io::Error::last_os_error()).at(Stage::Root, "stdio");
        }
    }
    for (fd, kinds) in &start.join {
        namespace::join(fd.as_fd(), *kinds).at(Stage::Join, kind_name(*kinds))?;
    }
    // Out of the way first, then to their places: no number is both source and place.
    let kept: Vec<OwnedFd> = [start.socket].into_iter().chain(keep).collect();
    let high = kept
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 100).map(IntoRawFd::into_raw_fd))
        .collect::<Result<Vec<_>, _>>()
        .at(Stage::Root, "descriptors")?;
    // Their numbers are closed below, all at once.
    kept.into_iter()
        .chain(start.stdio.into_iter().flatten())
        .chain(start.join.into_iter().map(|j| j.0))
        .chain([null])
        .for_each(|fd| {
            let _ = fd.into_raw_fd();
        });
    let mut placed = Vec::new();
    for (n, fd) in (3..).zip(&high) {
        // SAFETY: all objects of other descriptors were let go above.
        if unsafe { libc::dup3(*fd, n, libc::O_CLOEXEC) } == -1 {
            return Err(std::io::Error::last_os_error()).at(Stage::Root, "descriptors");
        }
        // SAFETY: just made, owned by nobody.
        placed.push(unsafe { OwnedFd::from_raw_fd(n) });
    }
    process::close_from(3 + high.len() as i32).at(Stage::Root, "close descriptors")?;
    let socket = placed.remove(0);
    Ok((socket, placed))
}

fn kind_name(kinds: u64) -> &'static str {
    match kinds {
        namespace::PID => "pid",
        namespace::IPC => "ipc",
        namespace::NET => "net",
        namespace::UTS => "uts",
        namespace::CGROUP => "cgroup",
        _ => "all",
    }
}

fn die_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// Enters the v1 cgroups. By itself and as a thread (`0` to `tasks`): this needs no lock over all forks of the machine, whose
/// first taking waits for an RCU grace period of 5 to 20 ms (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
fn enter_legacy(cgroups: &Cgroups) -> Outcome<()> {
    cgroups
        .legacy
        .iter()
        .try_for_each(|dir| std::fs::write(format!("{dir}/tasks"), "0").at(Stage::Cgroup, dir.as_str()))
}

/// The first process of a container. `start` holds all that it may keep.
pub(crate) fn container(plan: &StartPlan, start: Start) -> ! {
    let before = start.socket.as_raw_fd();
    die_with_parent();
    // SAFETY: the number is the shim's end in this process' copy of its descriptors; its object is never dropped here.
    unsafe { libc::close(start.other) };
    // A first word when the shim holds this process' namespaces: it may fail and end from here on.
    wait_for_go(&start.socket);
    match settle(start, Vec::new()) {
        Err(failure) => give_up(before, &failure),
        Ok((socket, _)) => match make_container(plan, &socket) {
            Err(failure) => give_up(socket.as_raw_fd(), &failure),
            Ok(never) => match never {},
        },
    }
}

/// A further process of a container.
pub(crate) fn exec(plan: &ExecPlan, start: Start) -> ! {
    let before = start.socket.as_raw_fd();
    // While /proc and /dev are still the host's.
    let (proc, host_pts) = match (
        Proc::open(),
        rustix::fs::open("/dev/pts", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()),
    ) {
        (Ok(proc), Ok(pts)) => (proc, pts),
        (Err(failure), _) => give_up(before, &failure),
        (_, Err(e)) => give_up(
            before,
            &Failure { stage: Stage::Terminal, errno: e.raw_os_error(), detail: "/dev/pts".into() },
        ),
    };
    if let Err(failure) = enter_legacy(&plan.cgroups) {
        give_up(before, &failure);
    }
    match settle(start, vec![proc.root, host_pts]) {
        Err(failure) => give_up(before, &failure),
        Ok((socket, kept)) => match make_exec(plan, &socket, kept) {
            Err(failure) => give_up(socket.as_raw_fd(), &failure),
            Ok(never) => match never {},
        },
    }
}

/// Says why, and ends.
fn give_up(socket: i32, failure: &Failure) -> ! {
    // SAFETY: the number is the socket's; only borrowed for one message.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    report::say(socket, &Word::Failed(failure.clone()));
    process::exit(1)
}

/// Waits for the shim's word. Without it, or when the shim is gone, this process ends.
fn wait_for_go(socket: &OwnedFd) {
    let mut byte = [0u8; 1];
    loop {
        match rustix::io::read(socket, &mut byte) {
            Ok(1) => return,
            Err(rustix::io::Errno::INTR) => continue,
            _ => process::exit(1),
        }
    }
}

fn make_container(plan: &StartPlan, socket: &OwnedFd) -> Outcome<Infallible> {
    let proc = Proc::open()?;
    enter_legacy(&plan.cgroups)?;
    if plan.namespaces.cgroup == Namespace::New {
        // It begins at the cgroups where one is.
        namespace::unshare(namespace::CGROUP).at(Stage::Cgroup, "new cgroup namespace")?;
    }
    if plan.namespaces.uts == Namespace::New {
        if !plan.hostname.is_empty() {
            rustix::system::sethostname(plan.hostname.as_bytes())
                .at(Stage::Hostname, plan.hostname.as_str())?;
        }
        if !plan.domainname.is_empty() {
            // Docker writes it to /proc/sys, which takes as much as there is room for.
            let name = plan.domainname.as_bytes();
            rustix::system::setdomainname(&name[..name.len().min(MAX_DOMAIN)])
                .at(Stage::Hostname, plan.domainname.as_str())?;
        }
    }
    // Modes of what is made are as asked.
    rustix::process::umask(Mode::empty());
    let mut root = RootFs::make(plan)?;
    // Taken from the host's devices while they can be named: for containers that bring no devpts of their own.
    let host_pts =
        rustix::fs::open("/dev/pts", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
    root.furnish(&plan.steps)?;
    if plan.process.tty {
        let slave = terminal(root.fd(), host_pts, &plan.process, socket)?;
        root.console(slave.as_fd())?;
    }
    root.enter(plan.root_read_only, plan.root_propagation)?;
    drop(root);
    // The second word is *go*: all before happened while the daemon made the network.
    wait_for_go(socket);
    for (name, value) in &plan.sysctls {
        let path = format!("sys/{}", name.replace('.', "/"));
        proc.write(&path, value).at(Stage::Sysctl, format!("{name}={value}"))?;
    }
    become_process(&plan.process, socket, &proc, true, plan.init)
}

fn make_exec(plan: &ExecPlan, socket: &OwnedFd, kept: Vec<OwnedFd>) -> Outcome<Infallible> {
    let Ok([proc, host_pts]) = <[OwnedFd; 2]>::try_from(kept) else {
        return Err(rustix::io::Errno::BADF).at(Stage::Exec, "descriptors");
    };
    let proc = Proc { root: proc };
    wait_for_go(socket);
    if plan.process.tty {
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at(Stage::Terminal, "/")?;
        terminal(root.as_fd(), Some(host_pts), &plan.process, socket)?;
    } else {
        drop(host_pts);
    }
    become_process(&plan.process, socket, &proc, false, false)
}

/// A terminal from the container's devpts (or the host's, where it has none): its other side goes to the shim.
fn terminal(
    root: BorrowedFd<'_>,
    host_pts: Option<OwnedFd>,
    plan: &Process,
    socket: &OwnedFd,
) -> Outcome<OwnedFd> {
    let own = mount::open_in_root(root, "/dev/pts", OFlags::PATH | OFlags::DIRECTORY)
        .and_then(|dir| pty::open_in(dir.as_fd()));
    let (master, slave) = match (own, host_pts) {
        (Ok(pair), _) => pair,
        (Err(_), Some(dir)) => pty::open_in(dir.as_fd()).at(Stage::Terminal, "/dev/pts/ptmx")?,
        (Err(e), None) => return Err(e).at(Stage::Terminal, "/dev/pts/ptmx"),
    };
    if plan.rows != 0 || plan.columns != 0 {
        pty::resize(&master, plan.rows, plan.columns).at(Stage::Terminal, "size")?;
    }
    for n in 0..3 {
        // SAFETY: 0 to 2 are this process's own standard descriptors; nobody holds an object of them.
        if unsafe { libc::dup2(slave.as_raw_fd(), n) } == -1 {
            return Err(std::io::Error::last_os_error()).at(Stage::Terminal, "stdio");
        }
    }
    pty::control(slave.as_fd()).at(Stage::Terminal, "controlling terminal")?;
    report::say(socket.as_fd(), &Word::Console(master));
    Ok(slave)
}

/// From root inside the container to the user's program.
fn become_process(
    plan: &Process,
    socket: &OwnedFd,
    proc: &Proc,
    first: bool,
    init: bool,
) -> Outcome<Infallible> {
    let warn = |text: String| report::say(socket.as_fd(), &Word::Warning(text));
    if let Some(score) = plan.oom_score_adj {
        // Lowering it needs CAP_SYS_RESOURCE, which a nested daemon may lack.
        if let Err(e) = proc.write_own("oom_score_adj", &score.to_string()) {
            warn(format!("oom_score_adj {score} could not be set: {e}"));
        }
    }
    rlimits(plan, &warn)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::User, "/")?;
    let who = user::find(root.as_fd(), &plan.user, &plan.groups)?;
    for n in 0..3 {
        own_null(n, root.as_fd())?;
        give_stream(n, who.uid);
    }
    drop(root);
    if !plan.apparmor.is_empty() {
        let label = format!("exec {}", plan.apparmor);
        proc.write_own("attr/apparmor/exec", &label)
            .or_else(|_| proc.write_own("attr/exec", &label))
            .at(Stage::Label, plan.apparmor.as_str())?;
    }
    if !plan.selinux.is_empty() {
        proc.write_own("attr/exec", &plan.selinux).at(Stage::Label, plan.selinux.as_str())?;
    }
    let cwd = if plan.cwd.is_empty() { "/" } else { &plan.cwd };
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if first {
        make_cwd(cwd)?;
    }
    let entered = rustix::process::chdir(cwd);
    capability::bound(plan.capabilities.bounding).at(Stage::Capabilities, "bounding set")?;
    capability::keep_over_setuid(true).at(Stage::Capabilities, "keep")?;
    change_user(&who)?;
    capability::keep_over_setuid(false).at(Stage::Capabilities, "keep")?;
    // Changing the user may have undone it (fs.suid_dumpable), and descriptors of the host are open until exec.
    hide();
    let caps = plan.capabilities;
    // A filter may be loaded by CAP_SYS_ADMIN or under no_new_privs; in the first case the capability goes last.
    let admin =
        if !plan.seccomp.is_empty() && !plan.no_new_privileges { 1 << capability::SYS_ADMIN } else { 0 };
    let sets = capability::Sets {
        effective: caps.effective,
        permitted: caps.permitted,
        inheritable: caps.inheritable,
    };
    let have = capability::get().at(Stage::Capabilities, "read")?.permitted;
    let wider = capability::Sets {
        effective: (sets.effective | admin) & have,
        permitted: (sets.permitted | admin) & have,
        inheritable: sets.inheritable & have,
    };
    capability::set(wider).at(Stage::Capabilities, "set")?;
    capability::set_ambient(caps.ambient & have).at(Stage::Capabilities, "ambient set")?;
    die_with_parent();
    if entered.is_err() {
        // A directory that only the user may enter.
        rustix::process::chdir(cwd).at(Stage::Cwd, cwd)?;
    }
    check_cwd(cwd)?;
    let mut env = plan.env.clone();
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={}", who.home));
    }
    let path = search::find(plan.args.first().map_or("", String::as_str), &env)?;
    let strings =
        |items: &[String]| items.iter().map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, _>>();
    let (path, args, env) = match (CString::new(path), strings(&plan.args), strings(&env)) {
        (Ok(path), Ok(args), Ok(env)) => (path, args, env),
        _ => return Err(rustix::io::Errno::INVAL).at(Stage::Exec, "a zero byte in arguments or environment"),
    };
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).at(Stage::Capabilities, "no_new_privs")?;
    }
    process::close_from_at_exec(3).at(Stage::Exec, "close descriptors")?;
    if !plan.seccomp.is_empty() {
        process::load_seccomp(&plan.seccomp, plan.seccomp_flags).at(Stage::Seccomp, "filter")?;
    }
    if admin != 0 {
        let last = capability::Sets {
            effective: sets.effective & have,
            permitted: sets.permitted & have,
            inheritable: sets.inheritable & have,
        };
        capability::set(last).at(Stage::Capabilities, "set")?;
    }
    if init {
        reaper::split(plan.tty, &plan.args)?;
    }
    let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
    let env: Vec<_> = env.iter().map(CString::as_c_str).collect();
    let error = process::exec(&path, &args, &env);
    // The program was found but does not run: as with runc, the container itself says so, and ends with 255.
    let reason = minke_linux::words::of(&error);
    // SAFETY: 2 is open in this process.
    let stderr = unsafe { BorrowedFd::borrow_raw(2) };
    let _ = rustix::io::write(stderr, format!("exec {}: {reason}\n", path.to_string_lossy()).as_bytes());
    process::exit(255)
}

/// Limits; raising one without CAP_SYS_RESOURCE goes as high as is allowed, with a warning. With it, the kernel has its
/// own limit (fs.nr_open), and that is an error.
fn rlimits(plan: &Process, warn: &dyn Fn(String)) -> Outcome<()> {
    for limit in &plan.rlimits {
        let Err(e) = process::set_rlimit(limit.resource, limit.soft, limit.hard) else { continue };
        let number = limit.resource.to_string();
        let may_raise = || capability::get().is_ok_and(|have| have.effective & CAP_SYS_RESOURCE != 0);
        if e.raw_os_error() != Some(libc::EPERM) || may_raise() {
            return Err(e).at(Stage::Rlimit, number);
        }
        let (_, most) = process::rlimit(limit.resource).at(Stage::Rlimit, number.as_str())?;
        let (soft, hard) = (limit.soft.min(most), limit.hard.min(most));
        process::set_rlimit(limit.resource, soft, hard).at(Stage::Rlimit, number)?;
        warn(format!("resource limit {} could not be raised over {most}", limit.resource));
    }
    Ok(())
}

/// Whether a file is the null device.
fn is_null(stat: &rustix::fs::Stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// A stream that is the host's /dev/null becomes the container's: by way of /proc/self/fd one could change the mode of
/// the host's.
fn own_null(n: i32, root: BorrowedFd<'_>) -> Outcome<()> {
    // SAFETY: 0 to 2 are open in this process.
    let fd = unsafe { BorrowedFd::borrow_raw(n) };
    if !rustix::fs::fstat(fd).is_ok_and(|stat| is_null(&stat)) {
        return Ok(());
    }
    // NONBLOCK: a FIFO in its place must not hold the start.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let own = mount::resolve(root, "dev/null", flags, how).at(Stage::Root, "/dev/null")?;
    if !is_null(&rustix::fs::fstat(&own).at(Stage::Root, "/dev/null")?) {
        return Err(rustix::io::Errno::NODEV).at(Stage::Root, "/dev/null");
    }
    rustix::fs::fcntl_setfl(&own, OFlags::empty()).at(Stage::Root, "/dev/null")?;
    // SAFETY: as above; nobody holds an object of that number.
    if unsafe { libc::dup2(own.as_raw_fd(), n) } == -1 {
        return Err(std::io::Error::last_os_error()).at(Stage::Root, "stdio");
    }
    Ok(())
}

/// A stream belongs to the user, so that /dev/stdout can be opened; /dev/null does not.
fn give_stream(n: i32, uid: u32) {
    // SAFETY: 0 to 2 are open in this process.
    let fd = unsafe { BorrowedFd::borrow_raw(n) };
    let Ok(stat) = rustix::fs::fstat(fd) else { return };
    if !is_null(&stat) && stat.st_uid != uid {
        // Sockets and the like refuse: their owner does not matter.
        let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None);
    }
}

/// The working directory and its parents, where missing.
fn make_cwd(cwd: &str) -> Outcome<()> {
    if rustix::fs::stat(cwd).is_ok() {
        return Ok(());
    }
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::Cwd, cwd)?;
    match mount::make_dir_in_root(root.as_fd(), cwd) {
        Ok(_) => Ok(()),
        // A read-only root: chdir says that it is missing.
        Err(e) if e.raw_os_error() == Some(libc::EROFS) => Ok(()),
        failed => failed.map(drop).at(Stage::Cwd, cwd),
    }
}

/// The working directory must lie inside the root: a leaked descriptor may name one outside (CVE-2024-21626).
fn check_cwd(cwd: &str) -> Outcome<()> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
        _ => Err(Failure { stage: Stage::Cwd, errno: libc::ENOENT, detail: cwd.into() }),
    }
}

fn change_user(who: &user::User) -> Outcome<()> {
    use rustix::thread::{Gid, Uid};
    let groups: Vec<Gid> = who.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    rustix::thread::set_thread_groups(&groups).at(Stage::Credentials, "groups")?;
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Stage::Credentials, "group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Stage::Credentials, "user")
}

/// Nobody may look into this process or trace it until it execs (CVE-2019-5736, CVE-2016-9962).
pub(crate) fn hide() {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
