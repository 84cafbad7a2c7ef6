//! PID 1 of `--init`: a fork of the ready child that never execs, passes signals on and reaps what is orphaned.
//!
//! Never: privileges of its own. It forks after the last of them was dropped.

use crate::{
    protocol::Stage,
    report::{At, Outcome},
};
use minke_linux::process;

/// Returns in the child that shall exec; the parent stays as PID 1 and ends as the child ends.
pub(crate) fn split(tty: bool) -> Outcome<()> {
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
        Some(pid) => watch(pid),
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
            process::exit(if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) });
        }
    }
}
