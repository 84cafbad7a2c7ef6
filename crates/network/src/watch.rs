//! Keeps the firewall as it was made: listens to the kernel's events of change and repairs what others undo.
//!
//! Never: polling. Between two changes of the host's ruleset this sleeps.

use crate::{
    NetworkError,
    error::Tried,
    networks::{Inner, lock},
};
use minke_linux::{
    netlink::{Family as Netlink, Socket},
    nftables::{self, Family},
};
use rustix::io::Errno;
use std::sync::{Arc, Weak, atomic::Ordering};
use tokio::io::{Interest, unix::AsyncFd};

/// Room for events while a repair is under way, in bytes.
const ROOM: usize = 1024 * 1024;

/// What others changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Our own table.
    own: bool,
    /// The host's rules.
    host: bool,
    /// The tables of the cluster's published ports and members.
    overlays: bool,
}

/// Opens the event socket: from then on nothing is missed.
pub(crate) fn open() -> Result<Socket, NetworkError> {
    let open = || {
        let socket = Socket::open(Netlink::Netfilter)?;
        socket.reserve_answers(ROOM)?;
        socket.join(nftables::EVENTS)?;
        Ok(socket)
    };
    open().tried(|| "listen to changes of the firewall".into())
}

/// Repairs until the networks are gone.
pub(crate) async fn run(socket: Socket, networks: Weak<Inner>) {
    // Deprecated for types that may answer with a descriptor that they do not own; `Socket` owns its one for life.
    #[allow(deprecated)]
    let registered = AsyncFd::with_interest(socket, Interest::READABLE);
    let mut events = match registered {
        Ok(events) => events,
        Err(error) => return tracing::error!(%error, "the firewall cannot be watched"),
    };
    loop {
        let Ok(mut ready) = events.readable_mut().await else { return };
        let Some(inner) = networks.upgrade() else { return };
        let changes = read(ready.get_inner_mut(), &inner);
        ready.clear_ready();
        if changes == Changes::default() {
            continue;
        }
        // Blocks for a millisecond or two.
        let repaired = tokio::task::spawn_blocking(move || repair(&inner, changes)).await;
        if let Ok(Err(error)) = repaired {
            tracing::error!(%error, "the firewall could not be repaired");
        }
    }
}

/// Reads all that has arrived.
fn read(socket: &mut Socket, inner: &Inner) -> Changes {
    let (own_port, own_table) = {
        let firewall = lock(&inner.firewall);
        (firewall.port(), firewall.table().to_owned())
    };
    let mut changes = Changes::default();
    loop {
        let got = socket.events(|received| {
            let Some(change) = nftables::change(&received) else { return };
            if change.port == own_port || change.table.is_empty() {
                return;
            }
            if change.table == own_table && change.family == Some(Family::Inet) {
                changes.own = true;
            } else if change.table.starts_with(&own_table) {
                changes.overlays |= change.port != inner.overlays_port.load(Ordering::Relaxed);
            } else if !change.table.starts_with("minke-") {
                changes.host = true;
            }
        });
        match got {
            Ok(Some(_)) => {}
            Ok(None) => return changes,
            // Events were lost: anything may have changed.
            Err(refused) if refused.is(Errno::NOBUFS) => {
                changes = Changes { own: true, host: true, overlays: true }
            }
            Err(refused) => {
                tracing::warn!(%refused, "events of the firewall cannot be read");
                return changes;
            }
        }
    }
}

fn repair(inner: &Arc<Inner>, changes: Changes) -> Result<(), NetworkError> {
    if changes.overlays {
        lock(&inner.overlays).repair(inner)?;
    }
    let mut firewall = lock(&inner.firewall);
    if !firewall.is_built() {
        return Ok(());
    }
    if changes.own {
        tracing::warn!(table = firewall.table(), "somebody changed the firewall table: building it anew");
        return firewall.rebuild();
    }
    if !changes.host {
        return Ok(());
    }
    firewall.check_host()
}
