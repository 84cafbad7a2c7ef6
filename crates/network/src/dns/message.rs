//! The little of DNS messages that a resolver in between must know (RFC 1035, section 4).
//!
//! Questions are read, our own answers are written; what others answer passes through as bytes. Unknown types,
//! classes and flags are no error: they are forwarded, which is why no general codec is used here (they refuse
//! what they do not know).

use std::net::IpAddr;

const HEADER: usize = 12;
/// Seconds that an answer of ours may be kept; Docker's figure.
const LIFETIME: u32 = 600;
/// What a client without EDNS can take by UDP (RFC 1035, section 2.3.4).
pub(super) const SMALLEST: usize = 512;
/// What we say that we can take by UDP (DNS flag day 2020).
const OUR_SIZE: u16 = 1232;
/// Names end after so many bytes (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;

/// Type numbers (IANA, "DNS parameters").
pub(super) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
}

/// How an answer ends (IANA, "DNS RCODEs").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Fine = 0,
    Malformed = 1,
    ServerFailed = 2,
    NotImplemented = 4,
    Refused = 5,
}

/// A question as it came.
#[derive(Debug)]
pub(super) struct Query<'a> {
    bytes: &'a [u8],
    /// Where the question ends.
    end: usize,
    /// The name: lower case, labels joined by dots, none at the end. `None` when a label is not plain text, which
    /// no name of ours is.
    pub(super) name: Option<String>,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// What the client takes by UDP; `None` without EDNS.
    size: Option<u16>,
}

/// Why a message is no question that we can look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Not even an answer can be given: too short, or itself an answer.
    Silence,
    /// It gets this code, with the header alone.
    Answer(Code),
}

impl<'a> Query<'a> {
    /// Reads a question.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Unfit> {
        let flags = word(bytes, 2).ok_or(Unfit::Silence)?;
        let count = |at| word(bytes, at).ok_or(Unfit::Silence);
        let (questions, others, additional) = (count(4)?, count(6)? as u32 + count(8)? as u32, count(10)?);
        // An answer to an answer is how two resolvers talk for ever.
        if flags & 0x8000 != 0 {
            return Err(Unfit::Silence);
        }
        if flags & 0x7800 != 0 {
            return Err(Unfit::Answer(Code::NotImplemented));
        }
        let malformed = Unfit::Answer(Code::Malformed);
        if questions != 1 {
            return Err(malformed);
        }
        let Some((name, at)) = read_name(bytes) else { return Err(malformed) };
        let (Some(kind), Some(class)) = (word(bytes, at), word(bytes, at + 2)) else { return Err(malformed) };
        let end = at + 4;
        let mut size = None;
        let mut rest = end;
        for index in 0..others + additional as u32 {
            let Some((record_kind, record_class, next)) = skip_record(bytes, rest) else {
                return Err(malformed);
            };
            if index >= others && record_kind == kind::OPT {
                size = Some(record_class);
            }
            rest = next;
        }
        Ok(Query { bytes, end, name, kind, class, size })
    }

    /// Whether it is of the Internet's class, the only one that has addresses.
    pub(super) fn is_internet(&self) -> bool {
        self.class == 1
    }

    /// How much the client takes by UDP.
    pub(super) fn size(&self) -> usize {
        (self.size.unwrap_or(0) as usize).max(SMALLEST)
    }

    /// The question's bytes: name, type, class.
    pub(super) fn question(&self) -> &'a [u8] {
        &self.bytes[HEADER..self.end]
    }

    /// An answer with `records`, of which those beyond `limit` bytes are left out and said to be.
    pub(super) fn answer(&self, code: Code, records: &[Record], limit: usize) -> Vec<u8> {
        let mut out = reply_header(self.bytes, code);
        out[5] = 1;
        out.extend_from_slice(self.question());
        let reserved = if self.size.is_some() { 11 } else { 0 };
        let mut written = 0u16;
        for record in records {
            let before = out.len();
            record.write(self.kind, &mut out);
            if out.len() + reserved > limit {
                out.truncate(before);
                out[2] |= 0x02;
                break;
            }
            written += 1;
        }
        out[6..8].copy_from_slice(&written.to_be_bytes());
        if self.size.is_some() {
            // RFC 6891, section 6.1.1: one who asks with OPT is answered with OPT.
            out[11] = 1;
            out.push(0);
            out.extend(kind::OPT.to_be_bytes());
            out.extend(OUR_SIZE.to_be_bytes());
            out.extend([0; 6]);
        }
        out
    }
}

/// An answer to what could not be read: a header alone.
pub(super) fn refuse(bytes: &[u8], code: Code) -> Vec<u8> {
    reply_header(bytes, code)
}

