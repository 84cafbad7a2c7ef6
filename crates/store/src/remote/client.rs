//! The worker's half: a store at the other end of a connection, which may break at any time and is made again.
//!
//! A watch survives that, and goes on after the last revision it was told. A commit whose answer got lost ends in
//! [`StoreError::OutcomeUnknown`].

use super::{
    link::Link,
    wire::{Answer, Request, decode_answer, encode_request},
};
use crate::{
    Changes, Clock, Follow, Key, Prefixes, Record, Result, Revision, Snapshot, Stop, Stopper, Store,
    StoreError, Txn, Watch, map::Map,
};
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// How long an answer may take.
const PATIENCE: Duration = crate::patience(10_000);
/// How long a request waits for a connection.
const CONNECTING: Duration = crate::patience(3_000);
/// Pauses between attempts to connect, doubled from the first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// Commits that wait in one watch for its reader.
const MOST_WAITING: usize = 4096;
/// And their bytes.
const MOST_WAITING_BYTES: usize = 16 << 20;
/// Requests of watches that wait to be sent.
const MOST_OUT: usize = 4096;

/// Makes connections to a manager, whichever answers.
pub trait Dial: Send + Sync {
    /// A new connection.
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Link>> + Send + '_>>;
}

/// A store at the other end of a connection. Clones share it.
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
    /// Ends the connection with the last clone.
    _stopper: Arc<Stopper>,
}

struct Shared {
    state: Mutex<State>,
    connected: watch::Sender<bool>,
    /// Something is to be sent.
    out: Notify,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    link: Option<mpsc::Sender<Vec<u8>>>,
    /// What watches ask for, and nobody waits to be sent.
    out: VecDeque<Vec<u8>>,
    calls: BTreeMap<u64, Call>,
    watches: BTreeMap<u64, Arc<Place>>,
}

/// A read or commit that waits for its answer.
struct Call {
    /// Of the next answer.
    place: u64,
    records: Vec<(Key, Arc<Record>)>,
    done: oneshot::Sender<(Vec<(Key, Arc<Record>)>, Answer)>,
}

/// One watch, shared between its reader and the connection.
struct Place {
    prefixes: Prefixes,
    state: Mutex<PlaceState>,
}

struct PlaceState {
    waiting: VecDeque<Changes>,
    bytes: usize,
    /// Of the next answer on this connection.
    place: u64,
    /// Where the next connection goes on.
    received: Revision,
    ended: Option<StoreError>,
    waker: Option<Waker>,
}

impl Remote {
    /// A store behind the connections that `dial` makes. Connects at once, and again whenever one breaks. Needs a
    /// tokio runtime around it.
    pub fn new(dial: Arc<dyn Dial>, clock: Arc<dyn Clock>) -> Self {
        let (stopper, stop) = Stopper::new();
        let (connected, out) = (watch::Sender::new(false), Notify::new());
        let shared = Arc::new(Shared { state: Mutex::default(), connected, out, clock });
        tokio::spawn(shared.clone().keep_connected(dial, stop));
        Remote { shared, _stopper: Arc::new(stopper) }
    }

    /// Whether there is a connection, now and later.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.shared.connected.subscribe()
    }
}

