//! A blocking netlink socket: ask, wait for the answer. The kernel answers before `send` returns, so nothing here waits
//! for long.
//!
//! Never: retries of what the kernel refused, threads that live on.

use super::message::{
    ACK, Attributes, DONE, DUMP, DUMP_INTERRUPTED, ERROR, Message, Messages, REQUEST, Received, text, u16_at,
    u32_at,
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with, sockopt,
    },
};
use std::fmt;

/// `SOL_NETLINK`.
const SOL_NETLINK: i32 = 270;
/// `NETLINK_ADD_MEMBERSHIP`.
const ADD_MEMBERSHIP: i32 = 1;
/// `NETLINK_CAP_ACK`: an error does not carry the request back.
const CAP_ACK: i32 = 10;
/// `NETLINK_EXT_ACK`: an error carries a sentence.
const EXT_ACK: i32 = 11;
/// `NLMSGERR_ATTR_MSG`.
const ATTR_MESSAGE: u16 = 1;

/// Answers are read in pieces of this size; the kernel never sends a larger datagram to one who asks.
const BUFFER: usize = 64 * 1024;

/// Whom to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes.
    Route,
    /// nftables, connection tracking.
    Netfilter,
}

/// What the kernel said no to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The number.
    pub errno: Errno,
    /// The kernel's own sentence, where it gave one.
    pub detail: Option<String>,
    /// Which message of a batch it was, counted from 0.
    pub index: usize,
}

impl Refused {
    fn new(errno: Errno) -> Self {
        Self { errno, detail: None, index: 0 }
    }

    /// Whether it was this number.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::new(errno)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{} ({detail})", self.errno),
            None => write!(f, "{}", self.errno),
        }
    }
}

/// A message of the kernel, kept.
#[derive(Clone, Debug)]
pub struct Reply {
    /// `RTM_NEWLINK`, …
    pub kind: u16,
    /// Behind the header.
    pub body: Vec<u8>,
}

