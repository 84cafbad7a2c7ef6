//! Which of several nodes takes the next task: failing ones last, then the fewest of its service, then the fewest of
//! all (swarmkit, manager/scheduler/scheduler.go, nodeLess). Pure.

use super::nodes::Room;
use minke_model::{ClusterNodeId, ServiceId, Timestamp};

/// A node where a service failed so often lately comes last.
pub const FAILING: usize = 5;

/// The lower, the better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    failures: usize,
    of_service: usize,
    total: usize,
    /// So that equal nodes have an order.
    pub(crate) node: ClusterNodeId,
}

impl Score {
    /// Of a node for a service.
    pub fn of(node: &ClusterNodeId, room: &Room, service: &ServiceId, now: Timestamp) -> Self {
        let failures = room.failures(service, now);
        Score {
            failures: if failures >= FAILING { failures } else { 0 },
            of_service: room.of_service(service),
            total: room.total,
            node: node.clone(),
        }
    }
}
