//! What is said between a worker and its manager's store, byte by byte. Pure.
//!
//! All numbers little-endian; texts and bytes carry their length (u32) first. A request: version, its id, kind, body.
//! An answer: the request's id, its place among the answers to it, kind, body. The place makes doubled and reordered
//! frames harmless: only the next one counts.

use crate::{
    Change, Changes, Guard, Key, Prefix, Prefixes, Record, Revision, StoreError, Txn,
    txn::{Value, Write},
};
use std::sync::Arc;

/// Of this protocol.
const VERSION: u8 = 1;

/// What is asked.
pub(super) enum Request {
    Read(Prefixes),
    Commit(Txn),
    Watch(Prefixes, Revision),
    /// No more answers to request so-and-so.
    Stop(u64),
}

/// What is answered.
pub(super) enum Answer {
    /// A page of a snapshot; `Snapshot` is the last.
    Page(Vec<(Key, Arc<Record>)>),
    Snapshot(Revision),
    Committed(Revision),
    Changes(Changes),
    Reached(Revision),
    Failed(StoreError),
}

/// Writes one request.
pub(super) fn encode_request(id: u64, request: &Request) -> Vec<u8> {
    let mut out = Out(vec![VERSION]);
    out.u64(id);
    match request {
        Request::Read(prefixes) => {
            out.u8(0);
            out.prefixes(prefixes);
        }
        Request::Commit(txn) => {
            out.u8(1);
            out.u32(txn.guards.len());
            txn.guards.iter().for_each(|guard| out.guard(guard));
            out.u32(txn.writes.len());
            for write in &txn.writes {
                out.text(write.key.as_str());
                out.value(write.value.as_ref().map(|value| (value.schema, &*value.bytes)));
            }
        }
        Request::Watch(prefixes, after) => {
            out.u8(2);
            out.prefixes(prefixes);
            out.revision(*after);
        }
        Request::Stop(which) => {
            out.u8(3);
            out.u64(*which);
        }
    }
    out.0
}

/// Reads one request and its id; `None` for what no client of this version writes.
pub(super) fn decode_request(frame: &[u8]) -> Option<(u64, Request)> {
    let mut from = In(frame);
    if from.u8()? != VERSION {
        return None;
    }
    let id = from.u64()?;
    let request = match from.u8()? {
        0 => Request::Read(from.prefixes()?),
        1 => {
            let mut txn = Txn::new();
            for _ in 0..from.count(9)? {
                txn = txn.guard(from.guard()?);
            }
            for _ in 0..from.count(5)? {
                let key = Key::new(from.text()?);
                let value = from.value()?;
                let value = value.map(|(schema, bytes)| Value { schema, bytes: bytes.into(), decoded: None });
                txn.writes.push(Write { key, value });
            }
            Request::Commit(txn)
        }
        2 => Request::Watch(from.prefixes()?, from.revision()?),
        3 => Request::Stop(from.u64()?),
        _ => return None,
    };
    from.0.is_empty().then_some((id, request))
}

/// Writes one answer.
pub(super) fn encode_answer(id: u64, place: u64, answer: &Answer) -> Vec<u8> {
    let mut out = Out(Vec::new());
    out.u64(id);
    out.u64(place);
    match answer {
        Answer::Page(records) => {
            out.u8(0);
            out.u32(records.len());
            for (key, record) in records {
                out.text(key.as_str());
                out.record(record);
            }
        }
        Answer::Snapshot(revision) => {
            out.u8(1);
            out.revision(*revision);
        }
        Answer::Committed(revision) => {
            out.u8(2);
            out.revision(*revision);
        }
        Answer::Changes(changes) => {
            out.u8(3);
            out.revision(changes.revision);
            out.u32(changes.changes.len());
            for change in &changes.changes {
                out.text(change.key.as_str());
                out.u8(u8::from(change.record.is_some()));
                if let Some(record) = &change.record {
                    out.record(record);
                }
            }
        }
        Answer::Reached(revision) => {
            out.u8(4);
            out.revision(*revision);
        }
        Answer::Failed(error) => {
            out.u8(5);
            out.error(error);
        }
    }
    out.0
}

/// Reads one answer, the id of its request, and its place.
pub(super) fn decode_answer(frame: &[u8]) -> Option<(u64, u64, Answer)> {
    let mut from = In(frame);
    let (id, place) = (from.u64()?, from.u64()?);
    let answer = match from.u8()? {
        0 => {
            let mut records = Vec::new();
            for _ in 0..from.count(28)? {
                records.push((Key::new(from.text()?), from.record()?));
            }
            Answer::Page(records)
        }
        1 => Answer::Snapshot(from.revision()?),
        2 => Answer::Committed(from.revision()?),
        3 => {
            let revision = from.revision()?;
            let mut changes = Vec::new();
            for _ in 0..from.count(5)? {
                let key = Key::new(from.text()?);
                let record = if from.u8()? == 0 { None } else { Some(from.record()?) };
                changes.push(Change { key, record });
            }
            Answer::Changes(Changes { revision, changes })
        }
        4 => Answer::Reached(from.revision()?),
        5 => Answer::Failed(from.error()?),
        _ => return None,
    };
    from.0.is_empty().then_some((id, place, answer))
}

struct Out(Vec<u8>);