/// An open socket in one network namespace.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    port: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self, Refused> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        let port = SocketAddrNetlink::try_from(getsockname(&fd)?)?.pid();
        // Old kernels lack these; errors are then shorter, nothing else.
        let _ = set_option(fd.as_fd(), EXT_ACK, 1);
        let _ = set_option(fd.as_fd(), CAP_ACK, 1);
        Ok(Self { fd, sequence: 0, port, buffer: vec![0; BUFFER] })
    }

    /// The socket's address: events that its own requests caused carry it.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Subscribes to a multicast group, by number.
    pub fn join(&self, group: u32) -> Result<(), Refused> {
        Ok(set_option(self.fd.as_fd(), ADD_MEMBERSHIP, group as i32)?)
    }

    /// Makes room for a request of `bytes`, past the host's limit (needs `CAP_NET_ADMIN`).
    pub fn reserve(&self, bytes: usize) -> Result<(), Refused> {
        // The kernel counts its own bookkeeping too, and doubles what it is told.
        if sockopt::socket_send_buffer_size(&self.fd)? < bytes * 2 {
            sockopt::set_socket_send_buffer_size_force(&self.fd, bytes * 2)
                .or_else(|_| sockopt::set_socket_send_buffer_size(&self.fd, bytes * 2))?;
        }
        Ok(())
    }

    /// Makes room for many answers or events.
    pub fn reserve_answers(&self, bytes: usize) -> Result<(), Refused> {
        if sockopt::socket_recv_buffer_size(&self.fd)? < bytes {
            sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes)
                .or_else(|_| sockopt::set_socket_recv_buffer_size(&self.fd, bytes))?;
        }
        Ok(())
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn request(&mut self, mut message: Message) -> Result<(), Refused> {
        message.flag(REQUEST | ACK);
        let sequence = self.next_sequence();
        self.send(&message.finish(sequence, self.port))?;
        self.acknowledged(sequence, |_| ())
    }

    /// Asks for everything of a kind. Asks again when it changed meanwhile, a few times.
    pub fn dump(&mut self, mut message: Message) -> Result<Vec<Reply>, Refused> {
        message.flag(REQUEST | DUMP);
        for _ in 0..8 {
            if let Some(replies) = self.dump_once(message.clone())? {
                return Ok(replies);
            }
        }
        Err(Refused::new(Errno::INTR))
    }

    fn dump_once(&mut self, message: Message) -> Result<Option<Vec<Reply>>, Refused> {
        let sequence = self.next_sequence();
        self.send(&message.finish(sequence, self.port))?;
        let (mut replies, mut torn) = (Vec::new(), false);
        loop {
            let length = self.receive()?;
            for received in Messages(&self.buffer[..length]) {
                if received.sequence != sequence {
                    continue;
                }
                torn |= received.flags & DUMP_INTERRUPTED != 0;
                match received.kind {
                    DONE if torn => return Ok(None),
                    DONE => return Ok(Some(replies)),
                    ERROR => return error_of(received.body).map(|()| Some(replies)),
                    kind => replies.push(Reply { kind, body: received.body.to_vec() }),
                }
            }
        }
    }

    /// Asks for one thing.
    pub fn get(&mut self, mut message: Message) -> Result<Reply, Refused> {
        message.flag(REQUEST | ACK);
        let sequence = self.next_sequence();
        self.send(&message.finish(sequence, self.port))?;
        let mut reply = None;
        self.acknowledged(sequence, |received| {
            reply.get_or_insert_with(|| Reply { kind: received.kind, body: received.body.to_vec() });
        })?;
        reply.ok_or(Refused::new(Errno::NOENT))
    }

    /// Sends many messages as one datagram, of which exactly one asks for an acknowledgement. The first error of any is
    /// returned with the message's index. `each` sees what the kernel echoes.
    pub(crate) fn transact(
        &mut self,
        messages: Vec<Message>,
        mut each: impl FnMut(Received<'_>),
    ) -> Result<(), Refused> {
        let first = self.sequence.wrapping_add(1);
        let count = messages.len();
        let mut bytes = Vec::with_capacity(messages.iter().map(Message::len).sum());
        for message in messages {
            let sequence = self.next_sequence();
            bytes.extend(message.finish(sequence, self.port));
        }
        self.reserve(bytes.len())?;
        self.send(&bytes)?;
        let mut failed: Option<Refused> = None;
        loop {
            let length = self.receive()?;
            for received in Messages(&self.buffer[..length]) {
                let index = received.sequence.wrapping_sub(first) as usize;
                if index >= count {
                    continue;
                }
                if received.kind != ERROR {
                    each(received);
                    continue;
                }
                match error_of(received.body) {
                    Ok(()) => return failed.map_or(Ok(()), Err),
                    Err(mut refused) => {
                        refused.index = index;
                        failed.get_or_insert(refused);
                    }
                }
            }
            // All answers are queued before `send` returns; a refused batch may lack the acknowledgement.
            if failed.is_some() && !self.readable()? {
                return failed.map_or(Ok(()), Err);
            }
        }
    }

    /// Reads what has arrived of events; `None` when nothing has. `Err` with `NOBUFS`: some were lost, look at everything
    /// again.
    pub fn events(&mut self, mut each: impl FnMut(Received<'_>)) -> Result<Option<usize>, Refused> {
        let (_, length) = match recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok(got) => got,
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let length = length.min(self.buffer.len());
        let mut count = 0;
        for received in Messages(&self.buffer[..length]) {
            each(received);
            count += 1;
        }
        Ok(Some(count))
    }

    fn acknowledged(&mut self, sequence: u32, mut each: impl FnMut(&Received<'_>)) -> Result<(), Refused> {
        loop {
            let length = self.receive()?;
            for received in Messages(&self.buffer[..length]) {
                if received.sequence != sequence {
                    continue;
                }
                if received.kind == ERROR {
                    return error_of(received.body);
                }
                each(&received);
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Refused> {
        loop {
            match send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn receive(&mut self) -> Result<usize, Refused> {
        loop {
            match recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => return Ok(length.min(self.buffer.len())),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn readable(&self) -> Result<bool, Refused> {
        match recv(&self.fd, &mut [0u8; 1][..], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Reads `struct nlmsgerr`: 0 is an acknowledgement.
fn error_of(body: &[u8]) -> Result<(), Refused> {
    let code = u32_at(body, 0).map_or(0, |code| code as i32);
    if code == 0 {
        return Ok(());
    }
    // Behind the number lies the request's header, with `CAP_ACK` nothing more of it, then attributes.
    let attributes = Attributes::after(body, 4 + super::message::HEADER);
    let detail = match u16_at(body, 4 + super::message::HEADER) {
        Some(_) => attributes.get(ATTR_MESSAGE).and_then(text).map(str::to_owned),
        None => None,
    };
    Err(Refused { errno: Errno::from_raw_os_error(-code), detail, index: 0 })
}

fn set_option(fd: BorrowedFd<'_>, option: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: `value` lives through the call and its size is given.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}
