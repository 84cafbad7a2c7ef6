//! The network between one node and the managers: slow, cut one way or both, and stalled as TCP stalls.

use crate::random::Random;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::watch,
};

/// Bytes on their way in one direction: then the sender waits.
const IN_FLIGHT: usize = 64 << 10;

/// What a node's wire lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Nothing of the node's reaches managers.
    pub(crate) up: bool,
    /// Nothing of the managers' reaches the node.
    pub(crate) down: bool,
}

impl Cut {
    /// Nothing passes.
    pub(crate) const BOTH: Cut = Cut { up: true, down: true };
    /// All passes.
    pub(crate) const NONE: Cut = Cut { up: false, down: false };

    /// Whether new connections fail.
    pub(crate) fn any(self) -> bool {
        self.up || self.down
    }
}

/// One node's wire. Clones are the same.
#[derive(Clone)]
pub(crate) struct Wire {
    cut: watch::Sender<Cut>,
    random: Arc<Mutex<Random>>,
}

impl Wire {
    /// A whole one.
    pub(crate) fn new(random: Random) -> Self {
        Wire { cut: watch::Sender::new(Cut::NONE), random: Arc::new(Mutex::new(random)) }
    }

    /// From now on this passes and that does not.
    pub(crate) fn set(&self, cut: Cut) {
        self.cut.send_replace(cut);
    }

    /// What it lets through.
    pub(crate) fn cut(&self) -> Cut {
        *self.cut.borrow()
    }

    /// A connection over it: the node's end, the manager's end, and what carries bytes between them.
    pub(crate) fn connect(&self) -> (DuplexStream, DuplexStream, impl Future<Output = ()> + Send + use<>) {
        let (node, node_far) = tokio::io::duplex(IN_FLIGHT);
        let (manager, manager_far) = tokio::io::duplex(IN_FLIGHT);
        let (from_node, to_node) = tokio::io::split(node_far);
        let (from_manager, to_manager) = tokio::io::split(manager_far);
        let (up, down) = (self.clone(), self.clone());
        let carry = async move {
            tokio::join!(
                up.carry(from_node, to_manager, |cut| cut.up),
                down.carry(from_manager, to_node, |cut| cut.down)
            );
        };
        (node, manager, carry)
    }

    async fn carry(
        self,
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        is_cut: fn(&Cut) -> bool,
    ) {
        let mut passes = self.cut.subscribe();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = from.read(&mut buffer).await.unwrap_or(0);
            // What a dead process would still have said is lost with it; an end passes as data does.
            if passes.wait_for(|cut| !is_cut(cut)).await.is_err() {
                return;
            }
            if read == 0 {
                let _ = to.shutdown().await;
                return;
            }
            tokio::time::sleep(self.latency()).await;
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    fn latency(&self) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly a switch, at times a busy one.
        if random.one_in(50) { random.millis(5, 80) } else { Duration::from_micros(random.between(50, 900)) }
    }
}
