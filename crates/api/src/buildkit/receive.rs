//! A client's directory on its way to us: fsutil's protocol, the receiver's half (tonistiigi/fsutil `receive.go`).
//!
//! The client tells every entry of what it may send; we ask for the bytes of those that the near end wants, and say
//! when we have all. What an entry means on this machine, and where it goes, is the near end's.

use super::{
    mode,
    proto::fsutil::{self, Packet, Stat},
    sessions::Session,
};
use futures_util::stream::poll_fn;
use minke_engine::build::seam::{Entry, Incoming, Sent, Wanted};
use std::collections::HashSet;
use tokio::sync::mpsc;
use tonic::{
    Request, Status, Streaming,
    metadata::{AsciiMetadataKey, MetadataMap, MetadataValue},
};

/// Where a client serves its directories.
pub(crate) const DIFF_COPY: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// Entries of one directory.
const MOST_ENTRIES: u32 = 4 << 20;
/// Bytes of all their names, links and attributes together.
const MOST_NAMES: usize = 256 << 20;

/// Brings the client's directory `name`.
pub(crate) async fn receive(
    session: &Session,
    name: &str,
    wanted: &Wanted,
    into: Incoming,
) -> Result<(), Status> {
    // Not bounded by itself, but by the number of entries: a client that waits for us to read does not read.
    let (say, mut said) = mpsc::unbounded_channel();
    let mut request = Request::new(poll_fn(move |cx| said.poll_recv(cx)));
    ask(request.metadata_mut(), name, wanted)?;
    let packets = session.channel().streaming::<Packet, Packet>(DIFF_COPY, request).await?;
    let Incoming { send, wanted } = into;
    Receiver { packets, say, send, entries: 0, names: 0, open: HashSet::new(), asks_no_more: false }
        .run(wanted)
        .await
}

/// The fields that say which directory, and what of it (BuildKit `session/filesync/filesync.go`).
fn ask(fields: &mut MetadataMap, name: &str, wanted: &Wanted) -> Result<(), Status> {
    put(fields, "dir-name", std::slice::from_ref(&name.to_owned()))?;
    put(fields, "include-patterns", &wanted.include)?;
    put(fields, "exclude-patterns", &wanted.exclude)?;
    put(fields, "followpaths", &wanted.follow)
}

/// One field of several values; escaped as in a URL's query where they are not ASCII.
fn put(fields: &mut MetadataMap, name: &'static str, values: &[String]) -> Result<(), Status> {
    let plain = values.iter().all(|v| v.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
    for value in values {
        let text = if plain { value.clone() } else { query_escape(value) };
        let value = MetadataValue::try_from(text)
            .map_err(|_| Status::invalid_argument(format!("cannot ask the client for {value:?}")))?;
        fields.append(AsciiMetadataKey::from_static(name), value);
    }
    if !plain {
        let key = AsciiMetadataKey::from_bytes(format!("{name}-encoded").as_bytes());
        fields.insert(key.map_err(|_| Status::internal("a field's name"))?, MetadataValue::from_static("1"));
    }
    Ok(())
}

/// Go's `url.QueryEscape`.
fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte as char),
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

struct Receiver {
    packets: Streaming<Packet>,
    say: mpsc::UnboundedSender<Packet>,
    send: mpsc::Sender<Sent>,
    entries: u32,
    names: usize,
    /// Files that were asked for and have not ended.
    open: HashSet<u32>,
    asks_no_more: bool,
}

