//! Expressions: the steps of a rule. Each reads or writes registers of 4 bytes, or ends with a verdict.

use crate::netlink::Message;

/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// One of 16 places of 4 bytes; longer values take the following ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    /// `NFT_REG_VERDICT`: where a verdict map writes.
    pub const VERDICT: u32 = 0;

    /// `NFT_REG32_00` and on.
    fn number(self) -> u32 {
        8 + self.0 as u32
    }
}

/// What happens to the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on, past this table's chain at this hook.
    Accept,
    /// Is gone.
    Drop,
    /// Goes on with the next rule.
    Continue,
    /// Goes back to the calling chain.
    Return,
    /// Calls a chain.
    Jump(String),
    /// Goes on in a chain and does not come back here.
    Goto(String),
}

impl Verdict {
    /// `NF_…` and `NFT_…` codes; the latter are negative.
    fn code(&self) -> i32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Continue => -1,
            Verdict::Jump(_) => -3,
            Verdict::Goto(_) => -4,
            Verdict::Return => -5,
        }
    }

    pub(super) fn write(&self, message: &mut Message) {
        message.nest(DATA_VERDICT, |m| {
            m.attr_be32(1, self.code() as u32);
            if let Verdict::Jump(chain) | Verdict::Goto(chain) = self {
                m.attr_str(2, chain);
            }
        });
    }
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MetaKey {
    /// The packet's mark.
    Mark = 3,
    /// The name of the interface it came by, 16 bytes.
    InName = 6,
    /// The name of the interface it leaves by, 16 bytes.
    OutName = 7,
    /// 2 for IPv4, 10 for IPv6; one byte.
    NfProtocol = 15,
    /// `IPPROTO_…`; one byte.
    L4Protocol = 16,
}

/// What is known of the packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CtKey {
    /// A bit of invalid 1, established 2, related 4, new 8, untracked 64, in the machine's order.
    State = 0,
    /// 1 for an answer's way, 0 for the first packet's; one byte.
    Direction = 1,
    /// `IPS_…`: 0x20 is "destination translated", in the machine's order.
    Status = 2,
    /// The flow's mark, in the machine's order.
    Mark = 3,
    /// The port it was sent to; with the original direction, before translation.
    DestinationPort = 12,
}

/// Where a packet's bytes are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PayloadBase {
    /// The Ethernet header.
    Link = 0,
    /// The IP header.
    Network = 1,
    /// The TCP or UDP header.
    Transport = 2,
}

/// How a register is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Comparison {
    /// Equal.
    Equal = 0,
    /// Not equal.
    NotEqual = 1,
}

/// Which address is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NatKind {
    /// The sender's.
    Source = 0,
    /// The receiver's.
    Destination = 1,
}

/// What a look at the routing table returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FibResult {
    /// `RTN_…`, 2 for an address of this machine, in the machine's order.
    AddressType = 3,
}

/// How a sender is told no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectKind {
    /// By an ICMP or ICMPv6 message, "port unreachable".
    Port,
    /// By an ICMP or ICMPv6 message, "administratively prohibited".
    Prohibited,
    /// By a TCP reset.
    Reset,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads what is known of the packet.
    Meta(MetaKey, Register),
    /// Changes what is known of the packet.
    MetaSet(MetaKey, Register),
    /// Loads what is known of its flow; `true` asks for the direction of the flow's first packet.
    Ct(CtKey, Register, bool),
    /// Changes what is known of its flow.
    CtSet(CtKey, Register),
    /// Writes bytes of the packet: base, offset, length. No checksum follows: for the Ethernet header.
    PayloadSet(PayloadBase, u32, u32, Register),
    /// Loads a random number below a bound, in the machine's order.
    Random(u32, Register),
    /// Loads bytes: base, offset, length.
    Payload(PayloadBase, u32, u32, Register),
    /// Loads the type of the packet's destination address.
    FibDestination(FibResult, Register),
    /// Goes on only if the register compares.
    Compare(Register, Comparison, Vec<u8>),
    /// `(register & mask) ^ xor`.
    Bitwise(Register, Vec<u8>, Vec<u8>),
    /// Goes on only if the set has the key.
    In(String, Register),
    /// Goes on only if the set lacks the key.
    NotIn(String, Register),
    /// Goes on only if the map has the key; loads its value.
    Map(String, Register, Register),
    /// Follows the verdict that the map has for the key.
    VerdictMap(String, Register),
    /// Loads a value.
    Immediate(Register, Vec<u8>),
    /// Ends the rule.
    Verdict(Verdict),
    /// Translates to the address and the port in registers: kind, IPv6, address, port.
    Nat(NatKind, bool, Register, Option<Register>),
    /// Translates the sender to the address of the interface it leaves by.
    Masquerade,
    /// Translates the receiver to this machine, port in a register.
    Redirect(Register),
    /// Counts packets and bytes.
    Counter,
    /// Refuses.
    Reject(RejectKind),
    /// An extension of iptables: name, revision, its struct. Only in tables that iptables made.
    Xt(&'static str, u32, Vec<u8>),
}