impl Store for Remote {
    async fn read(&self, prefixes: impl Into<Prefixes> + Send) -> Result<Snapshot> {
        let prefixes = prefixes.into();
        let (records, answer) = self.shared.call(Request::Read(prefixes.clone())).await?;
        match answer {
            Answer::Snapshot(revision) => {
                let mut map = Map::default();
                records.into_iter().for_each(|(key, record)| map.insert(key, record));
                Ok(Snapshot::new(map, prefixes, revision))
            }
            Answer::Failed(error) => Err(error),
            _ => Err(nonsense()),
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        txn.check()?;
        match self.shared.call(Request::Commit(txn)).await {
            Ok((_, Answer::Committed(revision))) => Ok(revision),
            Ok((_, Answer::Failed(error))) => Err(error),
            Ok(_) => Err(StoreError::OutcomeUnknown { cause: Arc::new(nonsense()) }),
            Err(error) => Err(error),
        }
    }

    fn watch(&self, prefixes: impl Into<Prefixes>, after: Revision) -> Watch {
        let place = Arc::new(Place {
            prefixes: prefixes.into(),
            state: Mutex::new(PlaceState {
                waiting: VecDeque::new(),
                bytes: 0,
                place: 0,
                received: after,
                ended: None,
                waker: None,
            }),
        });
        self.shared.lock().follow(place.clone());
        self.shared.out.notify_one();
        Watch::new(RemoteWatch { shared: self.shared.clone(), place, after })
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Asks for a watch on this connection, if there is one.
    fn follow(&mut self, place: Arc<Place>) {
        let id = self.id();
        let after = {
            let mut here = place.lock();
            here.place = 0;
            here.received
        };
        let request = encode_request(id, &Request::Watch(place.prefixes.clone(), after));
        self.watches.insert(id, place);
        self.send_later(request);
    }

    /// For requests that nobody waits for. Where so many wait already, the connection is as good as broken.
    fn send_later(&mut self, frame: Vec<u8>) {
        if self.link.is_none() {
            return;
        }
        self.out.push_back(frame);
        if self.out.len() > MOST_OUT {
            self.link = None;
        }
    }

    /// Takes one answer.
    fn take(&mut self, id: u64, at: u64, answer: Answer) -> Option<()> {
        if let Some(place) = self.watches.get(&id) {
            match place.take(at, answer) {
                Taken::More => {}
                Taken::Over => {
                    self.watches.remove(&id);
                }
                Taken::CutOff => {
                    self.watches.remove(&id);
                    let stop = self.id();
                    self.send_later(encode_request(stop, &Request::Stop(id)));
                }
                Taken::Gap => return None,
            }
            return Some(());
        }
        // What nobody waits for any more, or came twice.
        let Some(call) = self.calls.get_mut(&id) else { return Some(()) };
        match at.cmp(&call.place) {
            std::cmp::Ordering::Less => return Some(()),
            std::cmp::Ordering::Greater => return None,
            std::cmp::Ordering::Equal => call.place += 1,
        }
        match answer {
            Answer::Page(records) => call.records.extend(records),
            last => {
                if let Some(call) = self.calls.remove(&id) {
                    // Gone only when the caller is.
                    let _ = call.done.send((call.records, last));
                }
            }
        }
        Some(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects, takes answers, and connects again, until asked to stop.
    async fn keep_connected(self: Arc<Self>, dial: Arc<dyn Dial>, mut stop: Stop) {
        let mut pause = PAUSES[0];
        while !stop.is_requested() {
            let connected = tokio::select! {
                biased;
                link = dial.dial() => link,
                () = stop.requested() => break,
            };
            match connected {
                Ok(link) => {
                    pause = PAUSES[0];
                    tokio::select! {
                        biased;
                        () = self.use_link(link) => {}
                        () = stop.requested() => {}
                    }
                    self.disconnect();
                }
                Err(error) => tracing::debug!(%error, "cannot reach a manager's store"),
            }
            let again = self.clock.sleep_until(self.clock.now() + pause);
            pause = (pause * 2).min(PAUSES[1]);
            tokio::select! {
                biased;
                () = again => {}
                () = stop.requested() => break,
            }
        }
        let watches: Vec<_> = std::mem::take(&mut self.lock().watches).into_values().collect();
        watches.into_iter().for_each(|place| place.end(StoreError::Closed));
    }

    async fn use_link(&self, link: Link) {
        {
            let mut state = self.lock();
            state.link = Some(link.sender);
            let watches: Vec<_> = std::mem::take(&mut state.watches).into_values().collect();
            watches.into_iter().for_each(|place| state.follow(place));
        }
        self.connected.send_replace(true);
        tokio::select! {
            biased;
            () = self.send_out() => {}
            () = self.take_answers(link.receiver) => {}
        }
    }

    /// Sends what watches ask for, as there is room.
    async fn send_out(&self) {
        loop {
            let Some(link) = self.lock().link.clone() else { return };
            let Ok(room) = link.reserve().await else { return };
            let next = self.lock().out.pop_front();
            match next {
                Some(frame) => room.send(frame),
                None => {
                    drop(room);
                    self.out.notified().await;
                }
            }
        }
    }

    async fn take_answers(&self, mut receiver: mpsc::Receiver<Vec<u8>>) {
        while let Some(frame) = receiver.recv().await {
            let Some((id, place, answer)) = decode_answer(&frame) else {
                tracing::warn!("a manager says what this version does not understand");
                return;
            };
            let mut state = self.lock();
            if state.take(id, place, answer).is_none() || state.link.is_none() {
                tracing::debug!("answers are missing or requests stuck: connecting again");
                return;
            }
            if !state.out.is_empty() {
                self.out.notify_one();
            }
        }
    }

    /// Whoever waits is told that no answer will come.
    fn disconnect(&self) {
        let mut state = self.lock();
        state.link = None;
        state.out.clear();
        state.calls.clear();
        drop(state);
        self.connected.send_replace(false);
    }

    /// Asks, and waits for the last answer. An error of a commit says whether it may have been written.
    async fn call(&self, request: Request) -> Result<(Vec<(Key, Arc<Record>)>, Answer)> {
        let patience = self.clock.sleep_until(self.clock.now() + PATIENCE);
        let is_commit = matches!(request, Request::Commit(_));
        let link = self.link().await?;
        // Room first: what was not handed over was not done.
        let permit = tokio::select! {
            biased;
            permit = link.reserve() => permit.map_err(|_| unreachable("the connection broke"))?,
            () = self.clock.sleep_until(self.clock.now() + CONNECTING) => return Err(unreachable("it takes no requests")),
        };
        let (done, answer) = oneshot::channel();
        let id = {
            let mut state = self.lock();
            if !state.link.as_ref().is_some_and(|now| now.same_channel(&link)) {
                return Err(unreachable("the connection broke"));
            }
            let id = state.id();
            state.calls.insert(id, Call { place: 0, records: Vec::new(), done });
            id
        };
        permit.send(encode_request(id, &request));
        let _forget = Forget { shared: self, id };
        let why = tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(answer) => return Ok(answer),
                Err(_) => "the connection broke before the answer came",
            },
            () = patience => "no answer came in time",
        };
        let error = unreachable(why);
        Err(if is_commit { StoreError::OutcomeUnknown { cause: Arc::new(error) } } else { error })
    }

    /// The connection that is there, or comes soon.
    async fn link(&self) -> Result<mpsc::Sender<Vec<u8>>> {
        let mut connected = self.connected.subscribe();
        let deadline = self.clock.sleep_until(self.clock.now() + CONNECTING);
        let wait = async {
            loop {
                connected.borrow_and_update();
                // A broken one will be replaced: who asks again at once must wait for that, not spin on it.
                let link = self.lock().link.clone();
                if let Some(link) = link.filter(|link| !link.is_closed()) {
                    return Ok(link);
                }
                if connected.changed().await.is_err() {
                    return Err(StoreError::Closed);
                }
            }
        };
        tokio::select! {
            biased;
            link = wait => link,
            () = deadline => Err(unreachable("there is no connection")),
        }
    }
}

/// Nobody waits for the answer any more.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().calls.remove(&self.id);
    }
}

