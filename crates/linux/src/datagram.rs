//! Datagrams with the address that they were sent to. Who listens on all addresses must answer from the one that was asked,
//! or the asker takes the answer for someone else's.
//!
//! `IP_PKTINFO` and `IPV6_PKTINFO` (ip(7), ipv6(7)). Never: waiting; the socket is non-blocking.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

/// Room for one `in6_pktinfo` with its header.
const CONTROL: usize = 64;

/// One of this machine's addresses, as a datagram was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Local(IpAddr);

impl Local {
    /// The address.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

/// A control buffer, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Asks the kernel to tell with each datagram where it was sent to.
pub fn want_local(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let (level, option) = match ipv6 {
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: `on` lives through the call and its size is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a datagram: its length, its sender, and where it was sent to, if the kernel tells.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<Local>)> {
    // SAFETY: all zeros is a valid value of these plain structs.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: every pointer of `message` leads to a live buffer of the length beside it.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    let from = sender(&name).ok_or_else(|| io::Error::other("a datagram without a sender"))?;
    let mut local = None;
    // SAFETY: the kernel filled `msg_control` with whole headers; the macros stay inside of `msg_controllen`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: `header` is inside of the control buffer, by the macro that gave it.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if (level, kind) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            // SAFETY: data of this kind is an `in_pktinfo`, perhaps unaligned.
            let info = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::in_pktinfo>()) };
            local = Some(Local(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()))));
        }
        if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
            // SAFETY: data of this kind is an `in6_pktinfo`, perhaps unaligned.
            let info = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>()) };
            local = Some(Local(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))));
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok((length as usize, from, local))
}

/// Sends a datagram from one of this machine's addresses, or from any.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], to: SocketAddr, from: Option<Local>) -> io::Result<usize> {
    // SAFETY: all zeros is a valid value of this plain struct.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    let (mut v4, mut v6);
    (message.msg_name, message.msg_namelen) = match to {
        SocketAddr::V4(to) => {
            v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
                sin_zero: [0; 8],
            };
            ((&raw mut v4).cast(), size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        SocketAddr::V6(to) => {
            v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: to.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
                sin6_scope_id: to.scope_id(),
            };
            ((&raw mut v6).cast(), size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    };
    // `sendmsg` does not write through this pointer.
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let mut control = Control([0; CONTROL]);
    match from {
        None => {}
        Some(Local(IpAddr::V4(ip))) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            attach(&mut message, &mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(Local(IpAddr::V6(ip))) => {
            let info =
                libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
            attach(&mut message, &mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    // SAFETY: every pointer of `message` leads to a live buffer of the length beside it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Writes one control message. `T` is at most an `in6_pktinfo`.
fn attach<T>(
    message: &mut libc::msghdr,
    control: &mut Control,
    level: libc::c_int,
    kind: libc::c_int,
    data: T,
) {
    // SAFETY: pure arithmetic.
    let (space, length) =
        unsafe { (libc::CMSG_SPACE(size_of::<T>() as u32), libc::CMSG_LEN(size_of::<T>() as u32)) };
    assert!(space as usize <= CONTROL);
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = space as _;
    // SAFETY: the buffer is aligned for a header and has room for it and for `T`.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const *message);
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = length as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast::<T>(), data);
    }
}

fn sender(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match name.ss_family as libc::c_int {
        libc::AF_INET => {
            // SAFETY: the family says that it is this struct; the storage is large and aligned enough for each.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::from((ip, u16::from_be(name.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::UdpSocket, os::fd::AsFd};

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        for (any, asked, ipv6) in [("0.0.0.0:0", "127.0.0.7", false), ("[::]:0", "::1", true)] {
            let server = UdpSocket::bind(any).unwrap();
            want_local(server.as_fd(), ipv6).unwrap();
            let asked: IpAddr = asked.parse().unwrap();
            let client = UdpSocket::bind((if ipv6 { "::1" } else { "127.0.0.1" }, 0)).unwrap();
            // A connected socket takes answers from there only.
            client.connect((asked, server.local_addr().unwrap().port())).unwrap();
            client.send(b"question").unwrap();
            let mut buffer = [0; 32];
            let (length, from, local) = receive(server.as_fd(), &mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&b"question"[..], client.local_addr().unwrap()));
            assert_eq!(local.unwrap().address(), asked);
            send(server.as_fd(), b"answer", from, local).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), 6);
        }
    }
}
