//! A store of which only the daemon knows which it is.

use crate::{Prefixes, Result, Revision, Snapshot, Store, Txn, Watch};
use std::{future::Future, pin::Pin, sync::Arc};

/// A future in a box.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Store`] for trait objects. Every store has it; nobody implements it by hand.
pub trait DynStore: Send + Sync {
    /// [`Store::read`].
    fn read_boxed(&self, prefixes: Prefixes) -> Pin<Box<dyn Future<Output = Result<Snapshot>> + Send + '_>>;
    /// [`Store::commit`].
    fn commit_boxed(&self, txn: Txn) -> Pin<Box<dyn Future<Output = Result<Revision>> + Send + '_>>;
    /// [`Store::watch`].
    fn watch_boxed(&self, prefixes: Prefixes, after: Revision) -> Watch;
}

impl<S: Store> DynStore for S {
    fn read_boxed(&self, prefixes: Prefixes) -> Boxed<'_, Result<Snapshot>> {
        Box::pin(self.read(prefixes))
    }

    fn commit_boxed(&self, txn: Txn) -> Boxed<'_, Result<Revision>> {
        Box::pin(self.commit(txn))
    }

    fn watch_boxed(&self, prefixes: Prefixes, after: Revision) -> Watch {
        self.watch(prefixes, after)
    }
}

/// Any store. Clones are the same one.
#[derive(Clone)]
pub struct AnyStore(Arc<dyn DynStore>);

impl AnyStore {
    /// Hides which store it is.
    pub fn new(store: impl Store + 'static) -> Self {
        AnyStore(Arc::new(store))
    }
}

impl Store for AnyStore {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        self.0.read_boxed(prefixes).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        self.0.commit_boxed(txn).await
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        self.0.watch_boxed(prefixes.into(), after)
    }
}
