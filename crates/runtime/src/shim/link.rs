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
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{oneshot, watch},
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
    stream: UnixStream,
    /// One request at a time goes out whole; the number of the next.
    sending: tokio::sync::Mutex<u32>,
    answers: Mutex<Answers>,
    exit: watch::Sender<Option<Exit>>,
    execs: Mutex<HashMap<Id, watch::Sender<Option<i32>>>>,
}

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
        let stream = UnixStream::from_std(stream).map_err(RuntimeError::io("watch a shim's socket"))?;
        let link = Arc::new(Link {
            id,
            stream,
            sending: tokio::sync::Mutex::new(1),
            answers: Mutex::default(),
            exit: watch::Sender::new(None),
            execs: Mutex::default(),
        });
        let hello = Request { a: protocol::VERSION, id: token, ..Request::new(Op::Hello, 0) };
        let talk = async {
            link.write(&hello.encode(), None).await?;
            link.read().await
        };
        let first = tokio::time::timeout(HELLO, talk).await;
        let (reply, tail, mut fds) = match first {
            Ok(Ok(message)) => message,
            Ok(Err(_)) | Err(_) => {
                if let Some(shim) = shim {
                    tokio::spawn(reap(shim));
                }
                return Err(RuntimeError::ShimGone { id: link.id.clone() });
            }
        };
        if reply.kind != Kind::State {
            return Err(RuntimeError::Protocol {
                id: link.id.clone(),
                what: format!("{:?} to a hello", reply.kind),
            });
        }
        if let Some(exit) = exit_of(&reply) {
            link.exit.send_replace(Some(exit));
        }
        let fds = match (fds.pop(), fds.pop()) {
            (Some(netns), Some(pidfd)) => Some((pidfd, netns)),
            _ => None,
        };
        let pidfd = fds.as_ref().and_then(|f| f.0.try_clone().ok());
        tokio::spawn(Arc::clone(&link).listen(files, pidfd, shim));
        Ok((link, State { reply, detail: String::from_utf8_lossy(&tail).into_owned(), fds }))
    }

    /// Reads until the shim is gone, whose container then is killed.
    async fn listen(self: Arc<Self>, files: Files, pidfd: Option<OwnedFd>, shim: Option<OwnedFd>) {
        while let Ok((reply, tail, _)) = self.read().await {
            self.hear(reply, tail);
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
        {
            let mut next = self.sending.lock().await;
            request.seq = *next;
            request.tail = tail.len() as u32;
            *next = next.checked_add(1).unwrap_or(1);
            {
                let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                if answers.over {
                    return Err(gone());
                }
                answers.waiting.insert(request.seq, sender);
            }
            let mut bytes = request.encode().to_vec();
            bytes.extend_from_slice(tail);
            self.write(&bytes, fd).await.map_err(|_| gone())?;
        }
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

    async fn write(&self, mut bytes: &[u8], mut fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || {
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    let fds = fd.map(|fd| [fd]);
                    if let Some(fds) = &fds {
                        control.push(SendAncillaryMessage::ScmRights(fds));
                    }
                    Ok(rustix::net::sendmsg(
                        &self.stream,
                        &[IoSlice::new(bytes)],
                        &mut control,
                        SendFlags::NOSIGNAL,
                    )?)
                })
                .await?;
            // It came along with the first byte.
            fd = None;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    async fn read(&self) -> io::Result<Message> {
        let mut fds = Vec::new();
        let mut record = [0; RECORD];
        self.read_exact(&mut record, &mut fds).await?;
        let reply = Reply::decode(&record).ok_or(io::ErrorKind::InvalidData)?;
        if reply.tail as usize > protocol::MAX_TAIL {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut tail = vec![0; reply.tail as usize];
        self.read_exact(&mut tail, &mut fds).await?;
        Ok((reply, tail, fds))
    }

    async fn read_exact(&self, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut at = 0;
        while at < into.len() {
            let got = self
                .stream
                .async_io(Interest::READABLE, || {
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                    let mut control = RecvAncillaryBuffer::new(&mut space);
                    let got = rustix::net::recvmsg(
                        &self.stream,
                        &mut [IoSliceMut::new(&mut into[at..])],
                        &mut control,
                        RecvFlags::CMSG_CLOEXEC,
                    )?;
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(got) = message {
                            fds.extend(got);
                        }
                    }
                    Ok(got.bytes)
                })
                .await?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += got;
        }
        Ok(())
    }
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
