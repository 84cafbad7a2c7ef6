//! How a child tells its shim what went wrong before exec: one message a word, over a socket that exec closes.
//!
//! Never: success. The end of the socket without a failure is success.

use crate::protocol::Stage;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// The most bytes of a word's detail.
const MAX_DETAIL: usize = 4000;

/// Why a process did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Where.
    pub(crate) stage: Stage,
    /// errno; 0 when `detail` says all.
    pub(crate) errno: i32,
    /// On what.
    pub(crate) detail: String,
}

/// Done, or why not.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Names stage and object of an I/O error.
pub(crate) trait At<T> {
    /// The error becomes a failure.
    fn at(self, stage: Stage, detail: impl Into<String>) -> Outcome<T>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, stage: Stage, detail: impl Into<String>) -> Outcome<T> {
        self.map_err(|e| Failure {
            stage,
            errno: e.into().raw_os_error().unwrap_or(0),
            detail: detail.into(),
        })
    }
}

/// What a child says.
#[derive(Debug)]
pub(crate) enum Word {
    /// It ends now, for this reason.
    Failed(Failure),
    /// It goes on without something.
    Warning(String),
    /// Its terminal's other side.
    Console(OwnedFd),
}

/// Says a word.
pub(crate) fn say(socket: BorrowedFd<'_>, word: &Word) {
    let (kind, stage, errno, detail) = match word {
        Word::Failed(f) => (0, f.stage as u8, f.errno, f.detail.as_str()),
        Word::Warning(text) => (1, 0, 0, text.as_str()),
        Word::Console(_) => (2, 0, 0, ""),
    };
    let mut bytes = vec![kind, stage];
    bytes.extend_from_slice(&errno.to_le_bytes());
    bytes.extend_from_slice(detail.get(..detail.len().min(MAX_DETAIL)).unwrap_or("").as_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds;
    if let Word::Console(fd) = word {
        fds = [fd.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    // Whom should it tell that it cannot tell?
    let _ = rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
}

/// The next word; `None` at the end (or when none has come yet: `EAGAIN` is an error).
pub(crate) fn hear(socket: BorrowedFd<'_>) -> io::Result<Option<Word>> {
    let mut bytes = [0u8; MAX_DETAIL + 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            // Told once, before its last words, of a child that ended with a word of ours unread.
            Err(Errno::CONNRESET | Errno::INTR) => continue,
            got => break got?.bytes,
        }
    };
    let fd = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let [kind, stage, a, b, c, d, detail @ ..] = &bytes[..got] else { return Ok(None) };
    let detail = String::from_utf8_lossy(detail).into_owned();
    Ok(match (*kind, fd) {
        (1, _) => Some(Word::Warning(detail)),
        (2, Some(fd)) => Some(Word::Console(fd)),
        _ => Some(Word::Failed(Failure {
            stage: Stage::from_number(*stage).unwrap_or(Stage::Gone),
            errno: i32::from_le_bytes([*a, *b, *c, *d]),
            detail,
        })),
    })
}
