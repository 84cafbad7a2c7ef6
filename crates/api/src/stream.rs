//! Streams between a client and a process: what attach and exec make of a connection.
//!
//! Without a terminal the process's side is framed as Docker frames it already; only a client that asked for the other
//! form gets its bytes changed. A client may end its half; the process then sees the end of its input. When the process ends its half, all is over.

use crate::{
    frames::{self, Framer, Framing},
    socket::Socket,
};
use minke_engine::container::Attachment;
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::UnixStream,
};

/// Bytes on their way in one direction.
const BUFFER: usize = 32 << 10;
/// What a client may send before its container starts.
const EARLY: usize = 64 << 10;
/// How long a client may take to notice that all is over. dockerd waits for as long as it takes.
const LINGER: Duration = Duration::from_secs(30);

/// The head that makes a connection a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The client asked to upgrade; else it gets a plain 200 as the first clients did.
    pub(crate) upgrade: bool,
    /// Frames, and the client knows a name for that.
    pub(crate) multiplexed: bool,
}

/// A raw stream's type.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// A framed stream's type.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

impl Head {
    /// As dockerd writes it, with `more` fields.
    pub(crate) fn to_bytes(self, more: &[(&str, &str)]) -> Vec<u8> {
        let mut head = match self.upgrade {
            true => {
                let kind = if self.multiplexed { MULTIPLEXED } else { RAW };
                format!(
                    "HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                )
            }
            false => format!("HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n"),
        };
        for (name, value) in more {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process closed its side.
    Process,
    /// The client went away.
    Client,
    /// The client typed its detach keys.
    Detached,
}

/// Carries bytes between the two until one ends, and lets the client notice.
pub(crate) async fn run(
    mut socket: Socket,
    attachment: Attachment,
    takes_input: bool,
    framing: Framing,
) -> End {
    let end = carry(&mut socket, attachment, takes_input, framing.framer()).await.unwrap_or(End::Client);
    if end != End::Client {
        farewell(&mut socket).await;
    }
    end
}

/// Says a last text, framed unless the client has a terminal.
pub(crate) async fn say(mut socket: Socket, tty: bool, text: &str) {
    let mut message = if tty { Vec::new() } else { frames::head(1, text.len()).to_vec() };
    message.extend_from_slice(text.as_bytes());
    // A client that is gone hears nothing.
    if socket.write_all(&message).await.is_ok() {
        farewell(&mut socket).await;
    }
}

async fn carry(
    socket: &mut Socket,
    attachment: Attachment,
    takes_input: bool,
    mut framer: Framer,
) -> io::Result<End> {
    let detach = attachment
        .detach
        .filter(|_| takes_input)
        .map(|mut keys| Box::new(move |typed: &[u8]| keys.feed(typed)) as Keys);
    let mut stream = attachment.stream;
    let replay = framer.pass(std::mem::take(&mut stream.replay));
    socket.write_all(&replay).await?;
    socket.flush().await?;
    let mut early = Early::default();
    let opened = tokio::select! {
        opened = stream.open() => opened,
        () = early.read(socket) => return Ok(End::Client),
    };
    let Some(process) = opened else { return Ok(End::Process) };
    let end = pump(socket, Pump::new(process, takes_input, detach, early, framer)).await?;
    if end == End::Process {
        let mut ended = attachment.ended;
        // An error is the follower's end: then the exit is known as well as it ever will be.
        tokio::select! {
            _ = ended.wait_for(|known| *known) => {}
            () = left(socket) => return Ok(End::Client),
        }
    }
    Ok(end)
}

/// Waits until the client goes away; what it still sends is nobody's.
async fn left(socket: &mut Socket) {
    let mut rest = [0u8; 4096];
    loop {
        match socket.read(&mut rest).await {
            Ok(0) if !socket.is_gone().await => return std::future::pending().await,
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Both directions, until one side's end.
async fn pump(socket: &mut Socket, mut pump: Pump) -> io::Result<End> {
    loop {
        match poll_fn(|cx| pump.poll(cx, socket)).await? {
            Event::ClientEnded if socket.is_gone().await => return Ok(End::Client),
            Event::ClientEnded => {}
            Event::ProcessEnded => return Ok(End::Process),
            Event::Detached => return Ok(End::Detached),
        }
    }
}

/// Ends our half and waits until the client has ended its own, so that it loses nothing of what was said: closing a
/// socket with unread bytes resets it.
async fn farewell(socket: &mut Socket) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0u8; 4096];
    let drained = async { while socket.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
    // A client that does not notice in time is left.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// What a client sent before there was a process.
#[derive(Debug, Default)]
struct Early {
    bytes: Vec<u8>,
    ended: bool,
}

impl Early {
    /// Reads on until the client goes away. A client that only ended its half, or sent as much as fits, is waited for.
    async fn read(&mut self, socket: &mut Socket) {
        loop {
            if self.ended || self.bytes.len() >= EARLY {
                return std::future::pending().await;
            }
            let mut chunk = [0u8; 4096];
            match socket.read(&mut chunk).await {
                Ok(0) if socket.is_gone().await => return,
                Ok(0) => self.ended = true,
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(_) => return,
            }
        }
    }
}

/// What a pump has to tell.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    ClientEnded,
    ProcessEnded,
    Detached,
}

/// Takes what was typed: what of it goes on, and whether the detach keys are complete.
type Keys = Box<dyn FnMut(&[u8]) -> (Vec<u8>, bool) + Send>;

/// Both directions between a client and a process.
struct Pump {
    process: UnixStream,
    input: Pipe,
    output: Pipe,
    framer: Framer,
    takes_input: bool,
    detach: Option<Keys>,
    /// The client ended its half, and it was told.
    client_ended: bool,
    /// The process's input was closed.
    input_closed: bool,
    detached: bool,
}

impl Pump {
    fn new(
        process: UnixStream,
        takes_input: bool,
        detach: Option<Keys>,
        early: Early,
        framer: Framer,
    ) -> Self {
        let mut pump = Self {
            process,
            input: Pipe::default(),
            output: Pipe::default(),
            framer,
            takes_input,
            detach,
            client_ended: false,
            input_closed: false,
            detached: false,
        };
        pump.typed(early.bytes);
        pump.input.read_ended = early.ended;
        pump
    }

    /// Takes what the client sent.
    fn typed(&mut self, bytes: Vec<u8>) {
        let (bytes, detached) = match &mut self.detach {
            Some(keys) => keys(&bytes),
            None => (bytes, false),
        };
        self.detached |= detached;
        self.input.bytes = if self.takes_input { bytes } else { Vec::new() };
        self.input.written = 0;
    }

    fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<Event>> {
        // Output first: what the process said before it ended is not lost to an error of the client's half.
        match self.poll_output(cx, socket) {
            Poll::Ready(result) => return Poll::Ready(result.map(|()| Event::ProcessEnded)),
            Poll::Pending => {}
        }
        self.poll_input(cx, socket)
    }

    /// Ready when the process has ended its half and the client has it all.
    fn poll_output(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<()>> {
        loop {
            ready!(self.output.poll_write(cx, Pin::new(&mut *socket)))?;
            if self.output.read_ended {
                return Pin::new(socket).poll_flush(cx);
            }
            match self.output.poll_read(cx, Pin::new(&mut self.process)) {
                Poll::Ready(Ok(())) => {
                    let said = std::mem::take(&mut self.output.bytes);
                    self.output.bytes = self.framer.pass(said);
                }
                // The shim cut us off, or went away.
                Poll::Ready(Err(_)) => self.output.read_ended = true,
                Poll::Pending => {
                    ready!(Pin::new(&mut *socket).poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ready when the client has ended its half, or typed its keys.
    fn poll_input(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<Event>> {
        loop {
            if !self.input.is_empty()
                && ready!(self.input.poll_write(cx, Pin::new(&mut self.process))).is_err()
            {
                // The process reads no more; the client's words go nowhere, but its output still comes.
                self.takes_input = false;
                self.input.bytes.clear();
                self.input.written = 0;
            }
            if self.detached {
                return Poll::Ready(Ok(Event::Detached));
            }
            if self.input.read_ended {
                if !self.input_closed {
                    if self.takes_input {
                        // An error says that it is closed.
                        let _ = ready!(Pin::new(&mut self.process).poll_shutdown(cx));
                    }
                    self.input_closed = true;
                }
                if !self.client_ended {
                    self.client_ended = true;
                    return Poll::Ready(Ok(Event::ClientEnded));
                }
                return Poll::Pending;
            }
            ready!(self.input.poll_read(cx, Pin::new(&mut *socket)))?;
            let bytes = std::mem::take(&mut self.input.bytes);
            self.typed(bytes);
        }
    }
}

/// One direction's bytes on their way.
#[derive(Debug, Default)]
struct Pipe {
    bytes: Vec<u8>,
    written: usize,
    read_ended: bool,
}

impl Pipe {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Reads the next bytes; only when there are none.
    fn poll_read<R: AsyncRead>(&mut self, cx: &mut Context<'_>, reader: Pin<&mut R>) -> Poll<io::Result<()>> {
        self.bytes.resize(BUFFER, 0);
        self.written = 0;
        let mut buffer = ReadBuf::new(&mut self.bytes);
        let read = reader.poll_read(cx, &mut buffer);
        let n = buffer.filled().len();
        self.bytes.truncate(n);
        match read {
            Poll::Ready(Ok(())) => {
                self.read_ended = n == 0;
                Poll::Ready(Ok(()))
            }
            other => {
                self.bytes.clear();
                other
            }
        }
    }

    /// Ready when nothing is left to write.
    fn poll_write<W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut writer: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let n = ready!(writer.as_mut().poll_write(cx, &self.bytes[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
