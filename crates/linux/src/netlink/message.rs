//! One netlink message as bytes: a header, a fixed struct, attributes. Written here, read by [`Attributes`].
//!
//! The layout is that of `linux/netlink.h`: lengths and kinds in the machine's byte order, everything padded to 4.
//! Never: sockets, meanings of kinds.

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_ECHO`: the kernel tells what it made, with handles.
pub(crate) const ECHO: u16 = 0x8;
/// `NLM_F_DUMP` (`NLM_F_ROOT | NLM_F_MATCH`).
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile.
pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_REPLACE`.
pub(crate) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;

/// `NLMSG_ERROR`: an answer, also to what went well.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(crate) const DONE: u16 = 3;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`.
const KIND_MASK: u16 = 0x3fff;

/// A message being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// An empty request of a kind (`RTM_NEWLINK`, …) with its flags; length, sequence and sender are set on sending.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    /// Sets further flags.
    pub(crate) fn flag(&mut self, flags: u16) {
        let now = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        self.bytes[6..8].copy_from_slice(&now.to_ne_bytes());
    }

    /// Bytes so far, header included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing behind the header.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= HEADER
    }

    /// The fixed struct, or anything else without an attribute's head; padded to 4.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// An attribute. Payloads are bounded by callers: an attribute's length has 16 bits.
    pub fn attr(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        debug_assert!(payload.len() + 4 <= u16::MAX as usize);
        self.bytes.extend_from_slice(&((payload.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.put(payload)
    }

    /// A byte.
    pub fn attr_u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.attr(kind, &[value])
    }

    /// Two bytes in the machine's order, as rtnetlink has them.
    pub fn attr_u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Four bytes in the machine's order, as rtnetlink has them.
    pub fn attr_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Four bytes in the network's order, as netfilter has them.
    pub fn attr_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Eight bytes in the network's order, as netfilter has them.
    pub fn attr_be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Text with its closing zero.
    pub fn attr_str(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// An attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = self.bytes.len() - start;
        debug_assert!(length <= u16::MAX as usize);
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The finished bytes.
    pub(crate) fn finish(mut self, sequence: u32, port: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes[12..16].copy_from_slice(&port.to_ne_bytes());
        self.bytes
    }
}

/// A message that was received: header fields and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// `RTM_NEWLINK`, …
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// Whose answer it is.
    pub sequence: u32,
    /// The socket that asked for the change which an event tells of.
    pub port: u32,
    /// Behind the header.
    pub body: &'a [u8],
}

/// Splits one datagram into its messages. Stops at the first that is cut short.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Received<'a>> {
        let length = u32_at(self.0, 0)? as usize;
        if length < HEADER || length > self.0.len() {
            return None;
        }
        let (message, rest) = (&self.0[..length], self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]));
        self.0 = rest;
        Some(Received {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            port: u32_at(message, 12)?,
            body: &message[HEADER..],
        })
    }
}

/// The attributes of a received message or of a nest. Stops at the first that is cut short.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those that follow `fixed` bytes of another struct.
    pub fn after(body: &'a [u8], fixed: usize) -> Self {
        Self(body.get(fixed.next_multiple_of(4)..).unwrap_or(&[]))
    }

    /// Those of a nest.
    pub fn of(nest: &'a [u8]) -> Self {
        Self(nest)
    }

    /// The first of a kind.
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(k, _)| *k == kind).map(|(_, payload)| payload)
    }

    /// The first of a kind as text, without its closing zero.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        text(self.get(kind)?)
    }

    /// The first of a kind, four bytes in the network's order.
    pub fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.get(..4)?.try_into().ok()?))
    }

    /// The first of a kind, eight bytes in the network's order.
    pub fn be64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.get(..8)?.try_into().ok()?))
    }

    /// The first of a kind, four bytes in the machine's order.
    pub fn u32(self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u16_at(self.0, 0)? as usize;
        let kind = u16_at(self.0, 2)? & KIND_MASK;
        if length < 4 || length > self.0.len() {
            return None;
        }
        let payload = &self.0[4..length];
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, payload))
    }
}

/// Text up to its closing zero.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.split(|b| *b == 0).next()?).ok()
}

/// Two bytes in the machine's order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Four bytes in the machine's order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut message = Message::new(16, REQUEST);
        message.put(&[1, 2, 3]).attr_str(3, "eth0").nest(18, |m| {
            m.attr_u32(1, 7).attr_be32(2, 8);
        });
        let bytes = message.finish(5, 9);
        let received = Messages(&bytes).next().unwrap();
        assert_eq!((received.kind, received.sequence, received.port), (16, 5, 9));
        let attributes = Attributes::after(received.body, 3);
        assert_eq!(attributes.text(3), Some("eth0"));
        let nest = Attributes::of(attributes.get(18).unwrap());
        assert_eq!((nest.u32(1), nest.be32(2)), (Some(7), Some(8)));
        assert_eq!(Messages(&bytes).count(), 1);
    }

    #[test]
    fn a_message_cut_short_yields_nothing_and_never_panics() {
        let mut message = Message::new(16, REQUEST);
        message.put(&[0; 16]).attr_str(3, "eth0").attr(4, &[0; 9]);
        let bytes = message.finish(0, 0);
        for end in 0..bytes.len() {
            assert_eq!(Messages(&bytes[..end]).count(), 0);
            for start in 0..end {
                Attributes::of(&bytes[start..end]).for_each(drop);
            }
        }
    }
}
