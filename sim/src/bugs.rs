//! Bugs that are planted to see that the checks find them. A check that finds none of them checks nothing.

use minke_store::{AnyStore, Prefixes, Result, Revision, Snapshot, Store, Txn, Watch};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Loops rely on what is booked on a node without a guard.
    NodeGuard,
    /// Loops rely on a service's tasks without a guard.
    ServiceGuard,
    /// Loops rely on a network's addresses without a guard.
    NetworkGuard,
    /// A shim ends what must be single later than it should.
    LateFence,
    /// What must be single starts by word from before the node's return.
    StaleReturn,
    /// A daemon that starts does not look for its containers.
    Forgetful,
    /// Some reports are taken and not written.
    LostReport,
    /// What should end does not, now and then.
    DeafStop,
}

/// Each bug, and a seed near which it shows.
pub(crate) const ALL: [(Bug, u64); 8] = [
    (Bug::LateFence, 0),
    (Bug::StaleReturn, 0),
    (Bug::Forgetful, 0),
    (Bug::LostReport, 0),
    (Bug::DeafStop, 0),
    (Bug::ServiceGuard, 0),
    (Bug::NetworkGuard, 0),
    (Bug::NodeGuard, 0),
];

/// A store whose commits lack the guards that a bug forgets.
pub(crate) struct Unguarded {
    store: AnyStore,
    bug: Option<Bug>,
}

impl Unguarded {
    /// Around `store`.
    pub(crate) fn new(store: AnyStore, bug: Option<Bug>) -> Self {
        Unguarded { store, bug }
    }
}

impl Store for Unguarded {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        self.store.read(prefixes).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        let forgotten: &[&str] = match self.bug {
            Some(Bug::NodeGuard) => &["guard/node/", "node/"],
            Some(Bug::ServiceGuard) => &["guard/service/", "service/", "task/"],
            Some(Bug::NetworkGuard) => &["guard/network/"],
            _ => &[],
        };
        self.store
            .commit(txn.without_guards(|key| forgotten.iter().any(|f| key.as_str().starts_with(f))))
            .await
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        self.store.watch(prefixes, after)
    }
}
