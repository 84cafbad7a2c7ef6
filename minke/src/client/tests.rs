//! The client against a daemon of a few lines, on a socket pair's worth of Unix socket.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

/// Answers each connection with the canned answers, one a request.
fn daemon(name: &str, answers: Vec<&'static str>) -> (Client, std::thread::JoinHandle<Vec<String>>) {
    let path = std::env::temp_dir().join(format!("minke-client-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let host = Host::parse(&format!("unix://{}", path.display())).unwrap();
    let thread = std::thread::spawn(move || {
        let mut requests = Vec::new();
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for answer in answers {
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            let mut length = 0;
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            requests.push(format!("{} {}", first.trim_end(), String::from_utf8_lossy(&body)));
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
        std::fs::remove_file(path).unwrap();
        requests
    });
    (Client::new(host, Vec::new()), thread)
}

const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 2\r\n\r\n";

#[test]
fn the_older_version_is_spoken_on_one_connection() {
    let (client, daemon) = daemon(
        "version",
        vec![
            PING,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\": 1}\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ],
    );
    assert_eq!(client.get("/x", &[("q", "a b".into())]).unwrap().int("a"), 1);
    client.call("POST", "/y", &[], Payload::Json(b"{}".to_vec())).unwrap();
    assert_eq!(
        daemon.join().unwrap(),
        ["HEAD /_ping HTTP/1.1 ", "GET /v1.44/x?q=a%20b HTTP/1.1 ", "POST /v1.44/y HTTP/1.1 {}"]
    );
}

#[test]
fn a_connection_that_died_while_it_waited_is_dialled_anew() {
    let path = std::env::temp_dir().join(format!("minke-client-{}-stale.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::new(Host::Unix(path.clone()), Vec::new());
    let _ = client.version.set("1.51".into());
    let daemon = std::thread::spawn(move || {
        for _ in 0..2 {
            // One answer a connection, and no word about closing it.
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        }
    });
    client.get("/a", &[]).unwrap();
    client.get("/b", &[]).unwrap();
    daemon.join().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn refusals_carry_the_daemons_sentence() {
    let (client, daemon) = daemon(
        "refusal",
        vec![
            PING,
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{\"message\":\"no such thing\"}",
        ],
    );
    // One byte too few on purpose would break the JSON: the length above is right.
    let error = client.get("/x", &[]).unwrap_err();
    assert!(error.is_not_found());
    assert!(error.to_string().starts_with("Error response from daemon: "), "{error}");
    daemon.join().unwrap();
}

#[test]
fn a_stream_keeps_what_came_with_the_head() {
    let (client, daemon) =
        daemon("hijack", vec!["HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello"]);
    let _ = client.version.set("1.51".into());
    let mut stream = client.hijack("/containers/x/attach", &[], Payload::None).unwrap();
    let mut text = String::new();
    stream.reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    daemon.join().unwrap();
}

#[test]
fn nobody_there_is_said_with_the_address() {
    let client = Client::new(Host::Unix("/nonexistent/minke.sock".into()), Vec::new());
    assert_eq!(
        client.get("/x", &[]).unwrap_err().to_string(),
        "Cannot connect to the Minke daemon at unix:///nonexistent/minke.sock. Is the minke daemon running?"
    );
}

#[test]
fn versions_are_compared_as_numbers() {
    assert!(older("1.9", "1.24") && !older("1.51", "1.51") && !older("1.100", "1.51"));
}
