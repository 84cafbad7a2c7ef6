//! A store of blobs on the client's side: `containerd.services.content.v1` over its session, for caches of type
//! `local` and contexts of type `oci-layout`.

use super::{
    client::failed,
    proto::content::{self, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse},
    sessions::Session,
};
use bytes::{Bytes, BytesMut};
use content::{WriteContentRequest, WriteContentResponse};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use minke_engine::build::{BuildError, error::Result, seam::Blobs};
use minke_model::{Kind, id::Digest};
use std::{
    io::{self, Read as _},
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::mpsc;
use tonic::{Code, Request, Status, metadata::MetadataValue};

const INFO: &str = "/containerd.services.content.v1.Content/Info";
const READ: &str = "/containerd.services.content.v1.Content/Read";
const WRITE: &str = "/containerd.services.content.v1.Content/Write";
/// Bytes of a blob in one message.
const PIECE: usize = 1 << 20;
/// Messages that wait for the client.
const WAITING: usize = 4;

/// One store of one client.
#[derive(Debug)]
pub(crate) struct ClientBlobs {
    session: Arc<Session>,
    store: MetadataValue<tonic::metadata::Ascii>,
}

impl ClientBlobs {
    /// The client's store of that name, if it serves any.
    pub(crate) fn open(session: Arc<Session>, store: &str) -> Option<Self> {
        let store = MetadataValue::try_from(store).ok()?;
        session.serves(INFO).then_some(Self { session, store })
    }

    fn addressed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("buildkit-attachable-store-id", self.store.clone());
        request
    }

    async fn info(&self, digest: &Digest) -> Result<Option<u64>> {
        let request = self.addressed(InfoRequest { digest: digest.to_string() });
        match self.session.channel().unary::<InfoRequest, InfoResponse>(INFO, request).await {
            Ok(answer) => Ok(answer.info.map(|info| u64::try_from(info.size).unwrap_or_default())),
            Err(e) if e.code() == Code::NotFound => Ok(None),
            Err(e) => Err(failed("ask the client's store", e)),
        }
    }

    async fn read(&self, digest: &Digest, limit: u64) -> Result<Bytes> {
        let missing = || BuildError::Other {
            kind: Kind::NotFound,
            message: format!("the client's store has no {digest}: not found"),
        };
        let size = self.info(digest).await?.ok_or_else(missing)?;
        if size > limit {
            return Err(BuildError::Other {
                kind: Kind::Invalid,
                message: format!("the client's {digest} of {size} bytes is larger than {limit}"),
            });
        }
        let request = self.addressed(stream::iter([ReadContentRequest {
            digest: digest.to_string(),
            ..ReadContentRequest::default()
        }]));
        let wrong = |e: Status| failed("read the client's store", e);
        let channel = self.session.channel();
        let mut pieces = channel.streaming::<_, ReadContentResponse>(READ, request).await.map_err(wrong)?;
        let mut all = BytesMut::new();
        while let Some(piece) = pieces.message().await.map_err(wrong)? {
            if (all.len() + piece.data.len()) as u64 > limit {
                return Err(wrong(Status::data_loss("more bytes came than there are")));
            }
            all.extend_from_slice(&piece.data);
        }
        Ok(all.freeze())
    }

    async fn write(&self, digest: &Digest, size: u64, from: PathBuf) -> Result<()> {
        if self.info(digest).await?.is_some() {
            return Ok(());
        }
        let (say, mut said) = mpsc::channel(WAITING);
        let request = self.addressed(stream::poll_fn(move |cx| said.poll_recv(cx)));
        let wrong = |e: Status| failed("write to the client's store", e);
        let step = WriteContentRequest {
            reference: format!("minke-{}", digest.hex()),
            total: i64::try_from(size).unwrap_or(i64::MAX),
            expected: digest.to_string(),
            ..WriteContentRequest::default()
        };
        let reading = tokio::task::spawn_blocking(move || steps(&step, &from, &say));
        let channel = self.session.channel();
        let mut answers = channel
            .streaming::<WriteContentRequest, WriteContentResponse>(WRITE, request)
            .await
            .map_err(wrong)?;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) if answer.action == content::COMMIT => break,
                Ok(_) => {}
                // It came from elsewhere meanwhile.
                Err(e) if e.code() == Code::AlreadyExists => return Ok(()),
                Err(e) => return Err(wrong(e)),
            }
        }
        drop(answers);
        let read = reading.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        read.map_err(|e| BuildError::Io { what: format!("read {digest} for the client's store"), source: e })
    }
}

/// The steps of a write, from a file.
fn steps(
    step: &WriteContentRequest,
    from: &std::path::Path,
    say: &mpsc::Sender<WriteContentRequest>,
) -> io::Result<()> {
    let tell = |step| say.blocking_send(step).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
    tell(WriteContentRequest { action: content::STAT, ..step.clone() })?;
    let mut file = std::fs::File::open(from)?;
    let mut offset = 0;
    let mut buffer = vec![0; PIECE];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        let data = Bytes::copy_from_slice(&buffer[..n]);
        tell(WriteContentRequest { action: content::WRITE, offset, data, ..step.clone() })?;
        offset += n as i64;
    }
    tell(WriteContentRequest { action: content::COMMIT, offset, ..step.clone() })
}

impl Blobs for ClientBlobs {
    fn read<'a>(&'a self, digest: &'a Digest, limit: u64) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.read(digest, limit))
    }

    fn has<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(self.info(digest).await?.is_some()) })
    }

    fn write<'a>(&'a self, digest: &'a Digest, size: u64, from: PathBuf) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.write(digest, size, from))
    }
}
