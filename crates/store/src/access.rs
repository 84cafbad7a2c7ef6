//! What each role may read and write, by prefix.
//!
//! A worker is somebody's machine that may be in the wrong hands: it reads what is assigned to it and what that needs,
//! and writes its own statuses. Enforced where its manager takes its words, never where they are said.

use crate::{AnyStore, Prefix, Prefixes, Result, StoreError, Txn};

/// Under these a worker finds what its assignments need, and only that: see [`Assigned`].
const NEEDED: [&str; 4] = ["endpoints/", "mesh/", "secret/", "config/"];
/// Most bytes of one value that a worker writes.
const LARGEST_STATUS: usize = 64 << 10;

/// What a node is for the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs tasks.
    Worker,
    /// Decides, and may do everything.
    Manager,
}

/// Who is at the other end, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node's id.
    pub node: String,
    /// What it is.
    pub role: Role,
}

/// What workers see: computed from the store, not stored.
pub trait Assigned: Send + Sync {
    /// The records that `node` is given: `assigned/<node>/…`, and of `endpoints/`, `mesh/`, `secret/` and `config/`
    /// those that its assignments need. Nothing else is in it, whatever is asked for.
    fn seen_by(&self, node: &str) -> AnyStore;
}

impl Peer {
    /// Whether it may read and watch `prefixes`.
    ///
    /// # Errors
    /// [`StoreError::Denied`] names the first that it may not.
    pub fn may_read(&self, prefixes: &Prefixes) -> Result<()> {
        if self.role == Role::Manager {
            return Ok(());
        }
        let own = Prefix::new(&format!("assigned/{}/", self.node));
        let given = Prefixes::new(NEEDED.into_iter().map(Prefix::new).chain([own]));
        match prefixes.iter().find(|prefix| !given.contains(prefix)) {
            Some(prefix) => Err(self.denied(format!("read {:?}", prefix.as_str()))),
            None => Ok(()),
        }
    }

    /// Whether it may commit `txn`. A guard is a question: only about what it may write.
    ///
    /// # Errors
    /// [`StoreError::Denied`] names the first key that it may not write.
    pub fn may_commit(&self, txn: &Txn) -> Result<()> {
        if self.role == Role::Manager {
            return Ok(());
        }
        let own = Prefix::new(&format!("status/{}/", self.node));
        if let Some((key, _)) = txn.writes().find(|(key, _)| !own.covers(key)) {
            return Err(self.denied(format!("write {:?}", key.as_str())));
        }
        if let Some(guard) = txn.guards().iter().find(|guard| !own.covers(guard.key())) {
            return Err(self.denied(format!("rely on {:?}", guard.key().as_str())));
        }
        let large = |(_, value): &(_, Option<&[u8]>)| value.is_some_and(|value| value.len() > LARGEST_STATUS);
        match txn.writes().find(large) {
            Some((key, _)) => Err(self.denied(format!("write so much to {:?}", key.as_str()))),
            None => Ok(()),
        }
    }

    fn denied(&self, what: String) -> StoreError {
        StoreError::Denied { who: format!("worker {}", self.node), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Peer {
        Peer { node: "n1".to_owned(), role: Role::Worker }
    }

    #[test]
    fn a_worker_reads_only_what_is_assigned_to_it() {
        for may in [
            "assigned/n1/",
            "assigned/n1/task",
            "secret/",
            "secret/s1",
            "endpoints/net/0",
            "mesh/",
            "config/c",
        ] {
            assert!(worker().may_read(&may.into()).is_ok(), "{may}");
        }
        let others = [
            "",
            "assigned/",
            "assigned/n1",
            "assigned/n2/",
            "assigned/n10/",
            "secret",
            "task/",
            "status/n1/",
        ];
        for may_not in others.into_iter().chain(["ca/", "node/", "guard/", "secrets/"]) {
            assert!(
                matches!(worker().may_read(&may_not.into()), Err(StoreError::Denied { .. })),
                "{may_not}"
            );
        }
        assert!(worker().may_read(&["assigned/n1/", "ca/"].into()).is_err());
        assert!(Peer { role: Role::Manager, ..worker() }.may_read(&Prefixes::all()).is_ok());
    }

    #[test]
    fn a_worker_writes_only_its_own_statuses() {
        let status = || Txn::new().put_bytes("status/n1/t1", 1, *b"up");
        assert!(worker().may_commit(&status().guard_absent("status/n1/t1")).is_ok());
        let stolen = [
            status().put_bytes("status/n2/t1", 1, *b"up"),
            status().put_bytes("task/t1", 1, *b"mine"),
            status().delete("node/n2"),
            status().guard_absent("secret/s1"),
            status().touch("guard/node/n1", crate::Revision::default()),
            Txn::new().put_bytes("status/n1/t1", 1, vec![b'x'; 1 << 20]),
            Txn::new().put_bytes("status/n1", 1, *b"up"),
        ];
        for txn in stolen {
            assert!(matches!(worker().may_commit(&txn), Err(StoreError::Denied { .. })));
        }
        assert!(Peer { role: Role::Manager, ..worker() }.may_commit(&Txn::new().delete("node/n2")).is_ok());
    }
}
