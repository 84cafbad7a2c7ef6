//! A client of ours on the other end of a pipe sends a directory, honestly or not.

use super::*;
use crate::buildkit::{
    grpc::{self, Pieces},
    sessions::{Hello, Sessions},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, sync::Arc};

/// What a client has: each file with its bytes.
type Files = Arc<Vec<(Stat, &'static [u8])>>;

fn file(path: &str, bytes: &'static [u8]) -> (Stat, &'static [u8]) {
    let size = bytes.len() as i64;
    (Stat { path: path.into(), mode: 0o644, size, ..Stat::default() }, bytes)
}

fn directory(path: &str) -> (Stat, &'static [u8]) {
    (Stat { path: path.into(), mode: 1 << 31 | 0o755, ..Stat::default() }, b"")
}

/// fsutil's sender: tells all, sends what is asked for, in two pieces, and answers the last word.
fn sender(files: Files, mut asked: Streaming<Packet>) -> Pieces<Packet> {
    let (say, mut said) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for (stat, _) in files.iter() {
            let _ =
                say.send(Ok(Packet { kind: fsutil::STAT, stat: Some(stat.clone()), ..Packet::default() }));
        }
        let _ = say.send(Ok(Packet { kind: fsutil::STAT, ..Packet::default() }));
        while let Ok(Some(packet)) = asked.message().await {
            let id = packet.id;
            match packet.kind {
                fsutil::REQ => {
                    let bytes = files[id as usize].1;
                    let (first, rest) = bytes.split_at(bytes.len() / 2);
                    for data in [first, rest].into_iter().filter(|part| !part.is_empty()).chain([&b""[..]]) {
                        let data = Bytes::from_static(data);
                        let _ = say.send(Ok(Packet { kind: fsutil::DATA, id, data, ..Packet::default() }));
                    }
                }
                fsutil::FIN => {
                    let _ = say.send(Ok(Packet { kind: fsutil::FIN, ..Packet::default() }));
                    return;
                }
                _ => return,
            }
        }
    });
    futures_util::stream::poll_fn(move |cx| said.poll_recv(cx)).boxed()
}

async fn answer(files: Files, asked: Request<Streaming<Packet>>) -> Result<Pieces<Packet>, Status> {
    match asked.metadata().get("dir-name").is_some_and(|name| name == "context") {
        true => Ok(sender(files, asked.into_inner())),
        false => Err(Status::not_found("no access allowed to dir \"other\"")),
    }
}

/// A session with a client that has those files; it sends them only by the name `context`.
async fn session(files: Vec<(Stat, &'static [u8])>) -> (Arc<Session>, Arc<Sessions>) {
    let (near, far) = tokio::io::duplex(4096);
    let files: Files = Arc::new(files);
    let service = service_fn(move |request| {
        let files = files.clone();
        async move { Ok::<_, Infallible>(grpc::streaming(request, |r| answer(files, r)).await) }.boxed()
    });
    tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service));
    let mut fields = HeaderMap::new();
    fields.insert("x-docker-expose-session-uuid", HeaderValue::from_static("s"));
    fields.insert("x-docker-expose-session-grpc-method", HeaderValue::from_static(DIFF_COPY));
    let hello = Hello::read(&fields).unwrap();
    let sessions = Arc::new(Sessions::default());
    let carrying = sessions.clone();
    tokio::spawn(async move { carrying.carry(hello, near).await });
    (sessions.find("s").await.unwrap(), sessions)
}

/// Receives, and asks for what `wants` says; what came, and how it ended.
async fn receive_all(
    session: Arc<Session>,
    name: &'static str,
    wants: fn(&Entry) -> bool,
) -> (Vec<String>, Result<(), String>) {
    let (send, mut sent) = mpsc::channel(4);
    let (want, wanted) = mpsc::unbounded_channel();
    let receiving =
        tokio::spawn(
            async move { receive(&session, name, &Wanted::default(), Incoming { send, wanted }).await },
        );
    let (mut log, mut number, mut want) = (Vec::new(), 0, Some(want));
    while let Some(sent) = sent.recv().await {
        log.push(match sent {
            Sent::Entry(entry) => {
                if wants(&entry) {
                    want.as_ref().unwrap().send(number).unwrap();
                }
                number += 1;
                format!("{} {:o}", entry.path, entry.mode)
            }
            Sent::Data { entry, bytes } => format!("{entry}: {}", String::from_utf8_lossy(&bytes)),
            Sent::End { entry } => format!("{entry}."),
            Sent::Listed => {
                want = None;
                "listed".into()
            }
            Sent::Finished => "finished".into(),
        });
    }
    (log, receiving.await.unwrap().map_err(|e| e.message().to_owned()))
}

#[tokio::test]
async fn only_what_is_wanted_comes() {
    let (session, _sessions) = session(vec![directory("a"), file("a/x", b"hello"), file("b", b"yes")]).await;
    let (log, ended) = receive_all(session, "context", |entry| entry.path == "b").await;
    assert_eq!(ended, Ok(()));
    assert_eq!(
        log,
        ["a 40755", "a/x 100644", "b 100644", "listed", "2: y", "2: es", "2.", "finished"],
        "{log:?}"
    );
}

#[tokio::test]
async fn nothing_wanted_is_finished_too() {
    let (session, _sessions) = session(vec![file("b", b"yes")]).await;
    let (log, ended) = receive_all(session, "context", |_| false).await;
    assert_eq!((log.last().map(String::as_str), ended), (Some("finished"), Ok(())));
}

#[tokio::test]
async fn a_client_has_the_last_word_on_its_directories() {
    let (session, _sessions) = session(Vec::new()).await;
    let (log, ended) = receive_all(session, "other", |_| true).await;
    assert_eq!((log.len(), ended), (0, Err("no access allowed to dir \"other\"".into())));
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    for path in ["../x", "/etc/passwd", "a/../../x", "a//b", ".", "", "a/\0"] {
        let (session, _sessions) = session(vec![file(path, b"x")]).await;
        let (log, ended) = receive_all(session, "context", |_| true).await;
        assert!(log.is_empty() && ended.is_err_and(|e| e.contains("leads out")), "{path:?}");
    }
    let link = Stat { path: "l".into(), mode: 0o644, linkname: "../x".into(), ..Stat::default() };
    let (session, _sessions) = session(vec![(link, b"")]).await;
    let (_, ended) = receive_all(session, "context", |_| true).await;
    assert!(ended.is_err_and(|e| e.contains("hard link")));
}

#[tokio::test]
async fn many_files_at_once_do_not_block_each_other() {
    let files: Vec<_> = (0..20_000).map(|n| file(&format!("{n:05}"), b"0123456789")).collect();
    let (session, _sessions) = session(files).await;
    let (log, ended) = receive_all(session, "context", |_| true).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(log.iter().filter(|line| line.ends_with('.')).count(), 20_000);
}

#[test]
fn names_that_are_not_ascii_are_escaped() {
    let mut fields = MetadataMap::new();
    put(&mut fields, "followpaths", &["a b/ü".into(), "x".into()]).unwrap();
    assert_eq!(fields.get("followpaths-encoded").map(|v| v.to_str().unwrap()), Some("1"));
    assert_eq!(fields.get("followpaths").map(|v| v.to_str().unwrap()), Some("a+b%2F%C3%BC"));
    put(&mut fields, "dir-name", &["a b".into()]).unwrap();
    assert_eq!(fields.get("dir-name").map(|v| v.to_str().unwrap()), Some("a b"));
    assert_eq!(fields.get("dir-name-encoded"), None);
}
