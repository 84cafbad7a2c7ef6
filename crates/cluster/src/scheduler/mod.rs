//! The scheduler: which waiting task runs on which node, and why one runs on none.
//!
//! As Swarm (swarmkit, manager/scheduler): nodes pass filters ([`filter`]), then the best takes the next task ([`plan`]).
//! What is booked on each node is kept beside the view ([`nodes`]) and refreshed where something changed.

pub mod constraint;
pub mod explain;
pub mod filter;
pub mod nodes;
pub mod plan;
pub mod score;

pub use nodes::Nodes;
pub use plan::plan;

use crate::View;
use minke_model::{
    Timestamp,
    node::Node,
    service::{Service, TaskSpec},
};

/// Whether `node` could take one more task of a service now.
pub fn could_take(view: &View, service: &Service, spec: &TaskSpec, node: &Node, now: Timestamp) -> bool {
    let room = nodes::Room::of(view, node);
    let ask = filter::Ask::new(view, service, spec);
    filter::check(&ask, node, &room).is_none() && room.failures(&service.id, now) < score::FAILING
}
