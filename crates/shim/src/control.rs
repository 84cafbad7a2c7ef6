//! One connection of a daemon: requests in, answers and events out.
//!
//! Never: waits for a daemon. One that does not take its answers loses the connection, and comes back.

use crate::protocol::{MAX_TAIL, Op, RECORD, Reply, Request};
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags,
    },
};
use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// A connection.
pub(crate) struct Control {
    /// Never given again.
    pub(crate) number: u64,
    socket: OwnedFd,
    /// It said a good hello.
    pub(crate) known: bool,
    head: Vec<u8>,
    /// Of the request whose tail is being read.
    request: Option<Request>,
    tail: Vec<u8>,
    fd: Option<OwnedFd>,
}

/// What reading gave.
pub(crate) enum Input {
    /// A whole request, its tail, and the descriptor that came along.
    Request(Request, Vec<u8>, Option<OwnedFd>),
    /// Nothing whole yet.
    Later,
    /// The connection is over.
    Gone,
}

impl Control {
    /// A connection just accepted.
    pub(crate) fn new(number: u64, socket: OwnedFd) -> Control {
        Control { number, socket, known: false, head: Vec::new(), request: None, tail: Vec::new(), fd: None }
    }

    /// For `poll`.
    pub(crate) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Reads towards one request.
    pub(crate) fn read(&mut self) -> Input {
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return Input::Gone,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Input::Later,
                Err(_) => return Input::Gone,
            }
            if self.request.is_none() && self.head.len() == RECORD {
                let mut record = [0; RECORD];
                record.copy_from_slice(&self.head);
                match Request::decode(&record) {
                    Some(r) if r.tail as usize <= MAX_TAIL && (self.known || r.op == Op::Hello) => {
                        self.request = Some(r)
                    }
                    _ => return Input::Gone,
                }
                self.head = Vec::new();
            }
            if let Some(request) = self.request.filter(|r| self.tail.len() == r.tail as usize) {
                self.request = None;
                return Input::Request(request, std::mem::take(&mut self.tail), self.fd.take());
            }
        }
    }

    /// One read of what is missing; false at the end.
    fn step(&mut self) -> Result<bool, Errno> {
        let (into, want) = match self.request {
            None => (&mut self.head, RECORD),
            Some(r) => (&mut self.tail, r.tail as usize),
        };
        let have = into.len();
        into.resize(want.min(have + (64 << 10)), 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut into[have..])],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        into.truncate(have + got.as_ref().map_or(0, |g| g.bytes));
        let got = got?.bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                self.fd = fds.next();
            }
        }
        Ok(got > 0)
    }

    /// Sends an answer or event, with descriptors. False: the connection is over.
    pub(crate) fn send(&self, mut reply: Reply, tail: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        reply.tail = tail.len() as u32;
        let head = reply.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let sent = rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(&head), IoSlice::new(tail)],
            &mut control,
            SendFlags::NOSIGNAL,
        );
        // Answers are few and short: a socket that is full belongs to a daemon that hangs.
        sent.is_ok_and(|n| n == head.len() + tail.len())
    }
}
