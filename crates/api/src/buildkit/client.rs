//! A client as the build room knows one, by its sessions: its directories, secrets, agents, credentials, and where it
//! takes what a build leaves.

use super::{
    blobs::ClientBlobs,
    proto::{
        BytesMessage, Empty,
        session::{
            CheckAgentRequest, CredentialsRequest, CredentialsResponse, GetSecretRequest, GetSecretResponse,
        },
    },
    receive,
    send::{self, TarSink},
    sessions::{Session, Sessions},
};
use futures_util::{future::BoxFuture, stream};
use minke_engine::{
    Images,
    build::{
        BuildError, Client, Upload,
        error::Result,
        seam::{Blobs, Duplex, Files, Incoming, Wanted},
    },
    registry::RegistryAuth,
};
use minke_model::Kind;
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::OnceCell,
};
use tonic::{Code, Request, Status, metadata::MetadataValue};

const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const PULL: &str = "/moby.upload.v1.Upload/Pull";
/// How long a client may think about its credentials: it may ask a helper, or a person (as BuildKit).
const CREDENTIALS_TIME: Duration = Duration::from_secs(60);
/// Bytes of an agent's talk in one message.
const PIECE: usize = 32 << 10;
/// The largest secret, bytes (BuildKit's own bound).
const MOST_SECRET: usize = 500 << 10;
/// Streams that one build's client uploads.
const MOST_UPLOADS: usize = 16;
/// How a client names a stream that it uploads.
pub(crate) const UPLOAD: &str = "http://buildkit-session/";

/// A client of one build.
pub(crate) struct SessionClient {
    sessions: Arc<Sessions>,
    /// The build's own.
    session: Arc<Session>,
    /// Directories that other sessions serve: name and session.
    elsewhere: BTreeMap<String, String>,
    /// Where what it uploads is unpacked.
    images: Images,
    /// What it uploaded, each taken once.
    uploads: Mutex<HashMap<String, Arc<OnceCell<Arc<Upload>>>>>,
}

/// A client's answer as the build room's error.
pub(crate) fn failed(what: &str, e: Status) -> BuildError {
    let kind = match e.code() {
        Code::NotFound => Kind::NotFound,
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => Kind::Invalid,
        Code::AlreadyExists | Code::Aborted => Kind::Conflict,
        Code::PermissionDenied => Kind::Forbidden,
        Code::Unauthenticated => Kind::Unauthorized,
        Code::Unimplemented => Kind::NotImplemented,
        Code::Unavailable => Kind::Unavailable,
        Code::ResourceExhausted => Kind::Exhausted,
        Code::Cancelled => return BuildError::Cancelled,
        Code::DeadlineExceeded => Kind::Deadline,
        Code::DataLoss => Kind::DataLoss,
        Code::Ok | Code::Unknown | Code::Internal => Kind::Internal,
    };
    BuildError::Other { kind, message: format!("cannot {what}: {}", e.message()) }
}

impl SessionClient {
    /// Of a build's session; `elsewhere` says which directories other sessions serve.
    pub(crate) fn new(
        sessions: Arc<Sessions>,
        session: Arc<Session>,
        elsewhere: BTreeMap<String, String>,
        images: Images,
    ) -> Self {
        Self { sessions, session, elsewhere, images, uploads: Mutex::default() }
    }

    async fn directory_session(&self, local: &str) -> Result<Arc<Session>> {
        match self.elsewhere.get(local) {
            // A session that is gone may have left the directory to the build's own (as BuildKit's `local` source).
            Some(id) => Ok(self.sessions.find(id).await.unwrap_or_else(|_| self.session.clone())),
            None => Ok(self.session.clone()),
        }
    }

