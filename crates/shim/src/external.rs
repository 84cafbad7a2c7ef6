//! A container made by an external OCI runtime (runc, crun) instead of our own code: its commands, run one by one.
//!
//! `create` is phase one, `start` is *go*; the container's process becomes this shim's child, as the shim is its
//! subreaper. Blocks while the runtime works, some 20 ms a command: who chooses another runtime has its pace.

use crate::{
    plan::{ExecPlan, External, Root, StartPlan},
    protocol::{FIRST, Id, Stage},
    report::{At, Failure, Outcome},
    stream::Streams,
    task::Task,
};
use minke_linux::{mount, namespace, pidfd, process};
use rustix::{
    fs::{Mode, OFlags},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
        SocketType,
    },
};
use std::{
    ffi::CString,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// The most bytes of a runtime's complaints that are read.
const MAX_LOG: usize = 64 << 10;

/// Makes a container's first process: it waits for `start`.
pub(crate) fn first(plan: &StartPlan, external: &External) -> Outcome<Task> {
    // Its process is an orphan once `create` has ended: it shall be ours.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(Stage::External, "subreaper")?;
    // What a container of that id left behind; nothing, usually.
    delete(external, &plan.id);
    let (streams, stdio) =
        Streams::make(plan.process.tty, plan.stdin, plan.stdin_once, true).at(Stage::Clone, "pipe")?;
    let rootfs = format!("{}/rootfs", external.bundle);
    let args = ["create", "--bundle", external.bundle.as_str()];
    let (pid, console) =
        run_with_console(external, &external.bundle, &args, &plan.id, plan.process.tty, stdio, || {
            root(&plan.root, &rootfs)
        })?;
    task(FIRST, pid, streams, console)
}

/// Lets the first process go.
pub(crate) fn start(external: &External, id: &str) -> Outcome<()> {
    run(external, &external.bundle, &["start", id], [None, None, None], || Ok(()))
}

/// Forgets a container that ended. Its failure is the runtime's own affair.
pub(crate) fn delete(external: &External, id: &str) {
    if rustix::fs::stat(format!("{}/{id}", external.root)).is_ok() {
        let _ = run(external, &external.bundle, &["delete", "--force", id], [None, None, None], || Ok(()));
    }
}

/// Starts a further process; it runs when this returns.
pub(crate) fn exec(
    plan: &ExecPlan,
    external: &External,
    container: &str,
    id: Id,
    client: Option<(OwnedFd, u8)>,
) -> Outcome<Task> {
    let (mut streams, stdio) =
        Streams::make(plan.process.tty, plan.stdin, true, client.is_some()).at(Stage::Clone, "pipe")?;
    if let Some((socket, wants)) = client {
        streams.attach(socket, wants).at(Stage::Clone, "client")?;
    }
    let args = ["exec", "--detach", "--process", external.bundle.as_str()];
    let (pid, console) =
        run_with_console(external, &external.bundle, &args, container, plan.process.tty, stdio, || Ok(()))?;
    let _ = std::fs::remove_file(&external.bundle);
    task(id, pid, streams, console)
}

/// Takes away orphans that became this shim's children and are none of its `tasks`.
pub(crate) fn reap_orphans(tasks: &[i32]) {
    // One look finds one child; an own task's end is for its own handler, and hides others until then.
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: `info` lives through the call and is zero, which is valid, where the kernel writes nothing.
        let pid = unsafe {
            libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
            info.assume_init_ref().si_pid()
        };
        if pid == 0 || tasks.contains(&pid) {
            return;
        }
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// What becomes of a process that the runtime made.
fn task(id: Id, pid: i32, mut streams: Streams, console: Option<OwnedFd>) -> Outcome<Task> {
    if let Some(master) = console {
        streams.set_console(master).at(Stage::Terminal, "console")?;
    }
    let pidfd = pidfd::open(pid).at(Stage::External, "its process")?;
    Ok(Task {
        id,
        pid,
        pidfd,
        report: None,
        streams,
        asker: None,
        warnings: String::new(),
        failure: None,
        size: None,
        ended: false,
    })
}

/// The container's root where the bundle says, in this process's own mount namespace.
fn root(root: &Root, target: &str) -> Outcome<()> {
    mount::mount_path(None, "/", None, libc::MS_PRIVATE | libc::MS_REC, None).at(Stage::Root, "/")?;
    let open = |path: &str| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let bound = |path: &str| mount::copy(open(path)?.as_fd(), true);
    let tree = match root {
        Root::Bind { path } => bound(path),
        Root::Overlay { lower, upper, .. } if lower.is_empty() => bound(upper),
        Root::Overlay { lower, upper, work } => mount::overlay(lower, Some((upper, work))),
        Root::Volatile { lower, upper, work } => mount::overlay_volatile(lower, upper, work),
    };
    let tree = tree.at(Stage::Root, target)?;
    mount::attach(tree.as_fd(), open(target).at(Stage::Root, target)?.as_fd()).at(Stage::Root, target)
}

/// Runs a command that makes a process: its id, and its terminal when it has one.
fn run_with_console(
    external: &External,
    place: &str,
    args: &[&str],
    container: &str,
    tty: bool,
    stdio: [Option<OwnedFd>; 3],
    prepare: impl FnOnce() -> Outcome<()>,
) -> Outcome<(i32, Option<OwnedFd>)> {
    let pid_file = format!("{place}.pid");
    let mut args = args.to_vec();
    args.extend(["--pid-file", pid_file.as_str()]);
    let console = if tty { Some(Console::listen(place)?) } else { None };
    if let Some(console) = &console {
        args.extend(["--console-socket", console.path.as_str()]);
    }
    args.push(container);
    run(external, place, &args, stdio, prepare)?;
    let text = std::fs::read_to_string(&pid_file).at(Stage::External, pid_file.as_str())?;
    let _ = std::fs::remove_file(&pid_file);
    let pid = text.trim().parse().map_err(|_| refused(format!("{text:?} is no process id")))?;
    let master = console.map(|console| console.take()).transpose()?;
    Ok((pid, master))
}

/// Where a runtime sends a terminal.
struct Console {
    listener: OwnedFd,
    /// Keeps `path` short: a socket's may have 107 bytes only.
    _dir: OwnedFd,
    path: String,
}

impl Console {
    fn listen(place: &str) -> Outcome<Console> {
        let (dir, name) = place.rsplit_once('/').unwrap_or((".", place));
        let name = format!("{name}.sock");
        let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at(Stage::Terminal, dir)?;
        let path = format!("/proc/{}/fd/{}/{name}", std::process::id(), dir.as_raw_fd());
        let _ = rustix::fs::unlinkat(&dir, &name, rustix::fs::AtFlags::empty());
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .at(Stage::Terminal, "socket")?;
        let address = SocketAddrUnix::new(path.as_str()).at(Stage::Terminal, path.as_str())?;
        rustix::net::bind(&listener, &address).at(Stage::Terminal, path.as_str())?;
        rustix::net::listen(&listener, 1).at(Stage::Terminal, path.as_str())?;
        Ok(Console { listener, _dir: dir, path })
    }

    /// The runtime has ended well: what it sent is there.
    fn take(self) -> Outcome<OwnedFd> {
        let _ = std::fs::remove_file(&self.path);
        let socket =
            rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC).at(Stage::Terminal, "accept")?;
        let (mut name, mut space) = ([0u8; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut name)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .at(Stage::Terminal, "receive")?;
        let mut fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        fds.find_map(|mut fds| fds.next()).ok_or_else(|| refused("no terminal was sent".into()))
    }
}

fn refused(detail: String) -> Failure {
    Failure { stage: Stage::External, errno: 0, detail }
}

/// Runs one command of the runtime to its end, in a mount namespace of its own.
fn run(
    external: &External,
    place: &str,
    args: &[&str],
    stdio: [Option<OwnedFd>; 3],
    prepare: impl FnOnce() -> Outcome<()>,
) -> Outcome<()> {
    let log = format!("{place}.log");
    let _ = std::fs::remove_file(&log);
    let global = ["--root", external.root.as_str(), "--log", log.as_str(), "--log-format", "text"];
    let all = [external.path.as_str()]
        .into_iter()
        .chain(external.args.iter().map(String::as_str))
        .chain(global)
        .chain(args.iter().copied());
    let all = all
        .map(CString::new)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| refused("a zero byte in an argument".into()))?;
    // SAFETY: a shim has one thread.
    match unsafe { process::clone(namespace::MOUNT, None) }.at(Stage::Clone, "clone3")? {
        process::Cloned::Child => {
            let failure = match prepare().and_then(|()| become_runtime(&all, &stdio)) {
                Ok(()) => return Err(refused(String::new())),
                Err(failure) => failure,
            };
            // Told where the runtime would have told it.
            let _ = std::fs::write(
                &log,
                format!("msg=\"{}: {} (errno {})\"\n", failure.stage.as_str(), failure.detail, failure.errno),
            );
            process::exit(125)
        }
        process::Cloned::Parent { pidfd, .. } => {
            use rustix::process::{WaitId, WaitIdOptions, waitid};
            let ended = loop {
                match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
                    Err(rustix::io::Errno::INTR) => {}
                    other => break other.at(Stage::External, external.path.as_str())?,
                }
            };
            let complaint = read_log(&log);
            let _ = std::fs::remove_file(&log);
            if ended.is_some_and(|status| status.exit_status() == Some(0)) {
                Ok(())
            } else {
                Err(refused(complaint))
            }
        }
    }
}

