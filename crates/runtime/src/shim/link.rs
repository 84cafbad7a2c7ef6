//! A connection to a shim: requests with answers, events to whoever waits.
//!
//! Never: polling. One task reads for all.

use super::{Files, files::exit_of};
use crate::{Exit, RuntimeError, StartError};
use minke_model::{ContainerId, Timestamp};
use minke_shim::protocol::{self, FIRST, Id, Kind, Op, Phase, RECORD, Reply, Request};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::{
    collections::HashMap,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};

/// How long a shim may take to answer a hello.
const HELLO: Duration = Duration::from_secs(30);
/// The exit code of a container whose shim died: it was killed.
const KILLED: i32 = 137;

/// How a shim said that its container stands.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) reply: Reply,
    pub(crate) detail: String,
    /// Of the first process, and its network namespace; while it lives.
    pub(crate) fds: Option<(OwnedFd, OwnedFd)>,
}

/// A connection.
pub(crate) struct Link {
    id: ContainerId,
    /// The socket: another one after the shim let go of the first.
    socket: Arc<Mutex<Arc<UnixStream>>>,
    /// Requests go out whole and in order, also when who asked went away meanwhile.
    outbox: mpsc::Sender<Outgoing>,
    /// The number of the next request.
    next: AtomicU32,
    answers: Mutex<Answers>,
    exit: watch::Sender<Option<Exit>>,
    execs: Mutex<HashMap<Id, watch::Sender<Option<i32>>>>,
}

/// A request's bytes, and the descriptor that comes along.
type Outgoing = (Vec<u8>, Option<OwnedFd>);

/// Who waits for which answer.
#[derive(Default)]
struct Answers {
    waiting: HashMap<u32, oneshot::Sender<(Reply, Vec<u8>)>>,
    /// No more answers come.
    over: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What was read: a record, its tail, and descriptors.
type Message = (Reply, Vec<u8>, Vec<OwnedFd>);

impl Link {
    /// Says hello; the shim tells how its container stands. `shim` is its process, where it is a child of this one.
    pub(crate) async fn open(
        id: ContainerId,
        stream: std::os::unix::net::UnixStream,
        token: Id,
        files: Files,
        shim: Option<OwnedFd>,
    ) -> Result<(Arc<Link>, State), RuntimeError> {
        let (stream, (reply, tail, mut fds)) = match greet(stream, token).await {
            Ok(greeted) => greeted,
            Err(_) => {
                if let Some(shim) = shim {
                    tokio::spawn(reap(shim));
                }
                return Err(RuntimeError::ShimGone { id });
            }
        };
        if reply.kind != Kind::State {
            return Err(RuntimeError::Protocol { id, what: format!("{:?} to a hello", reply.kind) });
        }
        let socket = Arc::new(Mutex::new(Arc::new(stream)));
        let (outbox, letters) = mpsc::channel(OUTBOX);
        tokio::spawn(carry(letters, Arc::clone(&socket)));
        let link = Arc::new(Link {
            id,
            socket,
            outbox,
            next: AtomicU32::new(1),
            answers: Mutex::default(),
            exit: watch::Sender::new(exit_of(&reply)),
            execs: Mutex::default(),
        });
        let fds = match (fds.pop(), fds.pop()) {
            (Some(netns), Some(pidfd)) => Some((pidfd, netns)),
            _ => None,
        };
        let pidfd = fds.as_ref().and_then(|f| f.0.try_clone().ok());
        tokio::spawn(Arc::clone(&link).listen(files, token, pidfd, shim));
        Ok((link, State { reply, detail: String::from_utf8_lossy(&tail).into_owned(), fds }))
    }

    /// Reads until the shim is gone, whose container then is killed.
    async fn listen(self: Arc<Self>, files: Files, token: Id, pidfd: Option<OwnedFd>, shim: Option<OwnedFd>) {
        // A shim may let go of a daemon that hung: only one that cannot be met again is gone.
        let mut silent = 0;
        while silent < 3 {
            let stream = current(&self.socket);
            silent += 1;
            while let Ok((reply, tail, _)) = read(&stream).await {
                silent = 0;
                self.hear(reply, tail);
            }
            if !self.meet_again(&files, token).await {
                break;
            }
        }
        {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.over = true;
            answers.waiting.clear();
        }
        if self.exit.borrow().is_none() {
            if let Some(pidfd) = pidfd {
                minke_linux::pidfd::kill(pidfd.as_fd());
                // Told when it is true: its ports and cgroups are free then.
                let _ = tokio::time::timeout(crate::GONE, end_of(pidfd)).await;
            }
            let exit = files.exit().unwrap_or(Exit { code: KILLED, at: Timestamp::now(), oom: false });
            self.exit.send_replace(Some(exit));
        }
        for exec in self.execs.lock().unwrap_or_else(PoisonError::into_inner).values() {
            exec.send_if_modified(|code| code.is_none() && code.replace(KILLED).is_none());
        }
        drop(self);
        if let Some(shim) = shim {
            reap(shim).await;
        }
    }

