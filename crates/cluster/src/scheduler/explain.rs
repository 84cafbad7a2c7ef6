//! Why no node takes a task, with Swarm's own sentences (swarmkit, manager/scheduler/filter.go). Pure.

use super::filter::Reason;
use std::collections::BTreeMap;

/// How many nodes each reason holds for.
pub type Reasons = BTreeMap<Reason, usize>;

/// `insufficient resources on 2 nodes; scheduling constraints not satisfied on 1 node`: most nodes first.
pub fn sentence(reasons: &Reasons) -> String {
    let mut sorted: Vec<_> = reasons.iter().filter(|(_, nodes)| **nodes > 0).collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    sorted.into_iter().map(|(reason, nodes)| one(*reason, *nodes)).collect::<Vec<_>>().join("; ")
}

/// What a task says of itself that no node takes.
pub fn no_suitable_node(reasons: &Reasons) -> String {
    match sentence(reasons).as_str() {
        "" => "no suitable node".to_owned(),
        sentence => format!("no suitable node ({sentence})"),
    }
}

fn one(reason: Reason, nodes: usize) -> String {
    let on = |what: &str| match nodes {
        1 => format!("{what} on 1 node"),
        nodes => format!("{what} on {nodes} nodes"),
    };
    match reason {
        Reason::NotReady if nodes == 1 => "1 node not available for new tasks".to_owned(),
        Reason::NotReady => format!("{nodes} nodes not available for new tasks"),
        Reason::Resources => on("insufficient resources"),
        Reason::Plugin => on("missing plugin"),
        Reason::Constraint => on("scheduling constraints not satisfied"),
        Reason::Platform => on("unsupported platform"),
        Reason::HostPort => on("host-mode port already in use"),
        Reason::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        Reason::Volumes => on("volumes of the slot missing"),
        Reason::Encryption => on("encryption of networks not possible"),
        Reason::Mtu => on("MTU of the data path too small"),
    }
}