/// In the child: stdio, then exec. Returns only when that fails.
fn become_runtime(args: &[CString], stdio: &[Option<OwnedFd>; 3]) -> Outcome<()> {
    process::reset_signals();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::Root, "/dev/null")?;
    for (n, fd) in (0..).zip(stdio) {
        // SAFETY: 0 to 2 are this process's own standard descriptors; nobody holds an object of them.
        if unsafe { libc::dup2(fd.as_ref().unwrap_or(&null).as_raw_fd(), n) } == -1 {
            return Err(std::io::Error::last_os_error()).at(Stage::Root, "stdio");
        }
    }
    process::close_from_at_exec(3).at(Stage::External, "close descriptors")?;
    let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
    let Some(path) = args.first() else { return Err(refused("no runtime".into())) };
    let error =
        process::exec(path, &args, &[c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    Err(error).at(Stage::External, path.to_string_lossy())
}

/// The last complaint in a runtime's log: the text of its `msg="…"`, or the whole line.
fn read_log(path: &str) -> String {
    use std::io::Read;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(MAX_LOG as u64).read_to_string(&mut text);
    }
    complaint(&text)
}

fn complaint(log: &str) -> String {
    let last = log
        .lines()
        .rfind(|line| line.contains("level=error") || line.contains("level=fatal"))
        .or_else(|| log.lines().last());
    let line = last.unwrap_or("it failed and did not say why");
    let Some((_, rest)) = line.split_once("msg=\"") else { return line.trim().to_owned() };
    let mut text = String::new();
    let mut escaped = false;
    for c in rest.chars() {
        match c {
            _ if escaped => {
                text.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => break,
            _ => text.push(c),
        }
    }
    text
}

/// Its cgroups are the runtime's to choose, but the unified one beside v1's, which not every runtime knows.
pub(crate) fn enter_unified(dir: &str, pid: i32) {
    if !dir.is_empty() {
        // Where it is there already, or v2 alone, this changes nothing.
        let _ = std::fs::write(format!("{dir}/cgroup.procs"), pid.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_is_told_without_its_escapes() {
        let log = "time=\"x\" level=warning msg=\"old\"\ntime=\"y\" level=error msg=\"exec: \\\"nothing\\\": not found\"\n";
        assert_eq!(complaint(log), "exec: \"nothing\": not found");
        assert_eq!(complaint("2026 plain words\n"), "2026 plain words");
        assert_eq!(complaint(""), "it failed and did not say why");
    }
}