impl Receiver {
    async fn run(mut self, mut wanted: mpsc::UnboundedReceiver<u32>) -> Result<(), Status> {
        let mut finished = false;
        loop {
            if self.asks_no_more && self.open.is_empty() && !finished {
                finished = true;
                self.tell(Packet { kind: fsutil::FIN, ..Packet::default() })?;
            }
            let packet = tokio::select! {
                biased;
                id = wanted.recv(), if !self.asks_no_more => {
                    match id {
                        Some(id) => self.ask_for(id)?,
                        None => self.asks_no_more = true,
                    }
                    continue;
                }
                packet = self.packets.message() => packet?,
            };
            let Some(packet) = packet else {
                return Err(Status::data_loss("the client ended its directory in the middle"));
            };
            match packet.kind {
                fsutil::STAT => self.entry(packet.stat).await?,
                fsutil::DATA => self.data(packet.id, packet.data).await?,
                fsutil::FIN if finished => break,
                fsutil::FIN => return Err(Status::data_loss("the client ended its directory too early")),
                fsutil::ERR => {
                    let why = String::from_utf8_lossy(&packet.data);
                    return Err(Status::unknown(format!("error from sender: {why}")));
                }
                other => return Err(Status::invalid_argument(format!("a packet of unknown type {other}"))),
            }
        }
        self.pass(Sent::Finished).await
    }

    fn ask_for(&mut self, id: u32) -> Result<(), Status> {
        self.open.insert(id);
        self.tell(Packet { kind: fsutil::REQ, id, ..Packet::default() })
    }

    async fn entry(&mut self, stat: Option<Stat>) -> Result<(), Status> {
        let Some(stat) = stat else { return self.pass(Sent::Listed).await };
        self.entries += 1;
        let attributes: usize = stat.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.names = self.names.saturating_add(stat.path.len() + stat.linkname.len() + attributes);
        if self.entries > MOST_ENTRIES || self.names > MOST_NAMES {
            return Err(Status::resource_exhausted(format!(
                "a build context of more than {MOST_ENTRIES} files is too large: leave some out by .dockerignore"
            )));
        }
        let entry = entry(stat)?;
        self.pass(Sent::Entry(entry)).await
    }

    async fn data(&mut self, entry: u32, bytes: bytes::Bytes) -> Result<(), Status> {
        if !self.open.contains(&entry) {
            return Err(Status::invalid_argument(format!("invalid file request {entry}")));
        }
        if bytes.is_empty() {
            self.open.remove(&entry);
            return self.pass(Sent::End { entry }).await;
        }
        self.pass(Sent::Data { entry, bytes }).await
    }

    fn tell(&self, packet: Packet) -> Result<(), Status> {
        self.say.send(packet).map_err(|_| Status::unavailable("the client reads no more"))
    }

    async fn pass(&self, sent: Sent) -> Result<(), Status> {
        self.send.send(sent).await.map_err(|_| Status::cancelled("nobody takes the client's directory"))
    }
}

/// An entry as the rest of the house has it; refused where its path is none, or leads out.
fn entry(stat: Stat) -> Result<Entry, Status> {
    let refuse = |why: &str| Status::invalid_argument(format!("the client's file {:?} {why}", stat.path));
    let clean = |path: &str| {
        !path.is_empty()
            && !path.contains('\0')
            && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    };
    if !clean(&stat.path) {
        return Err(refuse("has a path that leads out of the directory, or none"));
    }
    let mode = mode::from_go(stat.mode).ok_or_else(|| refuse("is of a kind that there is not here"))?;
    if mode::is_regular(mode) && !stat.linkname.is_empty() && !clean(&stat.linkname) {
        return Err(refuse("is a hard link that leads out of the directory"));
    }
    let device = |number: i64| u32::try_from(number).map_err(|_| refuse("has no device number"));
    Ok(Entry {
        mode,
        uid: stat.uid,
        gid: stat.gid,
        size: u64::try_from(stat.size).map_err(|_| refuse("has a negative size"))?,
        mtime: stat.mod_time,
        major: device(stat.devmajor)?,
        minor: device(stat.devminor)?,
        link: (!stat.linkname.is_empty()).then_some(stat.linkname),
        xattrs: stat.xattrs,
        path: stat.path,
    })
}

#[cfg(test)]
mod tests;
