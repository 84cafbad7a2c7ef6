//! The sockets of a container's resolver, and the redirect that leads to them.
//!
//! They listen on a high port of 127.0.0.11, so that the container may serve port 53 itself; a small nftables table
//! in its namespace sends what goes to 127.0.0.11:53 there, and answers come back as if from port 53. The port is
//! derived from the container's id where it is free: after a restart of the daemon the new sockets then have the old
//! port, and flows that the kernel remembers still arrive.

use super::ADDRESS;
use crate::error::{NetworkError, Tried};
use minke_linux::{
    netlink::{Family as Netlink, Socket},
    nftables::{
        Batch, Chain, Comparison, Expression, Family, Hook, MetaKey, NatKind, PayloadBase, Priority,
        Register, Rule, chains, rules,
    },
};
use minke_model::ContainerId;
use std::{
    io,
    net::{SocketAddrV4, TcpListener, UdpSocket},
};

/// The table in the container's namespace.
const TABLE: &str = "minke-dns";
/// Rules in it.
const RULES: usize = 2;
/// First of the ports that are tried; below the range that the kernel gives to outgoing connections.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;
/// How many ports are tried before the kernel chooses.
const TRIES: u16 = 8;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Listening sockets, with the redirect in place. Nothing is answered before [`super::Server::serve`] has them.
#[derive(Debug)]
pub struct Prepared {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

impl Prepared {
    /// Makes sockets and redirect in the calling thread's network namespace, whose loopback must be up. A redirect
    /// that is there is replaced in one step.
    ///
    /// # Errors
    /// The kernel refuses a socket or the table.
    pub fn here(container: &ContainerId) -> Result<Self, NetworkError> {
        let udp =
            bind(container, UdpSocket::bind).map_err(|e| NetworkError::io("listen for names by UDP", e))?;
        let tcp =
            bind(container, TcpListener::bind).map_err(|e| NetworkError::io("listen for names by TCP", e))?;
        let ports = || -> io::Result<(u16, u16)> {
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok((udp.local_addr()?.port(), tcp.local_addr()?.port()))
        };
        let (udp_port, tcp_port) =
            ports().map_err(|e| NetworkError::io("set up the sockets for names", e))?;
        redirect(udp_port, tcp_port)?;
        Ok(Prepared { udp, tcp })
    }
}

/// Binds the first free port of the container's own list, or any.
fn bind<S>(container: &ContainerId, bind: impl Fn(SocketAddrV4) -> io::Result<S>) -> io::Result<S> {
    let seed = u64::from_str_radix(container.as_str().get(..8).unwrap_or_default(), 16).unwrap_or(0);
    for index in 0..TRIES {
        let port = FIRST_PORT + ((seed + 997 * index as u64) % PORTS as u64) as u16;
        match bind(SocketAddrV4::new(ADDRESS, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    bind(SocketAddrV4::new(ADDRESS, 0))
}

/// Sends 127.0.0.11:53 to these ports. One batch: there is no moment without a redirect.
///
/// The chain's name says whereto. So a daemon started anew finds that all is well: taking a chain off its hook makes
/// the kernel wait for some 15 ms, and adding a new table only 0.2.
fn redirect(udp: u16, tcp: u16) -> Result<(), NetworkError> {
    let open = Socket::open(Netlink::Netfilter);
    let mut socket = open.tried(|| "speak to nftables in the container's namespace".into())?;
    let name = format!("to-{udp}-{tcp}");
    let look = || "look for the redirect in the container's namespace".into();
    let mut there = chains(&mut socket).tried(look)?;
    there.retain(|chain| chain.family == Family::Ip && chain.table == TABLE);
    if there.iter().any(|chain| chain.name == name)
        && rules(&mut socket, Family::Ip, TABLE, &name).tried(look)?.len() == RULES
    {
        return Ok(());
    }
    let mut batch = Batch::new();
    if !there.is_empty() {
        batch.delete_table(Family::Ip, TABLE);
    }
    batch.add_table(Family::Ip, TABLE, "");
    batch.add_chain(Family::Ip, TABLE, &Chain::base(&name, "nat", Hook::Output, Priority::DSTNAT));
    for (protocol, port) in [(UDP, udp), (TCP, tcp)] {
        let (first, second) = (Register(0), Register(1));
        let equal = |register, value: &[u8]| Expression::Compare(register, Comparison::Equal, value.to_vec());
        let steps = vec![
            Expression::Meta(MetaKey::L4Protocol, first),
            equal(first, &[protocol]),
            // The receiver's address and port.
            Expression::Payload(PayloadBase::Network, 16, 4, first),
            equal(first, &ADDRESS.octets()),
            Expression::Payload(PayloadBase::Transport, 2, 2, first),
            equal(first, &53u16.to_be_bytes()),
            Expression::Immediate(first, ADDRESS.octets().to_vec()),
            Expression::Immediate(second, port.to_be_bytes().to_vec()),
            Expression::Nat(NatKind::Destination, false, first, Some(second)),
        ];
        batch.append_rule(Family::Ip, TABLE, &Rule { chain: name.clone(), steps, comment: "" });
    }
    batch.commit(&mut socket).tried(|| "redirect 127.0.0.11:53 in the container's namespace".into())
}
