//! The two connections of a build, and the runtime that carries them: the only command that has one.

use crate::{
    cli::{Cli, Failure},
    client::{Client, Upgraded, connection::Sender},
};
use minke_api::remote::{self, Ask, AskError, Control, Local};
use minke_engine::build::Progress;
use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    runtime::{Builder, Handle, Runtime},
};

/// Bytes that wait between a connection without descriptors of its own and us.
const BRIDGE: usize = 256 << 10;

/// Why there was no build.
pub(crate) enum Ended {
    /// The daemon says so.
    Build(AskError),
    /// Before it began.
    Other(Failure),
    /// The user does not want it any more.
    Interrupted,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Ended::Other(failure)
    }
}

/// A connection that is ours alone.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Bytes that came with the head of the answer, then the connection.
struct Begun {
    first: Vec<u8>,
    rest: Box<dyn Duplex>,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.rest).poll_read(cx, out);
        }
        let count = self.first.len().min(out.remaining());
        out.put_slice(&self.first[..count]);
        self.first.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(cx)
    }
}

/// Runs what speaks with a daemon.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(Failure::from)
}

/// Opens a connection on which HTTP/2 is spoken. Within a runtime.
fn open(client: &Client, path: &str, headers: &[(String, String)]) -> Result<impl Duplex + 'static, Failure> {
    let Upgraded { first, reader, writer } = client.upgrade(path, "h2c", headers)?;
    let rest: Box<dyn Duplex> = match writer {
        Sender::Unix(stream) => {
            stream.set_nonblocking(true)?;
            Box::new(tokio::net::UnixStream::from_std(stream)?)
        }
        Sender::Tcp(stream) => {
            stream.set_nonblocking(true)?;
            Box::new(tokio::net::TcpStream::from_std(stream)?)
        }
        other => Box::new(bridge(reader, other)),
    };
    Ok(Begun { first, rest })
}

/// The pipes of `ssh`, or TLS: carried by two threads.
fn bridge(mut reader: Box<dyn io::Read + Send>, mut writer: Sender) -> DuplexStream {
    let (near, far) = tokio::io::duplex(BRIDGE);
    let (mut out, mut into) = tokio::io::split(far);
    let runtime = Handle::current();
    let up = runtime.clone();
    std::thread::spawn(move || {
        let mut bytes = vec![0; BRIDGE / 4];
        while let Ok(count @ 1..) = up.block_on(out.read(&mut bytes)) {
            if writer.write_all(&bytes[..count]).and_then(|()| writer.flush()).is_err() {
                return;
            }
        }
        writer.finish();
    });
    std::thread::spawn(move || {
        let mut bytes = vec![0; BRIDGE / 4];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            if runtime.block_on(into.write_all(&bytes[..count])).is_err() {
                return;
            }
        }
        // The near end may be gone.
        let _ = runtime.block_on(into.shutdown());
    });
    near
}

/// A daemon's builds. Within a runtime.
pub(crate) async fn control(cli: &Cli) -> Result<Control, Failure> {
    let calls = open(cli.client()?, "/grpc", &[])?;
    Control::over(calls).await.map_err(|error| Failure::new(error.to_string()))
}

/// Builds, serving what we have meanwhile.
pub(crate) fn build(
    cli: &Cli,
    shared_key: &str,
    mut ask: Ask,
    local: Arc<dyn Local>,
    progress: Arc<dyn Progress>,
) -> Result<BTreeMap<String, String>, Ended> {
    ask.reference = random_name()?;
    ask.session = random_name()?;
    let mut headers = vec![
        ("X-Docker-Expose-Session-Uuid".to_owned(), ask.session.clone()),
        ("X-Docker-Expose-Session-Sharedkey".to_owned(), shared_key.to_owned()),
    ];
    for method in remote::METHODS {
        headers.push(("X-Docker-Expose-Session-Grpc-Method".to_owned(), method.to_owned()));
    }
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let session = open(cli.client()?, "/session", &headers)?;
        let served = tokio::spawn(remote::serve(session, local));
        let control = control(cli).await?;
        let mut interrupted = Box::pin(tokio::signal::ctrl_c());
        let done = tokio::select! {
            done = control.solve(ask, progress) => done.map_err(Ended::Build),
            _ = &mut interrupted => Err(Ended::Interrupted),
        };
        served.abort();
        done
    });
    // A thread may still wait for stdin.
    runtime.shutdown_background();
    done
}

/// 26 letters and digits.
fn random_name() -> Result<String, Failure> {
    let mut bytes = [0; 26];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let letter = |byte: u8| char::from(b"abcdefghijklmnopqrstuvwxyz012345"[usize::from(byte & 31)]);
    Ok(bytes.into_iter().map(letter).collect())
}