    async fn sync(&self, local: &str, wanted: Wanted, into: Incoming) -> Result<()> {
        if let Some(id) = local.strip_prefix(UPLOAD) {
            return self.upload(id).await?.sync(local, wanted, into).await;
        }
        let session = self.directory_session(local).await?;
        if !session.serves(receive::DIFF_COPY) {
            return Err(BuildError::Other {
                kind: Kind::Invalid,
                message: "no local sources enabled".into(),
            });
        }
        receive::receive(&session, local, &wanted, into).await.map_err(|e| match e.code() {
            // The client's own sentences stand as they are.
            Code::NotFound | Code::Unknown => {
                BuildError::Other { kind: Kind::Internal, message: e.message().to_owned() }
            }
            _ => failed(&format!("take the client's directory {local:?}"), e),
        })
    }

    /// A tar that the client streams is, once it is unpacked, as good as a directory.
    async fn upload(&self, id: &str) -> Result<Arc<Upload>> {
        let place = {
            let mut uploads = self.uploads.lock().unwrap_or_else(|e| e.into_inner());
            if uploads.len() >= MOST_UPLOADS && !uploads.contains_key(id) {
                return Err(BuildError::invalid(format!("more than {MOST_UPLOADS} uploads of one build")));
            }
            uploads.entry(id.to_owned()).or_default().clone()
        };
        Ok(place.get_or_try_init(|| self.pull(id)).await?.clone())
    }

