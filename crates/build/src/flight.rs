//! Steps that several builds need at once: each is done once, and ends when the last of them leaves.

use crate::{
    error::BuildError,
    host::{Left, Progress},
    report::{Reporter, Watching},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use minke_model::id::Digest;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Steps that run at once, of all builds.
const AT_ONCE: usize = 32;

/// What a shared step ends with.
type Ended = Result<Left, Arc<BuildError>>;

/// All steps of this machine that run now.
pub struct Flights {
    running: Mutex<HashMap<Digest, (WeakShared<BoxFuture<'static, Ended>>, Reporter)>>,
    permits: Arc<Semaphore>,
}

impl Default for Flights {
    fn default() -> Self {
        Self { running: Mutex::default(), permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Flights {
    /// Does `work`, or waits for it where another build does the same; `vertex` and `progress` are told either way.
    pub(crate) async fn join(
        &self,
        key: &Digest,
        vertex: &Digest,
        progress: &Arc<dyn Progress>,
        work: impl FnOnce(Reporter) -> BoxFuture<'static, Result<Left, BuildError>>,
    ) -> Result<Left, BuildError> {
        let (flight, _watching) = self.find(key, vertex, progress, work);
        flight.await.map_err(|error| Arc::try_unwrap(error).unwrap_or_else(BuildError::Shared))
    }

    fn find(
        &self,
        key: &Digest,
        vertex: &Digest,
        progress: &Arc<dyn Progress>,
        work: impl FnOnce(Reporter) -> BoxFuture<'static, Result<Left, BuildError>>,
    ) -> (Shared<BoxFuture<'static, Ended>>, Watching) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, (flight, _)| flight.upgrade().is_some());
        if let Some((flight, reporter)) = running.get(key)
            && let Some(flight) = flight.upgrade()
        {
            return (flight, reporter.watch(vertex, progress));
        }
        let reporter = Reporter::new();
        let watching = reporter.watch(vertex, progress);
        let (permits, work) = (self.permits.clone(), work(reporter.clone()));
        let flight = async move {
            // A closed semaphore is a daemon that ends.
            let _permit = permits.acquire().await.map_err(|_| Arc::new(BuildError::Cancelled))?;
            work.await.map_err(Arc::new)
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            running.insert(key.clone(), (weak, reporter));
        }
        (flight, watching)
    }
}