impl Out {
    fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    /// A count or length: all are bounded far below what fits.
    fn u32(&mut self, number: usize) {
        self.0.extend((number as u32).to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len());
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn revision(&mut self, revision: Revision) {
        self.u64(revision.epoch);
        self.u64(revision.number);
    }

    fn prefixes(&mut self, prefixes: &Prefixes) {
        self.u32(prefixes.iter().count());
        prefixes.iter().for_each(|prefix| self.text(prefix.as_str()));
    }

    fn guard(&mut self, guard: &Guard) {
        self.text(guard.key().as_str());
        match guard {
            Guard::Absent(_) => self.u8(0),
            Guard::At(_, revision) => {
                self.u8(1);
                self.revision(*revision);
            }
        }
    }

    fn value(&mut self, value: Option<(u32, &[u8])>) {
        self.u8(u8::from(value.is_some()));
        if let Some((schema, bytes)) = value {
            self.0.extend(schema.to_le_bytes());
            self.bytes(bytes);
        }
    }

    fn record(&mut self, record: &Record) {
        self.revision(record.revision());
        self.0.extend(record.schema().to_le_bytes());
        self.bytes(record.bytes());
    }

    fn error(&mut self, error: &StoreError) {
        match error {
            StoreError::Refused(guard) => {
                self.u8(0);
                self.guard(guard);
            }
            StoreError::OutcomeUnknown { cause } => {
                self.u8(1);
                self.text(&cause.to_string());
            }
            StoreError::Moving => self.u8(2),
            StoreError::Denied { who, what } => {
                self.u8(3);
                self.text(who);
                self.text(what);
            }
            StoreError::Compacted { after } => {
                self.u8(4);
                self.revision(*after);
            }
            // What else goes wrong there is, seen from here, all the same.
            other => {
                self.u8(5);
                self.text(&other.to_string());
            }
        }
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, others) = self.0.split_first_chunk::<N>()?;
        self.0 = others;
        Some(*first)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// How many things follow, each of at least `size` bytes: a number that cannot be true is refused.
    fn count(&mut self, size: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count.checked_mul(size)? <= self.0.len()).then_some(count)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (first, others) = self.0.split_at_checked(length)?;
        self.0 = others;
        Some(first)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn revision(&mut self) -> Option<Revision> {
        Some(Revision { epoch: self.u64()?, number: self.u64()? })
    }

    fn prefixes(&mut self) -> Option<Prefixes> {
        let mut prefixes = Vec::new();
        for _ in 0..self.count(4)? {
            prefixes.push(Prefix::new(self.text()?));
        }
        Some(Prefixes::new(prefixes))
    }

    fn guard(&mut self) -> Option<Guard> {
        let key = Key::new(self.text()?);
        match self.u8()? {
            0 => Some(Guard::Absent(key)),
            1 => Some(Guard::At(key, self.revision()?)),
            _ => None,
        }
    }

    fn value(&mut self) -> Option<Option<(u32, &'a [u8])>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some((self.u32()?, self.bytes()?))),
            _ => None,
        }
    }

    fn record(&mut self) -> Option<Arc<Record>> {
        Some(Arc::new(Record::new(self.revision()?, self.u32()?, self.bytes()?.into())))
    }

    fn error(&mut self) -> Option<StoreError> {
        let elsewhere = |detail: &str| StoreError::Unavailable {
            tried: "use the manager's store".to_owned(),
            detail: detail.to_owned(),
        };
        Some(match self.u8()? {
            0 => StoreError::Refused(self.guard()?),
            1 => StoreError::OutcomeUnknown { cause: Arc::new(elsewhere(self.text()?)) },
            2 => StoreError::Moving,
            3 => StoreError::Denied { who: self.text()?.to_owned(), what: self.text()?.to_owned() },
            4 => StoreError::Compacted { after: self.revision()? },
            5 => elsewhere(self.text()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_no_cut_or_lengthened_frame_is() {
        let at = Revision { epoch: 2, number: 7 };
        let txn = Txn::new().guard_absent("a").guard_at("b", at).put_bytes("c", 3, *b"\xff\0").delete("d");
        let record = Arc::new(Record::new(at, 4, (*b"value").into()));
        let requests = [
            Request::Read(["a/", "b/"].into()),
            Request::Commit(txn),
            Request::Watch(Prefixes::all(), at),
            Request::Stop(9),
        ];
        for request in requests {
            let frame = encode_request(5, &request);
            let (id, again) = decode_request(&frame).unwrap();
            assert_eq!((id, encode_request(5, &again)), (5, frame.clone()));
            assert!((0..frame.len()).all(|cut| decode_request(&frame[..cut]).is_none()));
            assert!(decode_request(&[&frame[..], b"x"].concat()).is_none());
        }
        let change = |record| Change { key: Key::new("a"), record };
        let answers = [
            Answer::Page(vec![(Key::new("a"), record.clone())]),
            Answer::Snapshot(at),
            Answer::Committed(at),
            Answer::Changes(Changes { revision: at, changes: vec![change(Some(record)), change(None)] }),
            Answer::Reached(at),
            Answer::Failed(StoreError::Refused(Guard::At(Key::new("a"), at))),
            Answer::Failed(StoreError::Compacted { after: at }),
            Answer::Failed(StoreError::Denied { who: "a".to_owned(), what: "b".to_owned() }),
            Answer::Failed(StoreError::Moving),
        ];
        for answer in answers {
            let frame = encode_answer(5, 6, &answer);
            let (id, place, again) = decode_answer(&frame).unwrap();
            assert_eq!((id, place, encode_answer(5, 6, &again)), (5, 6, frame.clone()));
            assert!((0..frame.len()).all(|cut| decode_answer(&frame[..cut]).is_none()));
        }
    }

    #[test]
    fn a_number_that_cannot_be_true_reserves_nothing() {
        let mut frame = encode_request(1, &Request::Commit(Txn::new()));
        let end = frame.len() - 8;
        frame[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode_request(&frame).is_none());
    }
}