impl Expression {
    pub(super) fn write(&self, message: &mut Message) {
        message.nest(LIST_ELEMENT, |m| {
            m.attr_str(EXPRESSION_NAME, self.name()).nest(EXPRESSION_DATA, |m| self.fill(m));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Expression::Meta(..) | Expression::MetaSet(..) => "meta",
            Expression::Ct(..) | Expression::CtSet(..) => "ct",
            Expression::Payload(..) | Expression::PayloadSet(..) => "payload",
            Expression::Random(..) => "numgen",
            Expression::FibDestination(..) => "fib",
            Expression::Compare(..) => "cmp",
            Expression::Bitwise(..) => "bitwise",
            Expression::In(..) | Expression::NotIn(..) | Expression::Map(..) | Expression::VerdictMap(..) => {
                "lookup"
            }
            Expression::Immediate(..) | Expression::Verdict(..) => "immediate",
            Expression::Nat(..) => "nat",
            Expression::Masquerade => "masq",
            Expression::Redirect(..) => "redir",
            Expression::Counter => "counter",
            Expression::Reject(..) => "reject",
            Expression::Xt(..) => "match",
        }
    }

    fn fill(&self, m: &mut Message) {
        match self {
            Expression::Meta(key, to) => {
                m.attr_be32(2, *key as u32).attr_be32(1, to.number());
            }
            Expression::MetaSet(key, from) => {
                m.attr_be32(2, *key as u32).attr_be32(3, from.number());
            }
            Expression::Ct(key, to, original) => {
                m.attr_be32(2, *key as u32).attr_be32(1, to.number());
                if *original {
                    m.attr_u8(3, 0);
                }
            }
            Expression::CtSet(key, from) => {
                m.attr_be32(2, *key as u32).attr_be32(4, from.number());
            }
            Expression::PayloadSet(base, offset, length, from) => {
                m.attr_be32(5, from.number())
                    .attr_be32(2, *base as u32)
                    .attr_be32(3, *offset)
                    .attr_be32(4, *length)
                    .attr_be32(6, 0);
            }
            Expression::Random(bound, to) => {
                // `NFT_NG_RANDOM`.
                m.attr_be32(1, to.number()).attr_be32(2, *bound).attr_be32(3, 1);
            }
            Expression::Payload(base, offset, length, to) => {
                m.attr_be32(1, to.number())
                    .attr_be32(2, *base as u32)
                    .attr_be32(3, *offset)
                    .attr_be32(4, *length);
            }
            Expression::FibDestination(result, to) => {
                // `NFTA_FIB_F_DADDR`.
                m.attr_be32(3, 2).attr_be32(2, *result as u32).attr_be32(1, to.number());
            }
            Expression::Compare(from, comparison, value) => {
                m.attr_be32(1, from.number()).attr_be32(2, *comparison as u32);
                m.nest(3, |m| data(m, value));
            }
            Expression::Bitwise(register, mask, xor) => {
                m.attr_be32(1, register.number())
                    .attr_be32(2, register.number())
                    .attr_be32(3, mask.len() as u32);
                m.nest(4, |m| data(m, mask)).nest(5, |m| data(m, xor));
            }
            Expression::In(set, key) => {
                m.attr_str(1, set).attr_be32(2, key.number());
            }
            Expression::NotIn(set, key) => {
                m.attr_str(1, set).attr_be32(2, key.number()).attr_be32(5, 1);
            }
            Expression::Map(set, key, to) => {
                m.attr_str(1, set).attr_be32(2, key.number()).attr_be32(3, to.number());
            }
            Expression::VerdictMap(set, key) => {
                m.attr_str(1, set).attr_be32(2, key.number()).attr_be32(3, Register::VERDICT);
            }
            Expression::Immediate(to, value) => {
                m.attr_be32(1, to.number()).nest(2, |m| data(m, value));
            }
            Expression::Verdict(verdict) => {
                m.attr_be32(1, Register::VERDICT).nest(2, |m| verdict.write(m));
            }
            Expression::Nat(kind, ipv6, address, port) => {
                m.attr_be32(1, *kind as u32)
                    .attr_be32(2, if *ipv6 { 10 } else { 2 })
                    .attr_be32(3, address.number());
                if let Some(port) = port {
                    // `NF_NAT_RANGE_PROTO_SPECIFIED` follows from the register.
                    m.attr_be32(5, port.number());
                }
            }
            Expression::Masquerade => {}
            Expression::Redirect(port) => {
                m.attr_be32(1, port.number());
            }
            Expression::Counter => {
                m.attr_be64(1, 0).attr_be64(2, 0);
            }
            Expression::Reject(kind) => {
                // `NFT_REJECT_ICMPX_UNREACH` with `NFT_REJECT_ICMPX_…`, or `NFT_REJECT_TCP_RST`.
                let (how, code) = match kind {
                    RejectKind::Port => (2, 1),
                    RejectKind::Prohibited => (2, 3),
                    RejectKind::Reset => (1, 0),
                };
                m.attr_be32(1, how).attr_u8(2, code);
            }
            Expression::Xt(name, revision, info) => {
                m.attr_str(1, name).attr_be32(2, *revision).attr(3, info);
            }
        }
    }
}

/// `NFTA_DATA_VALUE`.
pub(super) fn data(message: &mut Message, value: &[u8]) {
    message.attr(DATA_VALUE, value);
}
