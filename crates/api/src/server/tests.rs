//! The door, knocked at with bytes: what hyper, the takeover and the bounds do to real connections.

use super::*;
use crate::response::{chunks, whole};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
};

/// Answers by path.
struct Stub;

impl Handler for Stub {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, takeover: Option<Takeover>) -> Answer {
        match request.uri().path() {
            "/hello" => whole(StatusCode::OK, "text/plain", "hello"),
            "/panic" => panic!("as the test asks"),
            "/slow" => {
                let (sender, receiver) = oneshot::channel::<()>();
                let stream = futures_util::stream::once(async move {
                    // Nobody ever sends: the body never comes.
                    let _keep = sender;
                    let _ = receiver.await;
                    Ok(Bytes::new())
                });
                chunks("text/plain", stream)
            }
            "/echo" => {
                let Some(takeover) = takeover else { return response::empty(StatusCode::BAD_REQUEST) };
                takeover.claim(Box::new(|mut socket| {
                    Box::pin(async move {
                        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: raw\r\n\r\n").await;
                        let mut all = Vec::new();
                        let _ = socket.read_to_end(&mut all).await;
                        all.extend_from_slice(b"!");
                        let _ = socket.write_all(&all).await;
                        let _ = socket.shutdown().await;
                    })
                }));
                response::empty(StatusCode::OK)
            }
            _ => response::empty(StatusCode::NOT_FOUND),
        }
    }
}

/// A server on a socket of its own, and the way to end it.
struct Open {
    path: std::path::PathBuf,
    _directory: Directory,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<io::Result<()>>,
}

struct Directory(std::path::PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(name: &str) -> Open {
    let directory = std::env::temp_dir().join(format!("minke-api-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("s");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(Arc::new(Stub), Listener::Unix(listener), async {
        let _ = stopped.await;
    }));
    Open { path, _directory: Directory(directory), stop: Some(stop), served }
}

impl Open {
    async fn client(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.expect("a connection")
    }
}

/// Reads until `needle` has come.
async fn until(client: &mut UnixStream, needle: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(needle) {
        let mut buffer = [0; 1024];
        let n = client.read(&mut buffer).await.expect("bytes");
        assert!(n > 0, "the end came before {needle:?}: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

async fn rest(client: &mut UnixStream) -> String {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.expect("the rest");
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_connection_may_be_taken_over_after_requests_and_with_early_bytes() {
    let server = open("takeover");
    let mut client = server.client().await;
    client.write_all(b"GET /hello HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("sent");
    let head = until(&mut client, "hello").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    // Stdin that follows the head at once, as docker-py and shells send it.
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: d\r\n\r\nearly ").await.expect("sent");
    let answer = until(&mut client, "\r\n\r\n").await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Type: raw\r\n\r\n");
    client.write_all(b"and late").await.expect("sent");
    client.shutdown().await.expect("half closed");
    assert_eq!(rest(&mut client).await, "early and late!");
}

#[tokio::test]
async fn what_follows_a_head_waits_until_the_head_was_read() {
    let (mut client, near) = UnixStream::pair().expect("a pair");
    let mut socket = Socket::new(Stream::Unix(near), &Takeover::default());
    let said = tokio::spawn(async move {
        socket.write_all(b"head").await.expect("sent");
        socket.drained().await;
        socket.write_all(b"stream").await.expect("sent");
    });
    tokio::task::yield_now().await;
    let mut buffer = [0; 64];
    assert_eq!(client.read(&mut buffer).await.expect("bytes"), 4);
    assert_eq!(client.read(&mut buffer).await.expect("bytes"), 6);
    said.await.expect("joined");
}

#[tokio::test]
async fn over_the_network_what_follows_a_head_comes_apart_from_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut client =
        TcpStream::connect(listener.local_addr().expect("its address")).await.expect("connected");
    let (near, _) = listener.accept().await.expect("accepted");
    let mut socket = Socket::new(Stream::Tcp(near), &Takeover::default());
    let said = tokio::spawn(async move {
        socket.write_all(b"head").await.expect("sent");
        socket.drained().await;
        socket.write_all(b"stream").await.expect("sent");
    });
    client.readable().await.expect("bytes");
    let mut buffer = [0; 64];
    assert_eq!(client.read(&mut buffer).await.expect("bytes"), 4);
    assert_eq!(client.read(&mut buffer).await.expect("bytes"), 6);
    said.await.expect("said");
}

#[tokio::test]
async fn an_upgrade_is_a_takeover_too_and_its_body_is_no_stream() {
    let server = open("upgrade");
    let mut client = server.client().await;
    let head =
        "POST /echo HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("sent");
    until(&mut client, "\r\n\r\n").await;
    client.write_all(b"in").await.expect("sent");
    client.shutdown().await.expect("half closed");
    assert_eq!(rest(&mut client).await, "in!");
}

#[tokio::test]
async fn a_panic_is_one_client_s_answer() {
    let server = open("panic");
    let mut client = server.client().await;
    client.write_all(b"GET /panic HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("sent");
    assert!(until(&mut client, "bug").await.starts_with("HTTP/1.1 500"), "a panic is a 500");
    client.write_all(b"GET /hello HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("sent");
    until(&mut client, "hello").await;
}

#[tokio::test]
async fn the_head_of_a_stream_does_not_wait_for_its_first_byte() {
    let server = open("head");
    let mut client = server.client().await;
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("sent");
    let head = until(&mut client, "\r\n\r\n").await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
}

#[tokio::test]
async fn http2_is_spoken_by_those_who_begin_with_it() {
    let server = open("http2");
    let stream = server.client().await;
    let (mut send, connection) = hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .expect("a handshake");
    tokio::spawn(connection);
    let ask = |path: &str| {
        Request::get(format!("http://d{path}")).body(http_body_util::Empty::new()).expect("a request")
    };
    let hello = send.send_request(ask("/hello")).await.expect("an answer");
    assert_eq!(hello.status(), StatusCode::OK);
    let echo = send.send_request(ask("/echo")).await.expect("an answer");
    assert_eq!(echo.status(), StatusCode::BAD_REQUEST, "there is no connection to take over");
}

#[tokio::test]
async fn the_end_lets_requests_finish_and_cuts_streams_off_soon() {
    let mut server = open("end");
    let mut streaming = server.client().await;
    streaming.write_all(b"GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("sent");
    until(&mut streaming, "\r\n\r\n").await;
    let mut idle = server.client().await;
    drop(server.stop.take());
    // The stream would never end by itself.
    let served = tokio::time::timeout(Duration::from_secs(60), server.served).await;
    served.expect("the end").expect("joined").expect("served");
    let mut nothing = [0; 1];
    assert_eq!(idle.read(&mut nothing).await.unwrap_or(0), 0, "an idle client sees the end");
}

#[tokio::test]
async fn rubbish_is_refused_and_the_next_client_is_served() {
    let server = open("rubbish");
    let mut client = server.client().await;
    client.write_all(b"\x16\x03\x01 not http at all\r\n\r\n").await.expect("sent");
    let answer = rest(&mut client).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut next = server.client().await;
    next.write_all(b"GET /hello HTTP/1.0\r\n\r\n").await.expect("sent");
    assert!(rest(&mut next).await.ends_with("hello"), "HTTP/1.0 is served");
}