/// One record of an answer of ours; its name is the question's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    Pointer(String),
}

impl Record {
    fn write(&self, kind: u16, out: &mut Vec<u8>) {
        // The name: a pointer to the question's, behind the header.
        out.extend([0xc0, HEADER as u8]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(LIFETIME.to_be_bytes());
        match self {
            Record::Address(IpAddr::V4(address)) => {
                out.extend([0, 4]);
                out.extend(address.octets());
            }
            Record::Address(IpAddr::V6(address)) => {
                out.extend([0, 16]);
                out.extend(address.octets());
            }
            Record::Pointer(name) => {
                let mut wire = Vec::with_capacity(name.len() + 2);
                for label in name.split('.').filter(|label| !label.is_empty()) {
                    // A longer label cannot be said; Docker's own names are at most 63 bytes, networks' may be longer.
                    let label = &label.as_bytes()[..label.len().min(63)];
                    wire.push(label.len() as u8);
                    wire.extend(label);
                }
                wire.truncate(LONGEST_NAME - 1);
                wire.push(0);
                out.extend((wire.len() as u16).to_be_bytes());
                out.extend(wire);
            }
        }
    }
}

/// Header of an answer to `query`: its id, opcode and "recursion desired"; "recursion available".
fn reply_header(query: &[u8], code: Code) -> Vec<u8> {
    let mut out = Vec::with_capacity(SMALLEST);
    out.extend(query.iter().chain(std::iter::repeat(&0)).take(HEADER));
    out[2] = 0x80 | (out[2] & 0x79);
    out[3] = 0x80 | code as u8;
    out[4..].fill(0);
    out
}

/// The id of a message.
pub(super) fn id(bytes: &[u8]) -> Option<u16> {
    word(bytes, 0)
}

/// Puts another id in.
pub(super) fn set_id(bytes: &mut [u8], id: u16) {
    if let Some(place) = bytes.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Whether `bytes` answer the question `question` that was asked under `id`. Case is not compared: some servers
/// lower it. A server that cannot read the question may leave it out.
pub(super) fn answers(bytes: &[u8], id: u16, question: &[u8]) -> bool {
    let is_answer = word(bytes, 0) == Some(id) && word(bytes, 2).is_some_and(|flags| flags & 0x8000 != 0);
    if !is_answer || bytes.len() < HEADER {
        return false;
    }
    match word(bytes, 4) {
        Some(0) => code(bytes) != Some(Code::Fine as u8),
        _ => {
            bytes.get(HEADER..HEADER + question.len()).is_some_and(|back| back.eq_ignore_ascii_case(question))
        }
    }
}

/// The code of an answer.
pub(super) fn code(bytes: &[u8]) -> Option<u8> {
    bytes.get(3).map(|b| b & 0x0f)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

/// The name behind the header and where it ends. `None` when it is no name; a question has no compressed one,
/// as there is nothing before it that a pointer could name.
fn read_name(bytes: &[u8]) -> Option<(Option<String>, usize)> {
    let mut name = String::new();
    let mut is_text = true;
    let mut at = HEADER;
    loop {
        let length = *bytes.get(at)? as usize;
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 || at + length - HEADER >= LONGEST_NAME {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        at += length;
        is_text &= label.iter().all(|b| b.is_ascii_graphic() && *b != b'.');
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|b| b.to_ascii_lowercase() as char));
    }
    Some((is_text.then_some(name), at))
}

/// Type, class and end of the record at `at`.
fn skip_record(bytes: &[u8], mut at: usize) -> Option<(u16, u16, usize)> {
    loop {
        let length = *bytes.get(at)? as usize;
        match length {
            0 => {
                at += 1;
                break;
            }
            1..=63 => at += 1 + length,
            192.. => {
                at += 2;
                break;
            }
            _ => return None,
        }
    }
    let length = word(bytes, at + 8)? as usize;
    let end = at + 10 + length;
    (end <= bytes.len()).then_some((word(bytes, at)?, word(bytes, at + 2)?, end))
}

/// Writes a question as a client would. For tests.
#[cfg(test)]
pub(super) fn ask(id: u16, name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, size.is_some() as u8]);
    for label in name.split('.').filter(|l| !l.is_empty()) {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    if let Some(size) = size {
        out.extend([0, 0, 41]);
        out.extend(size.to_be_bytes());
        out.extend([0; 6]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::{Packet, PacketFlag, RCODE, rdata::RData};
    use std::net::Ipv4Addr;

    #[test]
    fn a_question_is_read_in_lower_case_with_its_size() {
        let bytes = ask(7, "Web.App", kind::A, Some(4096));
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.name.as_deref(), query.kind, query.size()), (Some("web.app"), kind::A, 4096));
        let bytes = ask(7, "", 65, None);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.name.as_deref(), query.kind, query.size()), (Some(""), 65, SMALLEST));
        let bytes = ask(7, "a b.c", kind::A, Some(0));
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.name.as_deref(), query.size()), (None, SMALLEST));
    }

    #[test]
    fn no_bytes_make_it_panic_and_answers_get_no_answer() {
        let whole = ask(7, "web.app", kind::A, Some(4096));
        for cut in 0..whole.len() {
            assert!(Query::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut random = 88172645463325252u64;
        for _ in 0..20000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = random as usize % bytes.len();
                bytes[at] = (random >> 32) as u8;
            }
            if let Ok(query) = Query::parse(&bytes) {
                let answer = query.answer(Code::Fine, &[Record::Pointer("x".into())], 600);
                assert!(answer.len() <= 600);
            }
        }
        let mut answer = whole.clone();
        answer[2] |= 0x80;
        assert_eq!(Query::parse(&answer).unwrap_err(), Unfit::Silence);
        let mut update = whole.clone();
        update[2] |= 0x28;
        assert_eq!(Query::parse(&update).unwrap_err(), Unfit::Answer(Code::NotImplemented));
        let mut two = whole;
        two[5] = 2;
        assert_eq!(Query::parse(&two).unwrap_err(), Unfit::Answer(Code::Malformed));
        assert_eq!(refuse(&two, Code::Malformed)[..4], [0, 7, 0x81, 0x81]);
    }

    #[test]
    fn another_codec_reads_our_answers() {
        let bytes = ask(0xbeef, "WEB", kind::A, Some(1232));
        let query = Query::parse(&bytes).unwrap();
        let address = Ipv4Addr::new(172, 18, 0, 2);
        let answer = query.answer(Code::Fine, &[Record::Address(address.into())], query.size());
        let packet = Packet::parse(&answer).unwrap();
        assert_eq!((packet.id(), packet.rcode(), packet.questions.len()), (0xbeef, RCODE::NoError, 1));
        assert!(packet.has_flags(
            PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED
        ));
        assert!(packet.opt().is_some());
        assert_eq!(packet.answers[0].name.to_string(), "WEB", "the case of the question stays");
        assert_eq!(packet.answers[0].ttl, 600);
        assert!(matches!(&packet.answers[0].rdata, RData::A(a) if a.address == u32::from(address)));

        let bytes = ask(1, "2.0.18.172.in-addr.arpa", kind::PTR, None);
        let query = Query::parse(&bytes).unwrap();
        let answer = query.answer(Code::Fine, &[Record::Pointer("web.app".into())], query.size());
        let packet = Packet::parse(&answer).unwrap();
        assert!(matches!(&packet.answers[0].rdata, RData::PTR(p) if p.0.to_string() == "web.app"));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let bytes = ask(1, "web", kind::A, None);
        let query = Query::parse(&bytes).unwrap();
        let records: Vec<_> = (0..100).map(|n| Record::Address(Ipv4Addr::new(10, 0, 0, n).into())).collect();
        let answer = query.answer(Code::Fine, &records, query.size());
        assert!(answer.len() <= SMALLEST);
        let packet = Packet::parse(&answer).unwrap();
        assert!(packet.has_flags(PacketFlag::TRUNCATION));
        assert_eq!(packet.answers.len(), (SMALLEST - 12 - 9) / 16);
        let whole = query.answer(Code::Fine, &records, u16::MAX as usize);
        let packet = Packet::parse(&whole).unwrap();
        assert!(!packet.has_flags(PacketFlag::TRUNCATION));
        assert_eq!(packet.answers.len(), 100);
    }

    #[test]
    fn only_the_answer_to_our_question_counts() {
        let bytes = ask(9, "Web", kind::A, None);
        let query = Query::parse(&bytes).unwrap();
        let answer = query.answer(Code::Fine, &[], 512);
        assert!(answers(&answer, 9, query.question()));
        assert!(!answers(&answer, 8, query.question()), "another id");
        assert!(!answers(&bytes, 9, query.question()), "a question");
        let other = ask(9, "Wob", kind::A, None);
        assert!(!answers(&answer, 9, Query::parse(&other).unwrap().question()), "another name");
        assert!(answers(&answer.to_ascii_lowercase(), 9, query.question()));
        assert!(answers(&refuse(&bytes, Code::Malformed), 9, query.question()));
        assert!(
            !answers(&refuse(&bytes, Code::Fine), 9, query.question()),
            "success without a question says nothing"
        );
    }
}
