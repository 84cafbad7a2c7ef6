//! Many streams on one connection, opened from either side: how a manager reaches a node that dialled it.
//!
//! A frame is a kind, a stream's number, a length and so many bytes. Every stream has a window each way, so that
//! a slow reader holds up nobody else, and everything that waits in memory is bounded: by the windows, and by how
//! many streams the other side may open. Streams that have something to send take turns.
//!
//! Never: knows what a stream is for, or who is at the other end.

use super::TransportError;
use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Bytes that may be under way in one direction of a stream.
const WINDOW: usize = 256 << 10;
/// Bytes that a stream sends before it is another's turn.
const TURN: usize = 16 << 10;
/// Bytes that are written to the connection at once.
const BATCH: usize = 64 << 10;
/// Kind, stream, length.
const HEAD: usize = 9;
/// Longest name of a stream.
const LONGEST_NAME: usize = 256;
/// Streams that were opened by the other side and that nobody has taken yet.
const BACKLOG: usize = 64;

const OPEN: u8 = 0;
const DATA: u8 = 1;
const CREDIT: u8 = 2;
const END: u8 = 3;
const RESET: u8 = 4;

/// Which end of the connection this is: decides who has which numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It dialled: its streams have odd numbers.
    Dialled,
    /// It was called: even ones.
    Called,
}

/// Opens streams. Cheap to clone; the connection ends when all of these and the [`Incoming`] are gone.
#[derive(Clone)]
pub struct Opener {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

/// The streams that the other side opens.
pub struct Incoming {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

/// One stream: bytes both ways, each half closed by itself.
pub struct Stream {
    shared: Arc<Shared>,
    number: u32,
}

/// Speaks over `io` until it ends: `most` streams may the other side have open at a time.
pub fn start(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    side: Side,
    most: usize,
) -> (Opener, Incoming) {
    let shared = Arc::new(Shared {
        side,
        most,
        state: Mutex::new(State {
            next: if side == Side::Dialled { 1 } else { 2 },
            theirs: 0,
            ..State::default()
        }),
    });
    let (reader, writer) = tokio::io::split(io);
    tokio::spawn(read_all(shared.clone(), reader));
    tokio::spawn(write_all(shared.clone(), writer));
    let alive = Arc::new(Alive(shared.clone()));
    (Opener { shared: shared.clone(), _alive: alive.clone() }, Incoming { shared, _alive: alive })
}

impl Opener {
    /// A new stream. The other side learns `name`, and takes it or resets it.
    ///
    /// # Errors
    /// When the connection has ended, or no number is left.
    pub fn open(&self, name: &str) -> Result<Stream, TransportError> {
        let mut state = self.shared.lock();
        if let Some(why) = &state.ended {
            return Err(TransportError::Ended(why.clone()));
        }
        if name.len() > LONGEST_NAME {
            return Err(TransportError::Protocol("a stream's name is too long"));
        }
        let number = state.next;
        state.next = number.checked_add(2).ok_or(TransportError::Protocol("all numbers are used up"))?;
        state.streams.insert(number, One { opening: Some(name.to_owned()), ..One::new() });
        state.queue(number);
        Ok(Stream { shared: self.shared.clone(), number })
    }

    /// Waits until the connection has ended, and says why.
    pub async fn ended(&self) -> String {
        self.shared.ended().await
    }