fn unreachable(detail: &str) -> StoreError {
    StoreError::Unavailable { tried: "ask a manager's store".to_owned(), detail: detail.to_owned() }
}

fn nonsense() -> StoreError {
    unreachable("its answer does not fit the question")
}

/// What an answer to a watch means for it.
enum Taken {
    More,
    /// There will be no more.
    Over,
    /// Its reader is too slow.
    CutOff,
    /// An answer is missing.
    Gap,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, PlaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, at: u64, answer: Answer) -> Taken {
        let mut here = self.lock();
        match at.cmp(&here.place) {
            std::cmp::Ordering::Less => return Taken::More,
            std::cmp::Ordering::Greater => return Taken::Gap,
            std::cmp::Ordering::Equal => here.place += 1,
        }
        match answer {
            Answer::Changes(changes) => {
                // After a new connection nothing comes twice.
                if changes.revision <= here.received {
                    return Taken::More;
                }
                here.received = changes.revision;
                here.bytes += size(&changes);
                here.waiting.push_back(changes);
                here.waker.take().into_iter().for_each(Waker::wake);
                if here.waiting.len() <= MOST_WAITING && here.bytes <= MOST_WAITING_BYTES {
                    return Taken::More;
                }
                here.waiting.clear();
                here.ended = Some(StoreError::Compacted { after: here.received });
                Taken::CutOff
            }
            Answer::Reached(revision) => {
                here.received = here.received.max(revision);
                Taken::More
            }
            Answer::Failed(StoreError::Moving | StoreError::Unavailable { .. } | StoreError::Closed) => {
                // The manager's trouble, not the watch's: as if the connection had broken.
                Taken::Gap
            }
            Answer::Failed(error) => {
                here.ended = Some(error);
                here.waker.take().into_iter().for_each(Waker::wake);
                Taken::Over
            }
            Answer::Page(_) | Answer::Snapshot(_) | Answer::Committed(_) => Taken::Gap,
        }
    }

    fn end(&self, why: StoreError) {
        let mut here = self.lock();
        here.ended.get_or_insert(why);
        here.waker.take().into_iter().for_each(Waker::wake);
    }
}

fn size(changes: &Changes) -> usize {
    changes
        .changes
        .iter()
        .map(|c| c.key.as_str().len() + c.record.as_ref().map_or(0, |r| r.bytes().len()))
        .sum()
}

/// The reader's end of a watch.
struct RemoteWatch {
    shared: Arc<Shared>,
    place: Arc<Place>,
    after: Revision,
}

impl Follow for RemoteWatch {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Changes>> {
        let mut here = self.place.lock();
        while let Some(changes) = here.waiting.pop_front() {
            here.bytes -= size(&changes);
            if changes.revision > self.after {
                self.after = changes.revision;
                return Poll::Ready(Ok(changes));
            }
        }
        if let Some(error) = &here.ended {
            return Poll::Ready(Err(error.clone()));
        }
        here.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn skip(&mut self, until: Revision) {
        self.after = self.after.max(until);
    }

    fn reached(&self) -> Revision {
        let here = self.place.lock();
        if here.waiting.is_empty() { here.received.max(self.after) } else { self.after }
    }
}

impl Drop for RemoteWatch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let mine: Vec<_> = state
            .watches
            .iter()
            .filter(|(_, place)| Arc::ptr_eq(place, &self.place))
            .map(|(id, _)| *id)
            .collect();
        for id in mine {
            state.watches.remove(&id);
            let stop = state.id();
            state.send_later(encode_request(stop, &Request::Stop(id)));
        }
        drop(state);
        self.shared.out.notify_one();
    }
}
