//! A client and a process, each at one end of a socket pair.

use super::*;
use crate::socket::{Stream, Takeover};
use tokio::task::JoinHandle;

/// The client's end, the process' end, and the pump between.
struct Between {
    client: UnixStream,
    process: UnixStream,
    ended: JoinHandle<End>,
}

fn between(takes_input: bool, detach: Option<Keys>, early: &[u8]) -> Between {
    let (client, near_client) = UnixStream::pair().expect("a pair");
    let (process, near_process) = UnixStream::pair().expect("a pair");
    let early = Early { bytes: early.to_vec(), ended: false };
    let ended = tokio::spawn(async move {
        let mut socket = Socket::new(Stream::Unix(near_client), &Takeover::default());
        let end =
            pump(&mut socket, Pump::new(near_process, takes_input, detach, early, Framing::Keep.framer()))
                .await
                .unwrap_or(End::Client);
        if end != End::Client {
            farewell(&mut socket).await;
        }
        end
    });
    Between { client, process, ended }
}

async fn all(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("bytes");
    bytes
}

#[tokio::test]
async fn the_end_of_stdin_is_not_the_end_of_stdout() {
    let mut b = between(true, None, b"early ");
    b.client.write_all(b"input").await.expect("sent");
    b.client.shutdown().await.expect("half closed");
    assert_eq!(all(&mut b.process).await, b"early input");
    b.process.write_all(b"answer").await.expect("said");
    drop(b.process);
    assert_eq!(all(&mut b.client).await, b"answer");
    drop(b.client);
    assert_eq!(b.ended.await.expect("joined"), End::Process);
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    let b = between(true, None, b"");
    let big: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let (mut from_client, mut to_process) = b.client.into_split();
    let (mut from_process, mut to_client) = b.process.into_split();
    let (sent, said) = (big.clone(), big.clone());
    let sending = tokio::spawn(async move { to_process.write_all(&sent).await.map(|()| to_process) });
    // Given back, so that neither side ends before all has arrived.
    let saying = tokio::spawn(async move { to_client.write_all(&said).await.map(|()| to_client) });
    let mut heard = vec![0; big.len()];
    let mut read = vec![0; big.len()];
    let (a, b) = tokio::join!(from_process.read_exact(&mut heard), from_client.read_exact(&mut read));
    a.and(b).expect("all of it");
    assert!(heard == big && read == big, "nothing changed on the way");
    let _open = (sending.await.expect("joined").expect("sent"), saying.await.expect("joined").expect("said"));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_stream_of_a_silent_process() {
    let b = between(false, None, b"");
    drop(b.client);
    assert_eq!(b.ended.await.expect("joined"), End::Client);
}

#[tokio::test]
async fn a_process_that_reads_no_more_is_still_heard() {
    let mut b = between(true, None, b"");
    b.client.write_all(b"ignored").await.expect("sent");
    b.process.write_all(b"last words").await.expect("said");
    drop(b.process);
    assert_eq!(all(&mut b.client).await, b"last words");
}

#[tokio::test]
async fn input_that_was_not_asked_for_goes_nowhere() {
    let mut b = between(false, None, b"early");
    b.client.write_all(b"typed").await.expect("sent");
    b.process.write_all(b"x").await.expect("said");
    let mut one = [0; 1];
    b.client.read_exact(&mut one).await.expect("a byte");
    b.process.shutdown().await.expect("closed");
    b.client.shutdown().await.expect("closed");
    assert_eq!(b.ended.await.expect("joined"), End::Process);
    assert_eq!(all(&mut b.process).await, b"");
}

#[tokio::test]
async fn detach_keys_end_the_stream_and_do_not_reach_the_process() {
    let keys: Keys = Box::new(|typed| match typed.iter().position(|b| *b == 0x10) {
        Some(at) => (typed[..at].to_vec(), true),
        None => (typed.to_vec(), false),
    });
    let mut b = between(true, Some(keys), b"");
    b.client.write_all(b"ab\x10").await.expect("sent");
    let mut typed = [0; 2];
    b.process.read_exact(&mut typed).await.expect("bytes");
    assert_eq!(&typed, b"ab");
    assert_eq!(all(&mut b.client).await, b"");
    drop(b.client);
    assert_eq!(b.ended.await.expect("joined"), End::Detached);
}

#[test]
fn heads_are_dockerd_s_to_the_letter() {
    let text = |head: Head, more: &[(&str, &str)]| String::from_utf8(head.to_bytes(more)).expect("text");
    assert_eq!(
        text(Head { upgrade: true, multiplexed: true }, &[]),
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    );
    assert_eq!(
        text(Head { upgrade: false, multiplexed: true }, &[("Ostype", "linux")]),
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\nOstype: linux\r\n\r\n"
    );
}