    /// Ends the connection and all its streams at once.
    pub fn close(&self, why: &str) {
        self.shared.end(why);
    }
}

impl Incoming {
    /// The next stream and its name; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<(String, Stream)> {
        poll_fn(|context| {
            let mut state = self.shared.lock();
            if let Some((name, number)) = state.opened.pop_front() {
                return Poll::Ready(Some((name, Stream { shared: self.shared.clone(), number })));
            }
            if state.ended.is_some() {
                return Poll::Ready(None);
            }
            state.accept_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// As long as one of these lives, somebody may open or take a stream.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        // Streams that are open go on; with the last one the connection ends, once all is written.
        state.write_waker.take().into_iter().for_each(Waker::wake);
    }
}

struct Shared {
    side: Side,
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    streams: HashMap<u32, One>,
    next: u32,
    /// Highest number that the other side has used.
    theirs: u32,
    /// Streams that have something to send, in turn.
    ready: VecDeque<u32>,
    /// Streams to be refused, by number: the other side opened more than it may.
    refused: VecDeque<u32>,
    opened: VecDeque<(String, u32)>,
    ended: Option<String>,
    abandoned: bool,
    accept_waker: Option<Waker>,
    write_waker: Option<Waker>,
    end_wakers: Vec<Waker>,
}

/// What both sides have said about one stream.
struct One {
    /// Its name, until it was sent.
    opening: Option<String>,
    /// Came in, and was not read yet.
    received: VecDeque<u8>,
    /// The other side writes no more.
    their_end: bool,
    /// Read since the other side was last told.
    owed: usize,
    /// To be sent.
    out: VecDeque<u8>,
    /// We write no more.
    our_end: bool,
    our_end_sent: bool,
    /// So many bytes may be sent.
    credit: usize,
    /// The other side gave up both directions.
    reset: bool,
    /// The handle is gone.
    dropped: bool,
    reset_sent: bool,
    /// It stands in `ready`.
    queued: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl One {
    fn new() -> Self {
        One {
            opening: None,
            received: VecDeque::new(),
            their_end: false,
            owed: 0,
            out: VecDeque::new(),
            our_end: false,
            our_end_sent: false,
            credit: WINDOW,
            reset: false,
            dropped: false,
            reset_sent: false,
            queued: false,
            reader: None,
            writer: None,
        }
    }

    /// Nothing more will be said of it.
    fn over(&self) -> bool {
        self.dropped && (self.reset || self.reset_sent || (self.our_end_sent && self.their_end))
    }

    fn has_something(&self) -> bool {
        if self.reset {
            return false;
        }
        self.opening.is_some()
            || (!self.out.is_empty() && self.credit > 0)
            || (self.our_end && !self.our_end_sent && self.out.is_empty())
            || self.owed >= WINDOW / 2
            || (self.dropped && self.our_end_sent && !self.their_end && !self.reset_sent)
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Writes what is due as frames.
    fn send(&mut self, number: u32, batch: &mut Vec<u8>) {
        if self.reset {
            return;
        }
        if let Some(name) = self.opening.take() {
            frame(batch, OPEN, number, name.as_bytes());
        }
        if self.owed >= WINDOW / 2 {
            frame(batch, CREDIT, number, &(self.owed as u32).to_be_bytes());
            self.owed = 0;
        }
        let count = self.out.len().min(self.credit).min(TURN);
        if count > 0 {
            head(batch, DATA, number, count);
            let (front, back) = self.out.as_slices();
            let first = count.min(front.len());
            batch.extend_from_slice(&front[..first]);
            batch.extend_from_slice(&back[..count - first]);
            self.out.drain(..count);
            self.credit -= count;
            if let Some(waker) = self.writer.take() {
                waker.wake();
            }
        }
        if self.our_end && !self.our_end_sent && self.out.is_empty() {
            frame(batch, END, number, &[]);
            self.our_end_sent = true;
        }
        if self.dropped && self.our_end_sent && !self.their_end && !self.reset_sent {
            frame(batch, RESET, number, &[]);
            self.reset_sent = true;
        }
    }
}

fn head(batch: &mut Vec<u8>, kind: u8, number: u32, length: usize) {
    batch.push(kind);
    batch.extend_from_slice(&number.to_be_bytes());
    batch.extend_from_slice(&(length as u32).to_be_bytes());
}

fn frame(batch: &mut Vec<u8>, kind: u8, number: u32, payload: &[u8]) {
    head(batch, kind, number, payload.len());
    batch.extend_from_slice(payload);
}

impl State {
    fn queue(&mut self, number: u32) {
        let Some(one) = self.streams.get_mut(&number) else { return };
        if !one.queued && one.has_something() {
            one.queued = true;
            self.ready.push_back(number);
            if let Some(waker) = self.write_waker.take() {
                waker.wake();
            }
        }
    }

    /// Everything that may be sent now, up to a bound.
    fn batch(&mut self) -> Vec<u8> {
        let mut batch = Vec::new();
        while let Some(number) = self.refused.pop_front() {
            frame(&mut batch, RESET, number, &[]);
        }
        while batch.len() < BATCH {
            let Some(number) = self.ready.pop_front() else { break };
            let Some(one) = self.streams.get_mut(&number) else { continue };
            one.queued = false;
            one.send(number, &mut batch);
            if one.over() {
                self.streams.remove(&number);
            } else {
                self.queue(number);
            }
        }
        batch
    }

    /// Whether the last stream of a connection that nobody holds any more is gone.
    fn deserted(&self) -> bool {
        self.abandoned && self.streams.is_empty()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end, and says why.
    async fn ended(&self) -> String {
        poll_fn(|context| {
            let mut state = self.lock();
            if let Some(why) = &state.ended {
                return Poll::Ready(why.clone());
            }
            state.end_wakers.retain(|waker| !waker.will_wake(context.waker()));
            state.end_wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn end(&self, why: &str) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(why.to_owned());
        let mut wakers = std::mem::take(&mut state.end_wakers);
        wakers.extend(state.accept_waker.take());
        wakers.extend(state.write_waker.take());
        for one in state.streams.values_mut() {
            wakers.extend(one.reader.take());
            wakers.extend(one.writer.take());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes one frame of the other side.
    fn take(&self, kind: u8, number: u32, payload: &[u8]) -> Result<(), TransportError> {
        let mut state = self.lock();
        if kind == OPEN {
            return self.take_open(&mut state, number, payload);
        }
        // Of a stream that was given up here: what was under way still comes.
        let Some(one) = state.streams.get_mut(&number) else { return Ok(()) };
        match kind {
            DATA => {
                if one.their_end || one.received.len() + one.owed + payload.len() > WINDOW {
                    return Err(TransportError::Protocol("more came than was allowed"));
                }
                if one.dropped {
                    // Nobody reads it; it is told by the reset that follows.
                } else {
                    one.received.extend(payload);
                    one.reader.take().into_iter().for_each(Waker::wake);
                }
            }
            CREDIT => {
                let Ok(bytes) = payload.try_into() else {
                    return Err(TransportError::Protocol("a credit has four bytes"));
                };
                one.credit = (one.credit + u32::from_be_bytes(bytes) as usize).min(WINDOW);
            }
            END => {
                one.their_end = true;
                one.reader.take().into_iter().for_each(Waker::wake);
            }
            RESET => {
                one.reset = true;
                one.out.clear();
                one.wake();
            }
            _ => return Err(TransportError::Protocol("a frame of an unknown kind")),
        }
        if one.over() {
            state.streams.remove(&number);
        } else {
            state.queue(number);
        }
        Ok(())
    }

    fn take_open(&self, state: &mut State, number: u32, payload: &[u8]) -> Result<(), TransportError> {
        let odd = number % 2 == 1;
        if odd == (self.side == Side::Dialled) || number <= state.theirs {
            return Err(TransportError::Protocol("a stream's number is not the other side's next"));
        }
        let name = std::str::from_utf8(payload)
            .ok()
            .filter(|name| name.len() <= LONGEST_NAME)
            .ok_or(TransportError::Protocol("a stream's name is no short text"))?;
        state.theirs = number;
        let open = state.streams.keys().filter(|n| (**n % 2 == 1) == odd).count();
        if open >= self.most || state.opened.len() >= BACKLOG {
            if state.refused.len() >= BACKLOG {
                return Err(TransportError::Protocol("too many streams"));
            }
            state.refused.push_back(number);
            if let Some(waker) = state.write_waker.take() {
                waker.wake();
            }
            return Ok(());
        }
        state.streams.insert(number, One::new());
        state.opened.push_back((name.to_owned(), number));
        if let Some(waker) = state.accept_waker.take() {
            waker.wake();
        }
        Ok(())
    }
}

/// Reads frames until the connection ends.
async fn read_all(shared: Arc<Shared>, mut reader: impl AsyncRead + Unpin) {
    let frames = async {
        let mut payload = Vec::new();
        loop {
            let mut head = [0; HEAD];
            reader.read_exact(&mut head).await?;
            let [kind, n0, n1, n2, n3, l0, l1, l2, l3] = head;
            let number = u32::from_be_bytes([n0, n1, n2, n3]);
            let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            if length > TURN {
                return Err(TransportError::Protocol("a frame is too long"));
            }
            payload.resize(length, 0);
            reader.read_exact(&mut payload).await?;
            shared.take(kind, number, &payload)?;
        }
    };
    tokio::select! {
        biased;
        _ = shared.ended() => {}
        end = frames => {
            let end: Result<(), TransportError> = end;
            shared.end(&end.err().map_or_else(String::new, |why| why.to_string()));
        }
    }
}

/// Writes frames until the connection ends.
async fn write_all(shared: Arc<Shared>, mut writer: impl AsyncWrite + Unpin) {
    loop {
        let next = poll_fn(|context| {
            let mut state = shared.lock();
            let batch = state.batch();
            if !batch.is_empty() {
                return Poll::Ready(Some(batch));
            }
            if state.ended.is_some() || state.deserted() {
                return Poll::Ready(None);
            }
            state.write_waker = Some(context.waker().clone());
            Poll::Pending
        });
        let Some(batch) = next.await else { break };
        let write = async {
            writer.write_all(&batch).await?;
            writer.flush().await
        };
        let written = tokio::select! {
            biased;
            written = write => written,
            // Nobody may be there to take it.
            _ = shared.ended() => break,
        };
        if let Err(why) = written {
            shared.end(&why.to_string());
        }
    }
    shared.end("nobody uses the connection");
    // The other side may be gone already.
    let _ = writer.shutdown().await;
}

fn gone(state: &State) -> io::Error {
    let why = state.ended.as_deref().unwrap_or("the other side gave the stream up");
    io::Error::new(io::ErrorKind::ConnectionReset, why.to_owned())
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let ended = state.ended.is_some();
        let Some(one) = state.streams.get_mut(&self.number) else { return Poll::Ready(Err(gone(state))) };
        if one.received.is_empty() {
            if one.their_end {
                return Poll::Ready(Ok(()));
            }
            if one.reset || ended {
                return Poll::Ready(Err(gone(state)));
            }
            one.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (front, _) = one.received.as_slices();
        let count = front.len().min(buffer.remaining());
        buffer.put_slice(&front[..count]);
        one.received.drain(..count);
        one.owed += count;
        state.queue(self.number);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let ended = state.ended.is_some();
        let Some(one) = state.streams.get_mut(&self.number) else { return Poll::Ready(Err(gone(state))) };
        if one.reset || ended {
            return Poll::Ready(Err(gone(state)));
        }
        if one.our_end {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(WINDOW.saturating_sub(one.out.len()));
        if count == 0 && !bytes.is_empty() {
            one.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        one.out.extend(&bytes[..count]);
        state.queue(self.number);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken is sent as soon as the other side has room; who waits for more asks for an answer.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        if let Some(one) = state.streams.get_mut(&self.number) {
            one.our_end = true;
            state.queue(self.number);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let Some(one) = state.streams.get_mut(&self.number) else { return };
        one.dropped = true;
        // What was written still goes out, then the end, then a reset if the other side goes on.
        one.our_end = true;
        one.received.clear();
        if one.over() {
            state.streams.remove(&self.number);
        } else {
            state.queue(self.number);
        }
        if state.deserted() {
            state.write_waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests;
