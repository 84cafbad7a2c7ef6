//! PID 1 of `--init`: a fork of the ready child that never execs, passes signals on and reaps what is orphaned.
//!
//! Never: privileges of its own. It forks after the last of them was dropped.

use crate::{
    protocol::Stage,
    report::{At, Outcome},
};
use minke_linux::process;
use std::sync::OnceLock;

/// Where the kernel reads this program's command line from: the first address and the one after the last.
static COMMAND_LINE: OnceLock<(usize, usize)> = OnceLock::new();

/// Looks up where this program's command line lies (proc_pid_stat(5), fields 48 and 49): once, before there are
/// forks, and while /proc is the host's.
pub(crate) fn find_command_line() {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in the second field may hold anything but its closing parenthesis.
    let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let address = |number: usize| fields.split(' ').nth(number - 3).and_then(|n| n.parse::<usize>().ok());
    if let (Some(start), Some(end)) = (address(48), address(49))
        && start != 0
        && start < end
    {
        let _ = COMMAND_LINE.set((start, end));
    }
}

/// Shows `docker-init -- ARGS` as this process's command line, as far as the old one's place goes: the old one names
/// paths of the host.
fn show_command_line(args: &[String]) {
    let Some((start, end)) = COMMAND_LINE.get() else { return };
    let mut text = b"/sbin/docker-init\0--".to_vec();
    for arg in args {
        text.push(0);
        text.extend_from_slice(arg.as_bytes());
    }
    // The last byte stays zero, or the kernel would read on.
    text.resize(end - start - 1, 0);
    text.push(0);
    // SAFETY: the range is the argument strings of this process, writable and mapped as long as it lives; Rust's own
    // copies of them were made before, and this process has one thread.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), *start as *mut u8, text.len()) };
}

/// Returns in the child that shall exec `args`; the parent stays as PID 1 and ends as the child ends.
pub(crate) fn split(tty: bool, args: &[String]) -> Outcome<()> {
    process::block_signals();
    // SAFETY: this process has one thread.
    match unsafe { process::fork() }.at(Stage::Clone, "init")? {
        None => {
            // A group of its own, in front of the terminal, as docker-init does.
            // SAFETY: plain numbers; SIGTTOU is blocked here.
            unsafe {
                libc::setpgid(0, 0);
                if tty {
                    libc::tcsetpgrp(0, libc::getpid());
                }
            }
            process::reset_signals();
            Ok(())
        }
        Some(pid) => {
            show_command_line(args);
            watch(pid)
        }
    }
}

fn watch(child: i32) -> ! {
    let _ = rustix::thread::set_name(c"docker-init");
    if rustix::process::getpid().as_raw_nonzero().get() != 1 {
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    // The socket to the shim must close with the child's exec, not with this process.
    let _ = process::close_from(3);
    loop {
        let signal = process::wait_signal();
        match signal {
            libc::SIGCHLD => reap(child),
            // A background read or write of PID 1 itself: nobody else's affair.
            libc::SIGTTIN | libc::SIGTTOU | ..=0 => {}
            // Its id is not given again before `reap` took it.
            // SAFETY: plain numbers.
            other => unsafe {
                libc::kill(child, other);
            },
        }
    }
}

fn reap(child: i32) {
    loop {
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        if pid == child {
            process::exit(if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            });
        }
    }
}
