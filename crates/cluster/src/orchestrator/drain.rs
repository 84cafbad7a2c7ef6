//! Why a task cannot stay where it is. Pure.

use crate::{View, nature, scheduler::constraint, view::TaskNow};
use minke_model::{
    node::{Availability, NodeState},
    task::Cause,
};

/// What is wrong with a task's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is no longer in the cluster.
    Gone,
    /// It has been silent for too long.
    Down,
    /// Its user wants it empty.
    Drained,
    /// The template's constraints hold no longer.
    Unfit,
}

impl Trouble {
    /// Why a task that takes its place is made.
    pub fn cause(self) -> Cause {
        match self {
            Trouble::Gone | Trouble::Down => Cause::NodeDown,
            Trouble::Drained => Cause::Drain,
            Trouble::Unfit => Cause::Constraint,
        }
    }

    /// For people, after the node's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Gone => "has left",
            Trouble::Down => "is down",
            Trouble::Drained => "is drained",
            Trouble::Unfit => "no longer satisfies the constraints",
        }
    }
}

/// Why `task` cannot stay; `None`: it can, or has no node yet.
pub fn trouble(view: &View, task: &TaskNow) -> Option<Trouble> {
    let Some(node) = view.node(task.task.node.as_ref()?) else { return Some(Trouble::Gone) };
    if node.state == NodeState::Down {
        return Some(Trouble::Down);
    }
    if node.spec.availability == Availability::Drain {
        return Some(Trouble::Drained);
    }
    let spec = view.spec_of(&task.task)?;
    // Before it spoke for the first time nothing is known of it.
    let unfit = node.description.is_some() && !constraint::node_fits(&spec.placement.constraints, node);
    unfit.then_some(Trouble::Unfit)
}

/// How people know a task's node.
pub fn node_name(view: &View, task: &TaskNow) -> String {
    let Some(id) = &task.task.node else { return "no node".to_owned() };
    view.node(id).map_or_else(|| id.short().to_owned(), |node| nature::name_of(node).to_owned())
}