    /// Connects once more to a shim that let go; what happened meanwhile is asked for. False: nobody is there.
    async fn meet_again(self: &Arc<Self>, files: &Files, token: Id) -> bool {
        let Ok(stream) = files.connect() else { return false };
        let Ok((stream, (reply, ..))) = greet(stream, token).await else { return false };
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(stream);
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).waiting.clear();
        if let Some(exit) = exit_of(&reply) {
            self.exit.send_replace(Some(exit));
        }
        let execs: Vec<Id> =
            self.execs.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        for id in execs {
            let link = Arc::clone(self);
            // Answers come by the loop that called this.
            tokio::spawn(async move {
                let asked = link.ask(Request { id, ..Request::new(Op::ExecState, 0) }, &[], None).await;
                if let Ok((reply, _)) = asked
                    && reply.phase == Phase::Exited
                {
                    link.hear(Reply { seq: 0, ..reply }, Vec::new());
                }
            });
        }
        tracing::warn!("the shim of container {} let go of this daemon, which hung", self.id);
        true
    }

    fn hear(&self, reply: Reply, tail: Vec<u8>) {
        if reply.seq != 0 {
            let waiting =
                self.answers.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&reply.seq);
            if let Some(waiting) = waiting {
                // Whoever asked may have gone.
                let _ = waiting.send((reply, tail));
            }
            return;
        }
        match reply.kind {
            Kind::Exit => {
                if let Some(exit) = exit_of(&reply) {
                    self.exit.send_replace(Some(exit));
                }
            }
            // Whoever waits has a receiver; whoever asks later asks the shim.
            Kind::Exec => {
                let told = self.execs.lock().unwrap_or_else(PoisonError::into_inner).remove(&reply.id);
                if let Some(exec) = told {
                    exec.send_replace(Some(reply.code));
                }
            }
            _ => {}
        }
    }

    fn exec_watch(&self, id: Id) -> watch::Sender<Option<i32>> {
        self.execs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_insert_with(|| watch::Sender::new(None))
            .clone()
    }

    /// Sends a request and waits for its answer; a refusal is an answer too.
    pub(crate) async fn ask(
        &self,
        mut request: Request,
        tail: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(Reply, Vec<u8>), RuntimeError> {
        let gone = || RuntimeError::ShimGone { id: self.id.clone() };
        let (sender, answer) = oneshot::channel();
        // 0 is an event's.
        request.seq = self.next.fetch_add(1, Ordering::Relaxed).max(1);
        request.tail = tail.len() as u32;
        let mut bytes = request.encode().to_vec();
        bytes.extend_from_slice(tail);
        let fd = fd
            .map(|fd| fd.try_clone_to_owned())
            .transpose()
            .map_err(RuntimeError::io("copy a descriptor"))?;
        let place = self.outbox.reserve().await.map_err(|_| gone())?;
        {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.over {
                return Err(gone());
            }
            answers.waiting.insert(request.seq, sender);
        }
        place.send((bytes, fd));
        answer.await.map_err(|_| gone())
    }

    /// The same, and a refusal is an error.
    pub(crate) async fn order(
        &self,
        request: Request,
        tail: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(Reply, Vec<u8>), RuntimeError> {
        let (reply, tail) = self.ask(request, tail, fd).await?;
        match reply.kind {
            Kind::Failed => Err(refusal(&reply, &tail).into()),
            _ => Ok((reply, tail)),
        }
    }

    /// The first process' end.
    pub(crate) async fn exit(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        // The sender lives as long as this link.
        match exit.wait_for(Option::is_some).await.map(|e| *e) {
            Ok(Some(exit)) => exit,
            _ => Exit { code: KILLED, at: Timestamp::now(), oom: false },
        }
    }

    /// The first process' end, if it ended.
    pub(crate) fn ended(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// The exit code of an exec.
    pub(crate) async fn exec_exit(&self, id: Id) -> Result<i32, RuntimeError> {
        // Subscribed before the question, so that an end in between is heard.
        let mut watched = self.exec_watch(id).subscribe();
        let (reply, _) = self.ask(Request { id, ..Request::new(Op::ExecState, 0) }, &[], None).await?;
        if reply.phase != Phase::Running {
            self.execs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            return if reply.phase == Phase::Exited {
                Ok(reply.code)
            } else {
                Err(RuntimeError::Invalid("no such exec".into()))
            };
        }
        match watched.wait_for(Option::is_some).await.map(|c| *c) {
            Ok(Some(code)) => Ok(code),
            _ => Err(RuntimeError::ShimGone { id: self.id.clone() }),
        }
    }
}

/// Requests that wait to go out.
const OUTBOX: usize = 64;

fn current(socket: &Mutex<Arc<UnixStream>>) -> Arc<UnixStream> {
    Arc::clone(&socket.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Writes requests as they come, as long as their link lives.
async fn carry(mut letters: mpsc::Receiver<Outgoing>, socket: Arc<Mutex<Arc<UnixStream>>>) {
    while let Some((bytes, fd)) = letters.recv().await {
        // That the other side is gone is for who reads to find.
        let _ = write(&current(&socket), &bytes, fd.as_ref().map(AsFd::as_fd)).await;
    }
}

/// Says hello on a new socket; what the shim answers.
async fn greet(stream: std::os::unix::net::UnixStream, token: Id) -> io::Result<(UnixStream, Message)> {
    let stream = UnixStream::from_std(stream)?;
    let hello = Request { a: protocol::VERSION, id: token, ..Request::new(Op::Hello, 0) };
    let talk = async {
        write(&stream, &hello.encode(), None).await?;
        read(&stream).await
    };
    let answer = tokio::time::timeout(HELLO, talk).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok((stream, answer))
}

async fn write(stream: &UnixStream, mut bytes: &[u8], mut fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    while !bytes.is_empty() {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = fd.map(|fd| [fd]);
            if let Some(fds) = &fds {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
        };
        let sent = stream.async_io(Interest::WRITABLE, send).await?;
        // It came along with the first byte.
        fd = None;
        bytes = &bytes[sent..];
    }
    Ok(())
}

async fn read(stream: &UnixStream) -> io::Result<Message> {
    let mut fds = Vec::new();
    let mut record = [0; RECORD];
    read_exact(stream, &mut record, &mut fds).await?;
    let reply = Reply::decode(&record).ok_or(io::ErrorKind::InvalidData)?;
    if reply.tail as usize > protocol::MAX_TAIL {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut tail = vec![0; reply.tail as usize];
    read_exact(stream, &mut tail, &mut fds).await?;
    Ok((reply, tail, fds))
}

async fn read_exact(stream: &UnixStream, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut at = 0;
    while at < into.len() {
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut into[at..])];
            let got = rustix::net::recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(got) = message {
                    fds.extend(got);
                }
            }
            Ok(got.bytes)
        };
        let got = stream.async_io(Interest::READABLE, receive).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += got;
    }
    Ok(())
}

/// A refusal as an error.
pub(crate) fn refusal(reply: &Reply, tail: &[u8]) -> StartError {
    StartError { stage: reply.stage, errno: reply.errno, detail: String::from_utf8_lossy(tail).into_owned() }
}

/// Waits for a shim of ours to end, so that no zombie stays.
async fn reap(shim: OwnedFd) {
    if let Ok(handle) = shim.try_clone() {
        end_of(handle).await;
        let _ = minke_linux::pidfd::reap(&shim);
    }
}

/// Waits for the end of a process, ours or not.
pub(crate) async fn end_of(pidfd: OwnedFd) {
    // Never read as a pipe: this is the reactor's way to watch any descriptor, and a pidfd is readable at the end.
    if let Ok(watched) = tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(pidfd) {
        let _ = watched.readable().await;
    }
}

/// The shim's name for an exec.
pub(crate) fn exec_id(id: &minke_model::ExecId) -> Id {
    protocol::parse_id(id.as_str()).unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
    };

    /// Takes a connection and its hello, answers how the container stands.
    fn answer(listener: &UnixListener, phase: Phase) -> std::os::unix::net::UnixStream {
        let (mut stream, _) = listener.accept().unwrap();
        let mut record = [0; RECORD];
        stream.read_exact(&mut record).unwrap();
        assert_eq!(Request::decode(&record).unwrap().op, Op::Hello);
        stream.write_all(&Reply { phase, code: 9, ..Reply::new(Kind::State, 0) }.encode()).unwrap();
        stream
    }

    #[tokio::test]
    async fn a_shim_that_let_go_is_met_again_and_tells_what_was_missed() {
        let root = std::env::temp_dir().join(format!("minke-link-{}", std::process::id()));
        let id = ContainerId::random();
        let files = Files::of(&root, &id);
        let (identity, listener) = files.make("/c", b"", b"").unwrap();
        let stream = files.connect().unwrap();
        let shim = std::thread::spawn(move || {
            drop(answer(&listener, Phase::Running));
            let mut stream = answer(&listener, Phase::Running);
            let mut record = [0; RECORD];
            stream.read_exact(&mut record).unwrap();
            let asked = Request::decode(&record).unwrap();
            stream.write_all(&Reply::new(Kind::Done, asked.seq).encode()).unwrap();
            drop(stream);
            answer(&listener, Phase::Exited)
        });
        let (link, _) = Link::open(id, stream, identity.token, files, None).await.unwrap();
        // The answer comes over the second connection, or the question is lost with the first.
        while link.ask(Request::new(Op::Kill, 0), &[], None).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(link.exit().await.code, 9);
        drop(shim.join().unwrap());
        std::fs::remove_dir_all(root).unwrap();
    }
}
