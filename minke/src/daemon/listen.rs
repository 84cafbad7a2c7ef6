//! The daemon's sockets: unix ones with their mode and group, tcp ones on loopback or with mutual TLS, and systemd's.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) enum Listening {
    Unix { listener: UnixListener, path: Option<PathBuf> },
    Tcp(TcpListener),
}

impl Listening {
    /// The socket's file, if it is ours to remove.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Listening::Unix { path, .. } => path.clone(),
            Listening::Tcp(_) => None,
        }
    }
}

/// First descriptor that systemd passes (sd_listen_fds(3)).
const FIRST_PASSED: i32 = 3;

/// Opens what `-H` says.
pub(super) fn open(host: &str, group: &str, secured: bool) -> Result<Vec<Listening>, String> {
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(vec![unix(Path::new(path), group)?]);
    }
    if let Some(rest) = host.strip_prefix("fd://") {
        return passed(rest);
    }
    if let Some(address) = host.strip_prefix("tcp://") {
        return tcp(address, secured);
    }
    Err(format!("cannot listen on {host:?}: it must begin with unix://, tcp:// or fd://"))
}

fn unix(path: &Path, group: &str) -> Result<Listening, String> {
    let failed = |what: &str, e: io::Error| format!("cannot {what} {}: {e}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|e| failed("make the directory of", e))?;
    }
    // A socket that nobody serves is left from a daemon that died.
    if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(format!("cannot listen on {}: another daemon listens there", path.display()));
        }
        fs::remove_file(path).map_err(|e| failed("remove the old socket", e))?;
    }
    // Bound under a name that nobody knows, so that it is never open to all.
    let hidden = path.with_extension(format!("new{}", std::process::id()));
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(|e| failed("listen on", e))?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o660))
        .map_err(|e| failed("set the mode of", e))?;
    if let Some(gid) = group_id(group) {
        std::os::unix::fs::chown(&hidden, Some(0), Some(gid)).map_err(|e| failed("set the group of", e))?;
    }
    fs::rename(&hidden, path).map_err(|e| failed("put in place", e))?;
    listener.set_nonblocking(true).map_err(|e| failed("set up", e))?;
    Ok(Listening::Unix { listener, path: Some(path.to_owned()) })
}

fn tcp(address: &str, secured: bool) -> Result<Vec<Listening>, String> {
    let address = if address.contains(':') { address.to_owned() } else { format!("{address}:2375") };
    let resolved: Vec<SocketAddr> =
        address.to_socket_addrs().map_err(|e| format!("cannot listen on tcp://{address}: {e}"))?.collect();
    let Some(first) = resolved.first() else {
        return Err(format!("cannot listen on tcp://{address}: no such address"));
    };
    if !first.ip().is_loopback() && !secured {
        return Err(format!(
            "refusing to listen on tcp://{address}: whoever reaches it is root here; use --tlsverify with --tlscacert, --tlscert and --tlskey, or an ssh:// address on the client's side"
        ));
    }
    let listener = TcpListener::bind(first).map_err(|e| format!("cannot listen on tcp://{address}: {e}"))?;
    listener.set_nonblocking(true).map_err(|e| format!("cannot set up tcp://{address}: {e}"))?;
    Ok(vec![Listening::Tcp(listener)])
}

/// The sockets that systemd passed; `which` is a descriptor's number or empty for all.
fn passed(which: &str) -> Result<Vec<Listening>, String> {
    let count: i32 = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !ours || count <= 0 {
        return Err("no sockets were passed: fd:// needs systemd's socket activation".into());
    }
    let wanted: Option<i32> = which.trim_end_matches('/').parse().ok();
    let all = FIRST_PASSED..FIRST_PASSED + count;
    let mut listening = Vec::new();
    for fd in all.filter(|fd| wanted.is_none_or(|w| w == *fd)) {
        let owned = minke_linux::process::take_passed_fd(fd)
            .map_err(|e| format!("descriptor {fd} that systemd passed: {e}"))?;
        listening.push(of_descriptor(owned)?);
    }
    Ok(listening)
}

fn of_descriptor(fd: OwnedFd) -> Result<Listening, String> {
    let name = rustix::net::getsockname(&fd)
        .map_err(|e| format!("a descriptor that systemd passed is no socket: {e}"))?;
    let unix = name.address_family() == rustix::net::AddressFamily::UNIX;
    let nonblocking = |e: io::Error| format!("cannot set up a socket that systemd passed: {e}");
    if unix {
        let listener = UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(nonblocking)?;
        return Ok(Listening::Unix { listener, path: None });
    }
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true).map_err(nonblocking)?;
    Ok(Listening::Tcp(listener))
}

/// The group's id from /etc/group, or a number; `None` when there is no such group (then root's).
fn group_id(group: &str) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    let text = fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
