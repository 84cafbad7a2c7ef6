//! One connection to a daemon: a Unix socket, TCP, TLS, or the pipes of an `ssh` child.

use super::{ClientError, Host};
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, Command, Stdio};

/// An open connection, its halves apart so that two threads can use it.
pub(crate) struct Connection {
    /// What the daemon sends.
    pub(crate) reader: BufReader<Box<dyn Read + Send>>,
    /// What it gets.
    pub(crate) writer: Sender,
}

/// The half that writes.
pub(crate) enum Sender {
    /// A Unix socket.
    Unix(UnixStream),
    /// A TCP connection.
    Tcp(TcpStream),
    /// TLS on such.
    Tls(super::tls::Transmitter),
    /// The standard input of `ssh`; `None` once closed.
    Pipe(Option<ChildStdin>),
}

impl Connection {
    /// Dials `host`.
    pub(crate) fn open(host: &Host) -> Result<Self, ClientError> {
        let (reader, writer): (Box<dyn Read + Send>, Sender) = match host {
            Host::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|cause| unreachable(host, cause))?;
                (Box::new(stream.try_clone()?), Sender::Unix(stream))
            }
            Host::Tcp(address) => {
                let stream = TcpStream::connect(address).map_err(|cause| unreachable(host, cause))?;
                stream.set_nodelay(true)?;
                (Box::new(stream.try_clone()?), Sender::Tcp(stream))
            }
            Host::Tls { address, trust } => {
                let (receiver, transmitter) = super::tls::connect(address, trust)?;
                (Box::new(receiver), Sender::Tls(transmitter))
            }
            Host::Ssh { arguments, program } => {
                let mut child = Command::new("ssh")
                    .args(arguments)
                    .args(["--", program, "system", "dial-stdio"])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .map_err(|cause| ClientError::Connect(format!("cannot start ssh: {cause}")))?;
                let pipes = child.stdout.take().zip(child.stdin.take());
                let (stdout, stdin) = pipes.ok_or_else(|| ClientError::Connect("ssh has no pipes".into()))?;
                (Box::new(stdout), Sender::Pipe(Some(stdin)))
            }
        };
        Ok(Self { reader: BufReader::with_capacity(32 * 1024, reader), writer })
    }
}

/// Names why a dial failed, as docker's command line does.
pub(super) fn unreachable(host: &Host, cause: io::Error) -> ClientError {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied { host: host.to_string(), cause },
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Unreachable {
            host: host.to_string(),
            daemon: if crate::cli::program() == "docker" { "Docker" } else { "Minke" },
        },
        _ => ClientError::Connect(format!("dial {host}: {cause}")),
    }
}

impl Sender {
    /// Tells the other side that nothing more comes; its answers still arrive.
    pub(crate) fn finish(&mut self) {
        match self {
            Sender::Unix(stream) => {
                let _ = stream.shutdown(Shutdown::Write);
            }
            Sender::Tcp(stream) => {
                let _ = stream.shutdown(Shutdown::Write);
            }
            Sender::Tls(transmitter) => transmitter.finish(),
            Sender::Pipe(pipe) => *pipe = None,
        }
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sender::Unix(stream) => stream.write(bytes),
            Sender::Tcp(stream) => stream.write(bytes),
            Sender::Tls(transmitter) => transmitter.write(bytes),
            Sender::Pipe(Some(pipe)) => pipe.write(bytes),
            Sender::Pipe(None) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sender::Pipe(Some(pipe)) => pipe.flush(),
            _ => Ok(()),
        }
    }
}
