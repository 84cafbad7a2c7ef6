//! Sockets: what the kernel knows of a connection's other end.

use std::{io, os::fd::BorrowedFd};

/// `SIOCOUTQ` (linux/sockios.h): bytes that were sent and not taken yet.
const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

/// How much of what was sent to a local stream socket its peer has not read yet, in bytes of kernel memory (more than
/// the bytes that were sent, 0 when it has read all).
pub fn unread_by_peer(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: SIOCOUTQ writes one int and nothing else, for every kind of socket.
    let unread = unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<SIOCOUTQ, i32>::new()) }?;
    Ok(u32::try_from(unread).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsFd as _, unix::net::UnixStream},
    };

    #[test]
    fn what_the_peer_has_not_read_is_known() {
        let (mut near, mut far) = UnixStream::pair().expect("a pair");
        assert_eq!(unread_by_peer(near.as_fd()).expect("a number"), 0);
        near.write_all(b"head").expect("sent");
        assert!(unread_by_peer(near.as_fd()).expect("a number") >= 4);
        let mut buffer = [0; 4];
        far.read_exact(&mut buffer).expect("read");
        assert_eq!(unread_by_peer(near.as_fd()).expect("a number"), 0);
    }
}
