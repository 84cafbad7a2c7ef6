//! What a build leaves on its way to the client: files by fsutil's protocol, the sender's half (tonistiigi/fsutil
//! `send.go`), or one stream of bytes.

use super::{
    mode,
    proto::{
        BytesMessage,
        fsutil::{self, Packet, Stat},
    },
    sessions::Session,
};
use bytes::Bytes;
use futures_util::stream::{self, poll_fn};
use minke_engine::build::seam::{Entry, Files};
use std::{
    collections::BTreeMap,
    collections::HashMap,
    future::Future,
    io::{self, Read as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
};
use tonic::{
    Request, Status, Streaming,
    metadata::{AsciiMetadataKey, MetadataMap, MetadataValue},
};

/// Where a client takes what a build leaves.
pub(crate) const DIFF_COPY: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Bytes of a file, or of a tar, in one message.
const PIECE: usize = 32 << 10;
/// Messages that wait for the client.
const WAITING: usize = 32;

/// The field that says which of the client's exporters is meant (BuildKit `session/filesync/filesync.go`).
fn address(fields: &mut MetadataMap, exporter: &str) -> Result<(), Status> {
    put(fields, "buildkit-attachable-exporter-id", exporter)
}

fn put(fields: &mut MetadataMap, name: &str, value: &str) -> Result<(), Status> {
    let wrong = || Status::invalid_argument(format!("cannot tell the client {name:?}: {value:?}"));
    let key = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    fields.insert(key, MetadataValue::try_from(value).map_err(|_| wrong())?);
    Ok(())
}

fn check(session: &Session) -> Result<(), Status> {
    match session.serves(DIFF_COPY) {
        true => Ok(()),
        false => Err(Status::unimplemented(format!("method {DIFF_COPY} not supported by the client"))),
    }
}

/// Sends files until the client says that it has all that it wants.
pub(crate) async fn files(session: &Session, exporter: &str, files: Arc<dyn Files>) -> Result<(), Status> {
    check(session)?;
    let (say, mut said) = mpsc::channel::<Packet>(WAITING);
    let mut request = Request::new(poll_fn(move |cx| said.poll_recv(cx)));
    address(request.metadata_mut(), exporter)?;
    let answers = session.channel().streaming::<Packet, Packet>(DIFF_COPY, request);
    let mut answers = exchange(files, say, answers).await?;
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Tells every entry and sends what is asked for, up to the last word of both sides. Who answers may do so only once
/// it was told something.
pub(crate) async fn exchange(
    files: Arc<dyn Files>,
    say: mpsc::Sender<Packet>,
    answers: impl Future<Output = Result<Streaming<Packet>, Status>>,
) -> Result<Streaming<Packet>, Status> {
    let (list, mut listed) = mpsc::unbounded_channel();
    let (ask, asked) = std::sync::mpsc::channel();
    let names = {
        let (files, say) = (files.clone(), say.clone());
        tokio::task::spawn_blocking(move || walk(&*files, &say, &list))
    };
    let contents = {
        let (files, say) = (files.clone(), say.clone());
        tokio::task::spawn_blocking(move || contents(&*files, &say, asked))
    };
    let mut answers = answers.await?;
    // What regular files there are, by their numbers; each can be asked for once.
    let mut known: HashMap<u32, String> = HashMap::new();
    let mut ask = Some(ask);
    let finished = loop {
        let packet = match answers.message().await {
            Ok(Some(packet)) => packet,
            Ok(None) => break Err(Status::data_loss("the client took not all of what the build left")),
            Err(e) => break Err(e),
        };
        match packet.kind {
            fsutil::REQ => {
                // It was told of before it could be asked for, so it is in the list by now.
                while let Ok((id, path)) = listed.try_recv() {
                    known.insert(id, path);
                }
                let Some(path) = known.remove(&packet.id) else {
                    break Err(Status::invalid_argument(format!("invalid file id {}", packet.id)));
                };
                if ask.as_ref().is_none_or(|ask| ask.send((packet.id, path)).is_err()) {
                    break Err(Status::internal("the files went away"));
                }
            }
            fsutil::FIN => {
                drop(ask.take());
                break Ok(());
            }
            fsutil::ERR => {
                let why = String::from_utf8_lossy(&packet.data).into_owned();
                break Err(Status::unknown(format!("error from receiver: {why}")));
            }
            other => break Err(Status::invalid_argument(format!("a packet of unknown type {other}"))),
        }
    };
    drop(ask);
    finished?;
    for job in [names, contents] {
        let done = job.await.map_err(|e| Status::internal(format!("sending files: {e}")))?;
        done.map_err(|e| Status::unknown(format!("cannot read what the build left: {e}")))?;
    }
    // The answer to its last word, then the end.
    let _ = say.send(Packet { kind: fsutil::FIN, ..Packet::default() }).await;
    Ok(answers)
}

/// Tells every entry.
fn walk(
    files: &dyn Files,
    say: &mpsc::Sender<Packet>,
    list: &mpsc::UnboundedSender<(u32, String)>,
) -> io::Result<()> {
    let mut id = 0;
    files.walk(&mut |entry| {
        if mode::is_regular(entry.mode) {
            // An error says that nobody will ask.
            let _ = list.send((id, entry.path.clone()));
        }
        id += 1;
        tell(say, Packet { kind: fsutil::STAT, stat: Some(stat(entry)), ..Packet::default() })
    })?;
    tell(say, Packet { kind: fsutil::STAT, ..Packet::default() })
}

/// Sends the bytes of files as they are asked for.
fn contents(
    files: &dyn Files,
    say: &mpsc::Sender<Packet>,
    asked: std::sync::mpsc::Receiver<(u32, String)>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    for (id, path) in asked {
        let mut file = files.open(&path)?;
        loop {
            let n = file.read(&mut buffer)?;
            let data = Bytes::copy_from_slice(&buffer[..n]);
            // A packet without bytes is the file's end.
            tell(say, Packet { kind: fsutil::DATA, id, data, ..Packet::default() })?;
            if n == 0 {
                break;
            }
        }
    }
    Ok(())
}

fn tell(say: &mpsc::Sender<Packet>, packet: Packet) -> io::Result<()> {
    say.blocking_send(packet).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
}

/// An entry as it travels.
pub(crate) fn stat(entry: Entry) -> Stat {
    Stat {
        mode: mode::to_go(entry.mode),
        uid: entry.uid,
        gid: entry.gid,
        size: i64::try_from(entry.size).unwrap_or(i64::MAX),
        mod_time: entry.mtime,
        linkname: entry.link.unwrap_or_default(),
        devmajor: entry.major.into(),
        devminor: entry.minor.into(),
        xattrs: entry.xattrs,
        path: entry.path,
    }
}

/// One stream of bytes to the client; shut down, it waits until the client has all.
#[derive(Debug)]
pub(crate) struct TarSink {
    near: DuplexStream,
    carried: JoinHandle<Result<(), Status>>,
}

impl TarSink {
    /// Opens it.
    pub(crate) fn open(
        session: Arc<Session>,
        exporter: &str,
        about: BTreeMap<String, String>,
    ) -> Result<Self, Status> {
        check(&session)?;
        let (near, far) = tokio::io::duplex(4 * PIECE);
        let pieces = stream::unfold(far, |mut far| async move {
            let mut piece = bytes::BytesMut::with_capacity(PIECE);
            // The near end never fails, it only ends.
            let n = far.read_buf(&mut piece).await.unwrap_or(0);
            (n > 0).then(|| (BytesMessage { data: piece.freeze() }, far))
        });
        let mut request = Request::new(pieces);
        address(request.metadata_mut(), exporter)?;
        for (name, value) in about {
            put(request.metadata_mut(), &format!("exporter-md-{name}"), &value)?;
        }
        let carried = tokio::spawn(async move {
            let channel = session.channel();
            let mut answers = channel.streaming::<BytesMessage, BytesMessage>(DIFF_COPY, request).await?;
            while answers.message().await?.is_some() {}
            Ok(())
        });
        Ok(Self { near, carried })
    }
}

impl Drop for TarSink {
    fn drop(&mut self) {
        self.carried.abort();
    }
}

impl AsyncWrite for TarSink {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.near).poll_shutdown(cx))?;
        let ended = ready!(Pin::new(&mut self.carried).poll(cx));
        let told = ended.unwrap_or_else(|e| Err(Status::internal(e.to_string())));
        Poll::Ready(told.map_err(|e| io::Error::other(e.message().to_owned())))
    }
}
