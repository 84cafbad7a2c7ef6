//! The manager's half: takes a worker's words, holds them to its rights, and asks the store.

use super::{
    link::Link,
    wire::{Answer, Request, decode_request, encode_answer},
};
use crate::{
    AnyStore, Clock, Prefixes, Result, Revision, Store, StoreError,
    access::{Assigned, Peer, Role},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

/// Requests of one peer that may be under way, watches included.
const MOST_REQUESTS: usize = 128;
/// Bytes of records in one page of a snapshot.
const PAGE: usize = 256 << 10;
/// Ids of requests that are remembered, so that a doubled one is not done twice.
const REMEMBERED: u64 = 4096;
/// How often a watch that has nothing to tell says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Serves a store to others. Clones serve the same one.
#[derive(Clone)]
pub struct Server {
    store: AnyStore,
    assigned: Arc<dyn Assigned>,
    clock: Arc<dyn Clock>,
}

impl Server {
    /// Serves `store`; workers see of it what `assigned` says.
    pub fn new(store: AnyStore, assigned: Arc<dyn Assigned>, clock: Arc<dyn Clock>) -> Self {
        Server { store, assigned, clock }
    }

    /// Answers `peer` until it hangs up or says what nobody understands. Dropping this ends all that it asked for,
    /// except commits that have begun.
    pub async fn serve(&self, link: Link, peer: Peer) {
        let Link { sender, mut receiver } = link;
        let mut session = Session {
            readable: match peer.role {
                Role::Worker => self.assigned.seen_by(&peer.node),
                Role::Manager => self.store.clone(),
            },
            server: self.clone(),
            peer,
            sender,
            seen: Seen::default(),
            running: JoinSet::new(),
            by_id: HashMap::new(),
        };
        loop {
            tokio::select! {
                biased;
                // First: else who asks without a pause is refused for requests that have long ended.
                Some(ended) = session.running.join_next_with_id() => {
                    let task = match ended {
                        Ok((task, ())) => task,
                        Err(error) => error.id(),
                    };
                    session.by_id.retain(|_, running| running.id() != task);
                }
                frame = receiver.recv() => {
                    let Some(frame) = frame else { return };
                    let Some((id, request)) = decode_request(&frame) else {
                        tracing::warn!(node = session.peer.node, "a peer says what this version does not understand");
                        return;
                    };
                    session.begin(id, request);
                }
            }
        }
    }
}

/// One peer's connection.
struct Session {
    server: Server,
    peer: Peer,
    readable: AnyStore,
    sender: mpsc::Sender<Vec<u8>>,
    seen: Seen,
    running: JoinSet<()>,
    by_id: HashMap<u64, AbortHandle>,
}

impl Session {
    fn begin(&mut self, id: u64, request: Request) {
        if !self.seen.first(id) {
            return;
        }
        let to = Answers { sender: self.sender.clone(), id, place: 0 };
        if let Request::Stop(which) = request {
            if let Some(running) = self.by_id.remove(&which) {
                running.abort();
            }
            // Also when it comes before what it stops.
            self.seen.first(which);
            return;
        }
        let allowed = match &request {
            Request::Read(prefixes) | Request::Watch(prefixes, _) => self.peer.may_read(prefixes),
            Request::Commit(txn) => self.peer.may_commit(txn),
            Request::Stop(_) => Ok(()),
        };
        let allowed = allowed.and_then(|()| {
            if self.running.len() < MOST_REQUESTS {
                return Ok(());
            }
            let (tried, detail) = ("serve a request".to_owned(), "too many are under way".to_owned());
            Err(StoreError::Unavailable { tried, detail })
        });
        let (readable, store, clock) =
            (self.readable.clone(), self.server.store.clone(), self.server.clock.clone());
        if let Err(error) = &allowed {
            tracing::info!(node = self.peer.node, %error, "refused");
        }
        let running = self.running.spawn(async move {
            let mut to = to;
            let done = match (allowed, request) {
                (Err(error), _) => to.send(Answer::Failed(error)).await,
                (Ok(()), Request::Read(prefixes)) => read(&readable, prefixes, &mut to).await,
                (Ok(()), Request::Watch(prefixes, after)) => {
                    watch(&readable, prefixes, after, &mut to, clock).await
                }
                (Ok(()), Request::Commit(txn)) => {
                    // On its own: a peer that hangs up must not leave half of it under way.
                    let committed = tokio::spawn(async move { store.commit(txn).await }).await;
                    let unknown = |_| {
                        let (tried, detail) = ("commit".to_owned(), "the manager stops".to_owned());
                        Err(StoreError::OutcomeUnknown {
                            cause: Arc::new(StoreError::Unavailable { tried, detail }),
                        })
                    };
                    to.send(committed.unwrap_or_else(unknown).map_or_else(Answer::Failed, Answer::Committed))
                        .await
                }
                (Ok(()), Request::Stop(_)) => Some(()),
            };
            // Nobody listens any more: the session sees that too.
            let _ = done;
        });
        self.by_id.insert(id, running);
    }
}

async fn read(store: &AnyStore, prefixes: Prefixes, to: &mut Answers) -> Option<()> {
    let snapshot = match store.read(prefixes).await {
        Ok(snapshot) => snapshot,
        Err(error) => return to.send(Answer::Failed(error)).await,
    };
    let (mut page, mut size) = (Vec::new(), 0);
    for (key, record) in snapshot.iter() {
        size += key.as_str().len() + record.bytes().len();
        page.push((key.clone(), record.clone()));
        if size > PAGE {
            to.send(Answer::Page(std::mem::take(&mut page))).await?;
            size = 0;
        }
    }
    if !page.is_empty() {
        to.send(Answer::Page(page)).await?;
    }
    to.send(Answer::Snapshot(snapshot.revision())).await
}

/// Where the peer does not take what it is sent, the watch waits in the store's history, and is cut off by that.
async fn watch(
    store: &AnyStore,
    prefixes: Prefixes,
    after: Revision,
    to: &mut Answers,
    clock: Arc<dyn Clock>,
) -> Option<()> {
    let mut watch = store.watch(prefixes, after);
    let mut told = after;
    loop {
        let next: Option<Result<_>> = tokio::select! {
            biased;
            next = watch.next() => Some(next),
            () = clock.sleep_until(clock.now() + PROGRESS) => None,
        };
        match next {
            Some(Ok(changes)) => {
                told = changes.revision;
                to.send(Answer::Changes(changes)).await?;
            }
            Some(Err(error)) => return to.send(Answer::Failed(error)).await,
            None if watch.reached() > told => {
                told = watch.reached();
                to.send(Answer::Reached(told)).await?;
            }
            None => {}
        }
    }
}

/// The answers to one request, in order.
struct Answers {
    sender: mpsc::Sender<Vec<u8>>,
    id: u64,
    place: u64,
}

impl Answers {
    /// Waits until there is room; `None`: nobody listens.
    async fn send(&mut self, answer: Answer) -> Option<()> {
        let frame = encode_answer(self.id, self.place, &answer);
        self.place += 1;
        self.sender.send(frame).await.ok()
    }
}

/// Which requests have been taken.
#[derive(Default)]
struct Seen {
    ids: BTreeSet<u64>,
    forgotten: u64,
}

impl Seen {
    /// Whether it is the first time. An id so old that it is forgotten has been there.
    fn first(&mut self, id: u64) -> bool {
        if id <= self.forgotten || !self.ids.insert(id) {
            return false;
        }
        while self.ids.len() as u64 > REMEMBERED {
            self.forgotten = self.ids.pop_first().unwrap_or(self.forgotten);
        }
        true
    }
}
