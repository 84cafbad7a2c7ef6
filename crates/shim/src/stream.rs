//! A process' streams and their clients: output goes to the log and to every client, input comes from them.
//!
//! Never: more than a bounded piece in memory. A process waits while a client's buffer is full, but a client
//! that takes nothing for `PATIENCE` is cut off, so that a stuck terminal cannot hold a container for ever.

use crate::{
    log::{Log, Stream},
    protocol::{STDERR, STDIN, STDOUT},
};
use rustix::io::Errno;
use std::{
    io::IoSlice,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

/// Bytes that are read at once.
pub(crate) const PIECE: usize = 64 << 10;
/// Pieces that are read from one stream before others get their turn.
const ROUNDS: usize = 8;
/// How long a client may take nothing while output waits for it: a reader who has paused its pager shall lose nothing,
/// but a stuck terminal must not hold a container for ever.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes that may wait for a client before output waits for it: as many as dockerd lets wait.
const MOST_WAITING: usize = 1 << 20;

/// Clients of one process at once.
const MAX_CLIENTS: usize = 256;

/// One attached client.
struct Client {
    socket: OwnedFd,
    wants: u8,
    /// It may still send stdin.
    sends: bool,
    /// Not yet taken by it.
    queue: Vec<u8>,
    /// Of `queue`.
    sent: usize,
    stalled: Option<Instant>,
}

impl Client {
    /// Something waits for it.
    fn waiting(&self) -> bool {
        self.queue.len() > self.sent
    }

    /// So much waits for it that output must wait too.
    fn full(&self) -> bool {
        self.queue.len() - self.sent >= MOST_WAITING
    }

    /// Sends a piece with its header, keeps what the client does not take now. False: it is gone.
    fn send(&mut self, head: &[u8], body: &[u8]) -> bool {
        let mut sent = 0;
        if !self.waiting() {
            sent = match rustix::net::sendmsg(
                &self.socket,
                &[IoSlice::new(head), IoSlice::new(body)],
                &mut Default::default(),
                rustix::net::SendFlags::NOSIGNAL,
            ) {
                Ok(n) => n,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(_) => return false,
            };
        }
        let in_body = sent.saturating_sub(head.len());
        self.queue.extend_from_slice(&head[sent.min(head.len())..]);
        self.queue.extend_from_slice(&body[in_body..]);
        if self.full() && self.stalled.is_none() {
            self.stalled = Some(Instant::now());
        }
        true
    }

    /// Sends what waits. False: it is gone.
    fn flush(&mut self) -> bool {
        while self.waiting() {
            match rustix::net::send(&self.socket, &self.queue[self.sent..], rustix::net::SendFlags::NOSIGNAL)
            {
                Ok(n) => {
                    self.sent += n;
                    self.stalled = self.full().then(Instant::now);
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    // What it took is not kept; moved only when that is worth it.
                    if self.sent > self.queue.len() / 2 {
                        self.queue.drain(..self.sent);
                        self.sent = 0;
                    }
                    return true;
                }
                Err(_) => return false,
            }
        }
        self.queue = Vec::new();
        self.sent = 0;
        self.stalled = None;
        true
    }
}

/// The shim's side of a process' streams.
#[derive(Default)]
pub(crate) struct Streams {
    tty: bool,
    /// stdin closes when the first client's does.
    once: bool,
    /// Where input goes.
    stdin: Option<OwnedFd>,
    /// Input that the process has not taken.
    pending: Vec<u8>,
    /// stdin closes once `pending` is taken.
    closing: bool,
    /// stdout (or the terminal), stderr.
    outputs: [Option<OwnedFd>; 2],
    clients: Vec<Client>,
    /// The process ended and all was read: clients leave once they have all.
    ended: bool,
}

/// What one descriptor of these streams is, for `poll`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Output to be read.
    Output(usize),
    /// Input can be written.
    Stdin,
    /// A client can be read, or written.
    Client(usize),
}

impl Streams {
    /// Makes the pipes of a process and gives its ends; with a terminal they come later, from inside.
    pub(crate) fn make(
        tty: bool,
        stdin: bool,
        once: bool,
        output: bool,
    ) -> std::io::Result<(Streams, [Option<OwnedFd>; 3])> {
        let mut streams = Streams { tty, once: once && !tty, ..Default::default() };
        let mut theirs = [None, None, None];
        if tty {
            return Ok((streams, theirs));
        }
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        if stdin {
            let (read, write) = rustix::pipe::pipe_with(flags)?;
            no_wait(&write)?;
            (theirs[0], streams.stdin) = (Some(read), Some(write));
        }
        if output {
            for n in 0..2 {
                let (read, write) = rustix::pipe::pipe_with(flags)?;
                no_wait(&read)?;
                (theirs[n + 1], streams.outputs[n]) = (Some(write), Some(read));
            }
        }
        Ok((streams, theirs))
    }

