//! Read, commit, watch: where a machine, or a cluster, keeps what it knows.
//!
//! A [`Store`] holds small records under text keys. Everything is held in memory as one persistent map,
//! so that a read is a pointer copy and never touches a disk; a commit writes all of its [`Txn`] or
//! nothing, and is refused when one of its guards no longer holds; a [`Watch`] follows what others commit.
//!
//! Several distances: [`Memory`] (tests, simulation), [`Embedded`] (one machine, on disk), [`Etcd`] (several
//! managers) and [`Remote`] (a worker through its manager, which serves it by [`Server`]). [`Switch`] goes from one to another while the daemon runs,
//! [`Mirror`] keeps a copy of what is far, [`Faulty`] does what may go wrong. The loops above cannot tell which; `suite.rs` holds what all must
//! do.
//!
//! A loop that keeps something true is a [`Reconcile`]: it looks at a snapshot, plans, and commits.
//!
//! Never: knows what a record means, or decides. Start at [`Table`], which gives keys their types, and then
//! [`Reconcile`].

mod access;
mod any;
mod clock;
mod dump;
mod embedded;
mod error;
mod etcd;
mod faulty;
mod key;
mod map;
mod memory;
mod mirror;
mod moving;
mod random;
mod reconcile;
mod remote;
mod state;
#[cfg(test)]
mod suite;
mod switch;
mod table;
mod txn;
mod watch;

pub use access::{Assigned, Peer, Role};
pub use any::{AnyStore, DynStore};
pub use clock::{Clock, Simulated, Time, WallClock};
pub use dump::Dump;
pub use embedded::Embedded;
pub use error::StoreError;
pub use etcd::{
    Admin as EtcdAdmin, Alarm as EtcdAlarm, Endpoints, Etcd, Member as EtcdMember, Status as EtcdStatus,
};
pub use faulty::{Faults, Faulty};
pub use key::{Key, Prefix, Prefixes};
pub use memory::Memory;
pub use mirror::Mirror;
pub use moving::{Moved, load_into_etcd, move_to_etcd};
pub use reconcile::{Driver, Outcome, Plan, Reconcile, Stop, Stopper, Turn, Wake};
pub use remote::{Dial, Link, Remote, Server};
pub use state::{Difference, Record, Snapshot};
pub use switch::{Held, Switch};
pub use table::{GuardedBy, Raise, Stored, Table};
pub use txn::{Durability, Guard, Txn};
pub use watch::{Change, Changes, Follow, Remember, Watch};

use std::{fmt, future::Future, time::Duration};

/// What every verb here returns.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How long an answer may take, in milliseconds. Tests run on machines that are slow and loaded: they wait longer.
const fn patience(millis: u64) -> Duration {
    Duration::from_millis(if cfg!(test) { 60_000 } else { millis })
}

/// A point in a store's history.
///
/// Ordered: later is greater. A restored or moved store starts a new epoch, which makes every revision
/// from before older than all of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Which life of the store.
    pub epoch: u64,
    /// Which commit in it, from 1; 0 is before the first.
    pub number: u64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// Where a machine, or a cluster, keeps what it knows.
pub trait Store: Send + Sync {
    /// Reads everything under `prefixes` (one, or several), all as of one revision. A snapshot shares
    /// structure with the next: taking one costs nothing.
    fn read(&self, prefixes: impl Into<Prefixes> + Send) -> impl Future<Output = Result<Snapshot>> + Send;

    /// Writes all of `txn` or nothing, and returns the revision that holds it. Returns once it is as
    /// durable as the transaction asks.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a guard does not hold: look again. [`StoreError::TooLarge`] when it can
    /// never be taken. [`StoreError::OutcomeUnknown`] when it may have been written or not, now or a little
    /// later: look again. With any other error nothing was written.
    fn commit(&self, txn: Txn) -> impl Future<Output = Result<Revision>> + Send;

    /// Follows every change under `prefixes` after `revision`, as one stream in the order of revisions. A
    /// watch that lags behind what is remembered ends in [`StoreError::Compacted`]: read again.
    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch;
}
