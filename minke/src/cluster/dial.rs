//! How this member finds a manager: itself in memory while it leads, else the managers that it knows, one after the
//! other.

use super::join_error;
use minke_cluster::{
    membership::{
        ca::Identity,
        reception::Reception,
        session::{Boxed, Dial, Dialled},
    },
    transport::{
        TransportError,
        tls::{self, Credentials, Peer},
    },
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// A manager that has not answered after so long is not waited for alone.
const STAGGER: Duration = Duration::from_millis(250);
/// Bytes that may be under way between a manager and its own agent.
const PIPE: usize = 256 << 10;

/// Finds managers.
pub(super) struct Dialler {
    credentials: watch::Receiver<Credentials>,
    managers: watch::Receiver<Vec<SocketAddr>>,
    /// Set while this machine leads.
    local: watch::Receiver<Option<Reception>>,
    next: Mutex<usize>,
    /// The address that it last dialled from.
    own: watch::Sender<Option<IpAddr>>,
}

impl Dialler {
    pub(super) fn new(
        credentials: watch::Receiver<Credentials>,
        managers: watch::Receiver<Vec<SocketAddr>>,
        local: watch::Receiver<Option<Reception>>,
    ) -> Self {
        Dialler { credentials, managers, local, next: Mutex::new(0), own: watch::Sender::new(None) }
    }

    /// The address that it last dialled from.
    pub(super) fn own_address(&self) -> watch::Receiver<Option<IpAddr>> {
        self.own.subscribe()
    }

    fn choose(&self) -> Result<SocketAddr, TransportError> {
        let managers = self.managers.borrow();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = managers.get(*next % managers.len().max(1)).copied();
        *next = next.wrapping_add(1);
        chosen.ok_or_else(|| TransportError::Ended("no manager is known".into()))
    }

    fn inside(&self, reception: Reception) -> Result<Dialled, TransportError> {
        let credentials = self.credentials.borrow().clone();
        let identity = Identity::of_pem(&credentials.chain).map_err(join_error)?;
        let me = Peer {
            node: identity.node,
            role: identity.role,
            issuer: identity.issuer,
            not_after: identity.not_after,
        };
        let (here, there) = tokio::io::duplex(PIPE);
        let peer = me.clone();
        tokio::spawn(async move { reception.converse(Box::new(there), Some(peer), None).await });
        Ok(Dialled { io: Box::new(here), peer: me })
    }
}

impl Dialler {
    /// The first manager that answers: another is asked while one keeps silent.
    async fn outside(&self, hint: Option<SocketAddr>) -> Result<Dialled, TransportError> {
        let (config, cluster) = {
            let credentials = self.credentials.borrow();
            (credentials.client()?, credentials.cluster.clone())
        };
        let mut attempts = JoinSet::new();
        let mut next = hint.map_or_else(|| self.choose(), Ok)?;
        let mut left = self.managers.borrow().len().max(1);
        loop {
            if left > 0 {
                left -= 1;
                let config = config.clone();
                attempts.spawn(async move { tls::dial(&next.to_string(), config).await });
            }
            let stream = tokio::select! {
                Some(done) = attempts.join_next() => match done {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(e)) if attempts.is_empty() && left == 0 => return Err(e),
                    Ok(Err(_)) | Err(_) => {
                        next = self.choose()?;
                        continue;
                    }
                },
                () = sleep(STAGGER), if left > 0 => {
                    next = self.choose()?;
                    continue;
                }
            };
            let peer = tls::peer(stream.get_ref().1.peer_certificates(), &cluster)?
                .ok_or(TransportError::Protocol("a manager shows no certificate"))?;
            self.own.send_replace(stream.get_ref().0.local_addr().ok().map(|own| own.ip()));
            return Ok(Dialled { io: Box::new(stream), peer });
        }
    }
}

impl Dial for Dialler {
    fn dial(&self, hint: Option<SocketAddr>) -> Boxed<'_, Result<Dialled, TransportError>> {
        Box::pin(async move {
            let mut local = self.local.clone();
            let leads = async {
                let found = local.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
                match found {
                    Some(reception) => reception,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                reception = leads => self.inside(reception),
                dialled = self.outside(hint) => dialled,
            }
        })
    }
}