    async fn pull(&self, id: &str) -> Result<Arc<Upload>> {
        let wrong = |e: Status| failed("take what the client uploads", e);
        let mut request = Request::new(stream::pending::<BytesMessage>());
        let path = MetadataValue::try_from(format!("/{id}"));
        let path = path.map_err(|_| wrong(Status::invalid_argument(format!("{id:?} is no name"))))?;
        request.metadata_mut().insert("urlpath", path);
        request.metadata_mut().insert("urlhost", MetadataValue::from_static("buildkit-session"));
        let channel = self.session.channel();
        let mut pieces = channel.streaming::<_, BytesMessage>(PULL, request).await.map_err(wrong)?;
        let (sender, body) = minke_engine::body::feed();
        let images = self.images.clone();
        let unpacked = tokio::task::spawn_blocking(move || Upload::unpack(&images, body));
        let fed = async {
            let ended = loop {
                match pieces.message().await {
                    // Whoever unpacks may have its reasons to stop early, and says them.
                    Ok(Some(piece)) => {
                        if sender.send(Ok(piece.data)).await.is_err() {
                            break Ok(());
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(e) => {
                        let _ = sender.send(Err(io::Error::other(e.message().to_owned()))).await;
                        break Err(wrong(e));
                    }
                }
            };
            drop(sender);
            ended
        };
        let (fed, unpacked) = tokio::join!(fed, unpacked);
        fed?;
        let upload =
            unpacked.map_err(|e| BuildError::other(Kind::Internal, format!("unpacking ended: {e}")))??;
        Ok(Arc::new(upload))
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let request = GetSecretRequest { id: id.to_owned() };
        match self.session.channel().unary::<_, GetSecretResponse>(GET_SECRET, request).await {
            Ok(answer) if answer.data.len() > MOST_SECRET => Err(BuildError::Other {
                kind: Kind::Invalid,
                message: format!("secret {id} is larger than {MOST_SECRET} bytes"),
            }),
            Ok(answer) => Ok(Some(answer.data)),
            Err(e) if matches!(e.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
            Err(e) => Err(failed(&format!("get secret {id} from the client"), e)),
        }
    }

    async fn has_ssh(&self, id: &str) -> Result<bool> {
        let request = CheckAgentRequest { id: id.to_owned() };
        match self.session.channel().unary::<_, Empty>(CHECK_AGENT, request).await {
            Ok(_) => Ok(true),
            // BuildKit's provider answers with an error of no kind where it has no such agent.
            Err(e) if matches!(e.code(), Code::NotFound | Code::Unimplemented | Code::Unknown) => Ok(false),
            Err(e) => Err(failed(&format!("ask the client for ssh agent {id}"), e)),
        }
    }

    async fn ssh(&self, id: &str) -> Result<Box<dyn Duplex>> {
        let what = format!("reach the client's ssh agent {id}");
        let (near, far) = tokio::io::duplex(4 * PIECE);
        let (mut read, mut write) = tokio::io::split(far);
        let (say, mut said) = tokio::sync::mpsc::channel(1);
        let mut request = Request::new(stream::poll_fn(move |cx| said.poll_recv(cx)));
        let name = MetadataValue::try_from(id)
            .map_err(|_| failed(&what, Status::invalid_argument("its name is none")))?;
        request.metadata_mut().insert("buildkit.ssh.id", name);
        let channel = self.session.channel().clone();
        tokio::spawn(async move {
            let asks = async {
                loop {
                    let mut piece = bytes::BytesMut::with_capacity(PIECE);
                    match read.read_buf(&mut piece).await {
                        Ok(1..) if say.send(BytesMessage { data: piece.freeze() }).await.is_ok() => {}
                        _ => return drop(say),
                    }
                }
            };
            // A client answers nothing before its agent was asked something.
            let answers = async {
                match channel.streaming::<BytesMessage, BytesMessage>(FORWARD_AGENT, request).await {
                    Ok(mut answers) => {
                        while let Ok(Some(piece)) = answers.message().await {
                            if write.write_all(&piece.data).await.is_err() {
                                break;
                            }
                        }
                    }
                    Err(e) => tracing::debug!("cannot {what}: {}", e.message()),
                }
                // The near end may be gone already.
                let _ = write.shutdown().await;
            };
            tokio::join!(asks, answers);
        });
        Ok(Box::new(near))
    }

    async fn auth(&self, registry: &str) -> Result<Option<RegistryAuth>> {
        // Clients keep Docker Hub's under a name of its own, which they find by this one.
        let host = match registry {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        };
        let request = CredentialsRequest { host: host.to_owned() };
        let asked = self.session.channel().unary::<_, CredentialsResponse>(CREDENTIALS, request);
        let what = format!("get the client's credentials for {registry}");
        let answer = match tokio::time::timeout(CREDENTIALS_TIME, asked).await {
            Err(_) => return Err(failed(&what, Status::deadline_exceeded("it took too long"))),
            Ok(Err(e)) if e.code() == Code::Unimplemented => return Ok(None),
            Ok(answer) => answer.map_err(|e| failed(&what, e))?,
        };
        let CredentialsResponse { username, secret } = answer;
        if username.is_empty() && secret.is_empty() {
            return Ok(None);
        }
        let (password, identity_token) = match username.is_empty() {
            true => (String::new(), secret),
            false => (secret, String::new()),
        };
        Ok(Some(RegistryAuth {
            username,
            password,
            identity_token,
            server_address: registry.to_owned(),
            ..RegistryAuth::default()
        }))
    }
}

impl Client for SessionClient {
    fn key(&self, local: &str) -> String {
        format!("{local}:{}", self.session.shared_key())
    }

    fn sync<'a>(&'a self, local: &'a str, wanted: Wanted, into: Incoming) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.sync(local, wanted, into))
    }

    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(self.secret(id))
    }

    fn has_ssh<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.has_ssh(id))
    }

    fn ssh<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>>> {
        Box::pin(self.ssh(id))
    }

    fn auth<'a>(&'a self, registry: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>>> {
        Box::pin(self.auth(registry))
    }

    fn send_tar<'a>(
        &'a self,
        exporter: &'a str,
        metadata: BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Box<dyn AsyncWrite + Send + Unpin>>> {
        let sink = TarSink::open(self.session.clone(), exporter, metadata);
        Box::pin(async move {
            let sink = sink.map_err(|e| failed("send the client what was built", e))?;
            Ok(Box::new(sink) as Box<dyn AsyncWrite + Send + Unpin>)
        })
    }

    fn send_files<'a>(&'a self, exporter: &'a str, files: Arc<dyn Files>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let sent = send::files(&self.session, exporter, files).await;
            sent.map_err(|e| failed("send the client what was built", e))
        })
    }

    fn blobs(&self, store: &str) -> Option<Arc<dyn Blobs>> {
        let blobs = ClientBlobs::open(self.session.clone(), store)?;
        Some(Arc::new(blobs))
    }
}