    /// The terminal's side, told from inside.
    pub(crate) fn set_console(&mut self, master: OwnedFd) -> std::io::Result<()> {
        no_wait(&master)?;
        self.stdin = Some(rustix::io::fcntl_dupfd_cloexec(&master, 3)?);
        self.outputs[0] = Some(master);
        Ok(())
    }

    /// The terminal, if there is one.
    pub(crate) fn console(&self) -> Option<&OwnedFd> {
        self.outputs[0].as_ref().filter(|_| self.tty)
    }

    /// A new client.
    pub(crate) fn attach(&mut self, socket: OwnedFd, wants: u8) -> std::io::Result<()> {
        no_wait(&socket)?;
        if self.clients.len() >= MAX_CLIENTS {
            return Err(Errno::USERS.into());
        }
        self.clients.push(Client { socket, wants, sends: true, queue: Vec::new(), sent: 0, stalled: None });
        Ok(())
    }

    /// Every descriptor that something may come from, with what to look for.
    pub(crate) fn watch(&self, mut add: impl FnMut(RawFd, i16, Part)) {
        let blocked = |n: usize| self.clients.iter().any(|c| c.full() && c.wants & flag(n) != 0);
        for (n, output) in self.outputs.iter().enumerate() {
            if let Some(fd) = output.as_ref().filter(|_| !blocked(n)) {
                add(fd.as_raw_fd(), libc::POLLIN, Part::Output(n));
            }
        }
        if let Some(fd) = self.stdin.as_ref().filter(|_| !self.pending.is_empty()) {
            add(fd.as_raw_fd(), libc::POLLOUT, Part::Stdin);
        }
        for (n, client) in self.clients.iter().enumerate() {
            let mut events = if client.sends && self.pending.is_empty() { libc::POLLIN } else { 0 };
            if client.waiting() {
                events |= libc::POLLOUT;
            }
            // Input waits while the process has not taken the last, and what a client sent before it left is not lost.
            if events == 0 && client.sends && client.wants & STDIN != 0 {
                continue;
            }
            add(client.socket.as_raw_fd(), events, Part::Client(n));
        }
    }

    /// Handles one. `clients` that left are taken out by `sweep` afterwards, so that numbers stay true.
    pub(crate) fn handle(&mut self, part: Part, events: i16, log: Option<&mut Log>, piece: &mut Vec<u8>) {
        match part {
            Part::Output(n) => self.read(n, log, piece, ROUNDS),
            Part::Stdin => self.feed(),
            Part::Client(n) => self.client(n, events, piece),
        }
    }

    /// Reads one stream, as long as it has something and clients follow.
    fn read(&mut self, n: usize, mut log: Option<&mut Log>, piece: &mut Vec<u8>, rounds: usize) {
        piece.resize(PIECE, 0);
        for _ in 0..rounds {
            let Some(fd) = &self.outputs[n] else { return };
            let got = match rustix::io::read(fd, &mut piece[..]) {
                Ok(got) if got > 0 => got,
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The end; a terminal says so by EIO.
                _ => {
                    self.outputs[n] = None;
                    return;
                }
            };
            let stream = if n == 0 { Stream::Stdout } else { Stream::Stderr };
            if let Some(log) = &mut log {
                log.take(stream, &piece[..got]);
            }
            if self.spread(n, &piece[..got]) {
                return;
            }
        }
    }

    /// Gives every client its copy. True: one of them cannot take more now.
    fn spread(&mut self, n: usize, body: &[u8]) -> bool {
        let mut head = [0u8; 8];
        head[0] = n as u8 + 1;
        head[4..8].copy_from_slice(&(body.len() as u32).to_be_bytes());
        let head: &[u8] = if self.tty { &[] } else { &head };
        // Marked, not taken out: numbers of clients must stay true until `sweep`.
        for c in 0..self.clients.len() {
            let client = &mut self.clients[c];
            if client.wants & flag(n) != 0 && !client.send(head, body) {
                self.lose(c);
            }
        }
        self.clients.iter().any(Client::full)
    }

    /// Reads all that is there, whatever clients do: the process ended, so that it is not much.
    pub(crate) fn drain(&mut self, mut log: Option<&mut Log>, piece: &mut Vec<u8>) {
        for n in 0..2 {
            // A pipe holds 1 MiB at most; who still writes into it after that does not belong to the process.
            for _ in 0..64 {
                self.read_once(n, log.as_deref_mut(), piece);
                if piece.is_empty() {
                    break;
                }
            }
        }
    }

