//! The network namespace that a daemon's overlay networks live in: neither the host's routes nor its firewall nor another
//! daemon meets what is in it.
//!
//! It is pinned by a file, so that it outlives the daemon: containers go on talking, and the next daemon finds it. A
//! daemon that was started in a mount namespace of its own (`ip netns exec`) takes the pin with it; the next one finds it
//! by the root of a process that is still there.

use crate::{NetworkError, error::Tried, sysctl};
use minke_linux::netlink::{self, Family, LinkChange, Socket, within};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
    mount::{MountPropagationFlags, UnmountFlags},
};
use std::path::{Path, PathBuf};

/// `NSFS_MAGIC`.
const NSFS: u64 = 0x6e73_6673;
/// `lo` is the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// It, and the sockets that work in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    fd: OwnedFd,
    pin: PathBuf,
    /// Links, addresses, routes, neighbours.
    pub(crate) route: Socket,
    /// Rules and flows.
    pub(crate) netfilter: Socket,
}

impl Namespace {
    /// The one that `pin` keeps, here or as one of `elsewhere` sees it; a new one where there is none.
    pub(crate) fn open(pin: &Path, elsewhere: &[PathBuf]) -> Result<Self, NetworkError> {
        let fd = match pinned(pin) {
            Some(fd) => fd,
            None => {
                let found = elsewhere.iter().find_map(|path| pinned(path));
                let fd = found.map_or_else(netlink::new_namespace, Ok);
                let fd = fd.map_err(|e| NetworkError::io("make a network namespace for overlays", e))?;
                keep(pin, fd.as_fd()).map_err(|e| {
                    NetworkError::io(format!("pin a network namespace to {}", pin.display()), e)
                })?;
                fd
            }
        };
        let sockets = within(fd.as_fd(), || {
            set_up();
            Ok((Socket::open(Family::Route)?, Socket::open(Family::Netfilter)?))
        });
        let sockets = sockets.map_err(|e| NetworkError::io("enter the network namespace of overlays", e))?;
        let (mut route, netfilter) = sockets.tried(|| "open sockets for overlays".into())?;
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        netlink::set_link(&mut route, LOOPBACK, &up).tried(|| "switch the overlays' loopback on".into())?;
        Ok(Self { fd, pin: pin.to_owned(), route, netfilter })
    }

    /// For making things in it.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sets kernel parameters in it; refusals are only told.
    pub(crate) fn set(&self, parameters: &[(String, &str)]) {
        let done = within(self.fd(), || {
            for (name, value) in parameters {
                sysctl::try_set(name, value);
            }
        });
        if let Err(error) = done {
            tracing::warn!(%error, "parameters of overlay networks could not be set");
        }
    }

    /// Lets go of it: with its last user, all that is in it goes.
    pub(crate) fn drop_pin(&self) {
        unpin(&self.pin);
    }
}

/// Takes a pin away, if there is one.
pub(crate) fn unpin(pin: &Path) {
    // One that is not mounted, or not there, is gone as well.
    let _ = rustix::mount::unmount(pin, UnmountFlags::DETACH);
    let _ = std::fs::remove_file(pin);
}

/// The namespace that a file keeps.
fn pinned(path: &Path) -> Option<OwnedFd> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let kind = rustix::fs::fstatfs(&fd).ok()?.f_type as u64;
    (kind == NSFS).then_some(fd)
}

fn keep(pin: &Path, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC;
    drop(rustix::fs::open(pin, flags, Mode::RUSR)?);
    rustix::mount::mount_bind(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()), pin)?;
    // A copy of it in another mount namespace would keep it when we let go.
    rustix::mount::mount_change(pin, MountPropagationFlags::PRIVATE)
}

/// Parameters that hold for all that is made in it later. Bridged packets meet no netfilter; it has no senders to doubt.
fn set_up() {
    for name in ["iptables", "ip6tables", "arptables"] {
        sysctl::try_set(&format!("bridge/bridge-nf-call-{name}"), "0");
    }
    for (name, value) in [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
    ] {
        sysctl::try_set(name, value);
    }
}
