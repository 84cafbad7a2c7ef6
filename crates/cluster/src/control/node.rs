//! Nodes as their users see and change them. How one joins is the membership's.

use super::{Code, Control, ControlError, Filters, Look, Result, filter::resolve};
use crate::tables::{NODES, TASKS};
use minke_model::{
    ClusterNodeId, Kind,
    node::{Node, NodeSpec, NodeState, Role},
    task::{Task, TaskState},
};
use minke_store::Txn;
use std::sync::Arc;

/// Tasks that are orphaned in one transaction: each touches its service's and its networks' guards, too.
const TASKS_AT_ONCE: usize = 8;

impl Control {
    /// All nodes, by id.
    pub async fn every_node(&self) -> Result<Vec<Arc<Node>>> {
        Ok(NODES.list(&self.look().await?)?.into_iter().map(|(_, node)| node.value).collect())
    }

    /// The node that `input` means.
    pub async fn node(&self, input: &str) -> Result<Arc<Node>> {
        let nodes = self.every_node().await?;
        resolve("node", input, &nodes, |n| {
            (n.id.as_str(), n.description.as_ref().map_or("", |d| d.hostname.as_str()))
        })
    }

    /// Nodes that are wanted.
    pub async fn nodes(&self, filters: &Filters) -> Result<Vec<Arc<Node>>> {
        filters.check(&["name", "id", "label", "role", "membership", "node.label"])?;
        let known = |name: &str, words: &[&str]| {
            let unknown = filters
                .get(name)
                .find(|w| !w.is_empty() && !words.contains(&w.to_ascii_lowercase().as_str()));
            match unknown {
                Some(word) => {
                    Err(ControlError::plain(Kind::Internal, format!("Invalid {name} filter: '{word}'")))
                }
                None => Ok(()),
            }
        };
        known("role", &["worker", "manager"])?;
        known("membership", &["pending", "accepted"])?;
        let wanted = |node: &Node| {
            let role = match node.spec.role {
                Role::Worker => "worker",
                Role::Manager => "manager",
            };
            let spoke = node.description.as_ref();
            (!filters.has("name") || spoke.is_some_and(|d| filters.begins("name", &d.hostname)))
                && filters.begins("id", node.id.as_str())
                && (!filters.has("label")
                    || spoke.is_some_and(|d| filters.labelled("label", &d.engine_labels)))
                && filters.labelled("node.label", &node.spec.labels)
                && (!filters.has("role") || filters.get("role").any(|r| r.eq_ignore_ascii_case(role)))
                && (!filters.has("membership")
                    || filters.get("membership").any(|m| m.eq_ignore_ascii_case("accepted")))
        };
        Ok(self.every_node().await?.into_iter().filter(|n| wanted(n)).collect())
    }

    /// Changes a node to `spec`, if it is still of `version`.
    pub async fn update_node(&self, id: &ClusterNodeId, version: u64, spec: NodeSpec) -> Result<()> {
        let now = self.now();
        self.wish(|snapshot| {
            let Some(found) = NODES.get(snapshot, id.as_str())? else {
                return Err(ControlError::new(Code::NotFound, format!("node {id} not found")));
            };
            if found.spec.role == Role::Manager && spec.role == Role::Worker {
                let managers = NODES.list(snapshot)?;
                if managers.iter().filter(|(_, n)| n.spec.role == Role::Manager).count() == 1 {
                    return Err(ControlError::new(
                        Code::FailedPrecondition,
                        "attempting to demote the last manager of the swarm",
                    ));
                }
            }
            if found.meta.version == version + 1 && found.meta.updated == now {
                return Ok(Look::Done(()));
            }
            if found.meta.version != version {
                return Err(ControlError::out_of_sequence());
            }
            let mut next = Node::clone(&found);
            next.spec = spec.clone();
            next.meta = next.meta.changed(now);
            Ok(Look::Write(Txn::on(snapshot).put(&NODES, id.as_str(), next), ()))
        })
        .await
    }

    /// Takes a node out of the cluster, with all that it ran.
    pub async fn remove_node(&self, id: &ClusterNodeId, force: bool) -> Result<()> {
        let now = self.now();
        // A long list of tasks goes in pieces, each of which makes sense alone; the node goes with the last.
        loop {
            let more = self
                .wish(|snapshot| {
                    let Some(found) = NODES.get(snapshot, id.as_str())? else {
                        return Err(ControlError::new(Code::NotFound, format!("node {id} not found")));
                    };
                    let refuse = |text: &str| {
                        Err(ControlError::new(Code::FailedPrecondition, format!("node {id} {text}")))
                    };
                    if found.spec.role == Role::Manager {
                        return refuse(
                            "is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
                        );
                    }
                    if !force && matches!(found.state, NodeState::Ready | NodeState::Away) {
                        return refuse("is not down and can't be removed");
                    }
                    let tasks = TASKS.list(snapshot)?;
                    let mut live = tasks
                        .iter()
                        .filter(|(_, t)| t.node.as_ref() == Some(id) && t.state != TaskState::Orphaned);
                    let mut txn = Txn::on(snapshot);
                    for (name, task) in live.by_ref().take(TASKS_AT_ONCE) {
                        let mut task = Task::clone(task);
                        task.state = TaskState::Orphaned;
                        task.since = now;
                        task.message = "Task belonged to a node that has been deleted".to_owned();
                        txn = txn.put(&TASKS, name, task);
                    }
                    let more = live.next().is_some();
                    if !more {
                        txn = txn.remove(&NODES, id.as_str());
                    }
                    Ok(Look::Write(txn, more))
                })
                .await?;
            if !more {
                return Ok(());
            }
        }
    }
}