    /// Reads one piece; `piece` is empty when there was none.
    fn read_once(&mut self, n: usize, log: Option<&mut Log>, piece: &mut Vec<u8>) {
        piece.resize(PIECE, 0);
        let Some(fd) = &self.outputs[n] else { return piece.clear() };
        let got = match rustix::io::read(fd, &mut piece[..]) {
            Ok(0) => {
                self.outputs[n] = None;
                0
            }
            Ok(got) => got,
            Err(Errno::INTR) => return,
            Err(Errno::AGAIN) => 0,
            Err(_) => {
                self.outputs[n] = None;
                0
            }
        };
        piece.truncate(got);
        if got == 0 {
            return;
        }
        if let Some(log) = log {
            log.take(if n == 0 { Stream::Stdout } else { Stream::Stderr }, piece);
        }
        let bytes = std::mem::take(piece);
        self.spread(n, &bytes);
        *piece = bytes;
    }

    /// Writes what waits to the process.
    fn feed(&mut self) {
        let Some(fd) = &self.stdin else { return self.pending.clear() };
        match rustix::io::write(fd, &self.pending) {
            Ok(n) => drop(self.pending.drain(..n)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // It closed its stdin.
            Err(_) => {
                self.stdin = None;
                self.pending.clear();
            }
        }
        if self.pending.is_empty() {
            self.pending = Vec::new();
            if self.closing {
                self.stdin = None;
            }
        }
    }

    fn client(&mut self, n: usize, events: i16, piece: &mut Vec<u8>) {
        let Some(client) = self.clients.get_mut(n) else { return };
        if events & libc::POLLOUT != 0 && !client.flush() {
            return self.lose(n);
        }
        let Some(client) = self.clients.get_mut(n) else { return };
        if events & libc::POLLIN != 0 && client.sends && self.pending.is_empty() {
            piece.resize(PIECE, 0);
            match rustix::io::read(&client.socket, &mut piece[..]) {
                Ok(0) => return self.client_stdin_ended(n),
                Ok(got) if client.wants & STDIN != 0 && self.stdin.is_some() && !self.closing => {
                    self.pending.extend_from_slice(&piece[..got]);
                    return self.feed();
                }
                // Nobody reads it.
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return self.lose(n),
            }
        }
        if events & (libc::POLLERR | libc::POLLHUP) != 0 && events & libc::POLLIN == 0 {
            self.lose(n);
        }
    }

    /// A client sends no more. With `once` stdin ends with it; else, as dockerd does, a client that gave stdin leaves.
    fn client_stdin_ended(&mut self, n: usize) {
        let client = &mut self.clients[n];
        client.sends = false;
        if client.wants & STDIN == 0 {
            return;
        }
        if self.once {
            self.close_stdin();
        } else {
            // What waits for it is still sent, as far as it takes it now.
            client.flush();
            client.wants = 0;
        }
    }

    /// Closes stdin once the process has taken what waits.
    fn close_stdin(&mut self) {
        self.closing = true;
        if self.pending.is_empty() {
            self.stdin = None;
        }
    }

    fn lose(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let closes = client.sends && client.wants & STDIN != 0 && self.once;
        client.wants = 0;
        client.sends = false;
        client.queue = Vec::new();
        client.sent = 0;
        if closes {
            self.close_stdin();
        }
    }

    /// Lets go of clients that left or took nothing for too long.
    pub(crate) fn sweep(&mut self) {
        let now = Instant::now();
        let mut closes = false;
        self.clients.retain(|c| {
            let stuck = c.stalled.is_some_and(|since| now.duration_since(since) >= PATIENCE);
            closes |= stuck && c.sends && c.wants & STDIN != 0;
            c.wants != 0 && !stuck
        });
        if closes && self.once {
            self.close_stdin();
        }
        if self.ended {
            self.leave();
        }
    }

    /// When `sweep` must be called again at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|c| c.stalled).min().map(|since| since + PATIENCE)
    }

    /// Nothing more comes: clients leave as soon as they have all.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.stdin = None;
        self.pending = Vec::new();
        self.outputs = [None, None];
        for client in &mut self.clients {
            client.stalled.get_or_insert_with(Instant::now);
        }
    }

    fn leave(&mut self) {
        self.clients.retain(Client::waiting);
    }

    /// Whether someone is still attached.
    pub(crate) fn attended(&self) -> bool {
        !self.clients.is_empty()
    }
}

/// The stream that an output is, as clients ask for it.
fn flag(n: usize) -> u8 {
    if n == 0 { STDOUT } else { STDERR }
}

/// Never waits on this descriptor.
fn no_wait(fd: &OwnedFd) -> std::io::Result<()> {
    use std::os::fd::AsFd;
    let fd: BorrowedFd<'_> = fd.as_fd();
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}
