//! Logs written as the shim writes them, read while they grow and rotate.

use super::*;
use std::{fs, io::Write};

/// What must happen has happened by then, however loaded the machine is.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A directory with a log in it, gone at the end of the test.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("minke-logs-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("json.log")
    }

    /// Appends lines numbered `range`, one a second.
    fn write(&self, range: std::ops::Range<i64>) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
        let text: String = range.map(record).collect();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self) {
        // As the shim does, but that it would not wait.
        let names = fs::File::open(&self.dir).unwrap();
        rustix::fs::flock(&names, rustix::fs::FlockOperation::LockExclusive).unwrap();
        for n in (0..40).rev() {
            let name = |n: i32| if n == 0 { self.path() } else { self.dir.join(format!("json.log.{n}")) };
            let compressed = |n: i32| self.dir.join(format!("json.log.{n}.gz"));
            if fs::rename(name(n), name(n + 1)).is_err() {
                let _ = fs::rename(compressed(n), compressed(n + 1));
            }
        }
        fs::File::create(self.path()).unwrap();
    }

    fn query(&self) -> LogQuery {
        LogQuery {
            path: self.path(),
            driver: "json-file".into(),
            since: None,
            until: None,
            tail: None,
            follow: None,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn record(n: i64) -> String {
    let time = Timestamp::from_nanos(n * 1_000_000_000);
    let stream = if n % 2 == 0 { "stdout" } else { "stderr" };
    format!("{{\"log\":\"line {n}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
}

/// Numbers of the lines that a reader gives.
async fn numbers(reader: &mut LogReader) -> Vec<i64> {
    let mut all = Vec::new();
    while let Some(batch) = reader.next().await {
        all.extend(of(&batch.unwrap()));
    }
    all
}

fn of(batch: &Batch) -> Vec<i64> {
    let number = |line: LogLine<'_>| {
        let n = std::str::from_utf8(line.text)
            .unwrap()
            .strip_prefix("line ")
            .unwrap()
            .trim_end()
            .parse()
            .unwrap();
        assert_eq!(line.at, n * 1_000_000_000);
        assert_eq!(line.stream, if n % 2 == 0 { Stream::Stdout } else { Stream::Stderr });
        n
    };
    batch.iter().map(number).collect()
}

async fn read(query: LogQuery) -> Vec<i64> {
    numbers(&mut Logs::default().read(query).unwrap()).await
}

#[tokio::test]
async fn a_log_is_read_over_all_its_files() {
    let log = Scratch::new("chain");
    for part in 0..4 {
        log.write(part * 10..part * 10 + 10);
        if part < 3 {
            log.rotate();
        }
    }
    assert_eq!(read(log.query()).await, (0..40).collect::<Vec<_>>());
    for tail in [0, 1, 5, 10, 11, 25, 40, 99] {
        let expected: Vec<_> = ((40 - tail as i64).max(0)..40).collect();
        assert_eq!(read(LogQuery { tail: Some(tail), ..log.query() }).await, expected, "tail {tail}");
    }
}

#[tokio::test]
async fn since_and_until_cut_and_tail_counts_before_them() {
    let log = Scratch::new("cut");
    log.write(0..20);
    let at = |n: i64| Some(Timestamp::from_nanos(n * 1_000_000_000));
    assert_eq!(read(LogQuery { since: at(15), ..log.query() }).await, [15, 16, 17, 18, 19]);
    assert_eq!(read(LogQuery { until: at(3), ..log.query() }).await, [0, 1, 2, 3]);
    assert_eq!(read(LogQuery { since: at(18), until: at(18), ..log.query() }).await, [18]);
    assert_eq!(read(LogQuery { tail: Some(3), until: at(17), ..log.query() }).await, [17]);
    assert_eq!(read(LogQuery { since: at(99), ..log.query() }).await, [0i64; 0]);
}

#[tokio::test]
async fn no_log_is_an_empty_log_and_damage_is_passed_over() {
    let log = Scratch::new("damage");
    assert_eq!(read(log.query()).await, [0i64; 0]);
    log.write(0..2);
    fs::OpenOptions::new()
        .append(true)
        .open(log.path())
        .unwrap()
        .write_all(b"nonsense\n{\"log\":\"half")
        .unwrap();
    assert_eq!(read(log.query()).await, [0, 1]);
    let other = LogQuery { driver: "none".into(), ..log.query() };
    assert!(matches!(Logs::default().read(other), Err(LogError::NotReadable { .. })));
}

#[tokio::test]
async fn a_follower_misses_nothing_over_rotations_and_ends_when_told() {
    let log = Scratch::new("follow");
    let (end, ended) = tokio::sync::watch::channel(false);
    let logs = Logs::default();
    let mut reader = logs.read(LogQuery { follow: Some(ended), ..log.query() }).unwrap();
    let follower = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(batch) = reader.next().await {
            all.extend(of(&batch.unwrap()));
        }
        all
    });
    for n in 0..200 {
        log.write(n..n + 1);
        if n % 7 == 0 {
            log.rotate();
        }
        if n % 11 == 0 {
            tokio::task::yield_now().await;
        }
        if n % 40 == 0 {
            // The reader shall be at the end sometimes, and many files behind sometimes.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    end.send(true).unwrap();
    let all = tokio::time::timeout(PATIENCE, follower).await.unwrap().unwrap();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_keeps_up_with_a_writer_that_does_not_wait() {
    let log = Scratch::new("race");
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut reader = Logs::default().read(LogQuery { follow: Some(ended), ..log.query() }).unwrap();
    let follower = tokio::spawn(async move { numbers(&mut reader).await });
    let writing = std::thread::spawn(move || {
        for n in 0..300 {
            log.write(n * 3..n * 3 + 3);
            if n % 10 == 9 {
                log.rotate();
            }
        }
        log
    });
    let _log = tokio::task::spawn_blocking(|| writing.join().unwrap()).await.unwrap();
    end.send(true).unwrap();
    let all = tokio::time::timeout(PATIENCE, follower).await.unwrap().unwrap();
    assert_eq!(all, (0..900).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_put_aside_is_compressed_and_read_as_before() {
    for driver in ["json-file", "local"] {
        let log = Scratch::new(&format!("compressed-{driver}"));
        for part in 0..4i64 {
            if driver == "local" {
                let lines = (part * 10..part * 10 + 10).flat_map(|n| {
                    local_record(1 + (n % 2) as u8, false, n * 1_000_000_000, format!("line {n}").as_bytes())
                });
                fs::write(
                    log.path(),
                    local_record(0, false, 0, b"a=1\0").into_iter().chain(lines).collect::<Vec<_>>(),
                )
                .unwrap();
            } else {
                log.write(part * 10..part * 10 + 10);
            }
            if part < 3 {
                log.rotate();
            }
        }
        let (_end, ended) = tokio::sync::watch::channel(true);
        Logs::default().compress(log.path(), ended).await;
        let mut names: Vec<_> =
            fs::read_dir(&log.dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["json.log", "json.log.1.gz", "json.log.2.gz", "json.log.3.gz"]);
        let query = LogQuery { driver: driver.into(), ..log.query() };
        assert_eq!(read(query.clone()).await, (0..40).collect::<Vec<_>>());
        for tail in [0, 5, 10, 11, 25, 40, 99] {
            let expected: Vec<_> = ((40 - tail as i64).max(0)..40).collect();
            assert_eq!(read(LogQuery { tail: Some(tail), ..query.clone() }).await, expected, "tail {tail}");
        }
        let mut first = Logs::default().read(query).unwrap();
        let batch = first.next().await.unwrap().unwrap();
        assert_eq!(batch.iter().next().unwrap().attributes.is_some(), driver == "local");
        // Nothing but what can be read by anybody's tool.
        let mut text = Vec::new();
        let oldest = fs::File::open(log.dir.join("json.log.3.gz")).unwrap();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(oldest), &mut text).unwrap();
        assert!(text.windows(6).any(|part| part == b"line 9"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_follower_misses_nothing_while_files_are_compressed_under_it() {
    let log = Scratch::new("compressing");
    let (end, ended) = tokio::sync::watch::channel(false);
    let logs = Logs::default();
    let compressing = tokio::spawn(logs.compress(log.path(), ended.clone()));
    let mut reader = logs.read(LogQuery { follow: Some(ended), ..log.query() }).unwrap();
    let follower = tokio::spawn(async move { numbers(&mut reader).await });
    let writing = std::thread::spawn(move || {
        for n in 0..300 {
            log.write(n * 3..n * 3 + 3);
            if n % 10 == 9 {
                log.rotate();
            }
        }
        log
    });
    let log = tokio::task::spawn_blocking(|| writing.join().unwrap()).await.unwrap();
    end.send(true).unwrap();
    let all = tokio::time::timeout(PATIENCE, follower).await.unwrap().unwrap();
    assert_eq!(all, (0..900).collect::<Vec<_>>());
    tokio::time::timeout(PATIENCE, compressing).await.unwrap().unwrap();
    assert_eq!(read(log.query()).await, (0..900).collect::<Vec<_>>());
    let plain = (1..40).filter(|n| log.dir.join(format!("json.log.{n}")).exists()).count();
    let small = (1..40).filter(|n| log.dir.join(format!("json.log.{n}.gz")).exists()).count();
    assert_eq!((plain, small), (0, 30));
}

#[tokio::test]
async fn a_follower_of_an_emptied_log_goes_on() {
    let log = Scratch::new("emptied");
    log.write(0..5);
    let (_end, ended) = tokio::sync::watch::channel(false);
    let mut reader = Logs::default().read(LogQuery { follow: Some(ended), ..log.query() }).unwrap();
    assert_eq!(of(&reader.next().await.unwrap().unwrap()), [0, 1, 2, 3, 4]);
    fs::OpenOptions::new().write(true).open(log.path()).unwrap().set_len(0).unwrap();
    log.write(7..8);
    assert_eq!(of(&reader.next().await.unwrap().unwrap()), [7]);
}

#[tokio::test]
async fn a_follow_until_a_time_ends_then() {
    let log = Scratch::new("until");
    log.write(0..1);
    let (_end, ended) = tokio::sync::watch::channel(false);
    let soon = Timestamp::from_nanos(Timestamp::now().as_nanos() + 50_000_000);
    let query = LogQuery { follow: Some(ended), until: Some(soon), ..log.query() };
    let all = tokio::time::timeout(PATIENCE, read(query)).await.unwrap();
    assert_eq!(all, [0]);
}

#[tokio::test]
async fn waiting_can_be_given_up_and_taken_up_again() {
    let log = Scratch::new("cancel");
    let (_end, ended) = tokio::sync::watch::channel(false);
    let mut reader = Logs::default().read(LogQuery { follow: Some(ended), ..log.query() }).unwrap();
    for n in 0..20 {
        let short = std::time::Duration::from_micros(n * 50);
        assert!(tokio::time::timeout(short, reader.next()).await.is_err());
    }
    log.write(0..1);
    assert_eq!(of(&reader.next().await.unwrap().unwrap()), [0]);
}

#[tokio::test]
async fn attributes_come_with_their_lines() {
    let log = Scratch::new("attributes");
    let line = |attrs: &str| {
        format!(
            "{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{attrs},\"time\":\"1970-01-01T00:00:00Z\"}}\n"
        )
    };
    fs::write(log.path(), line("{\"a\":\"1\"}").repeat(2) + &line("{\"b\":\"2\"}") + &record(4)).unwrap();
    let batch = Logs::default().read(log.query()).unwrap().next().await.unwrap().unwrap();
    let names: Vec<_> =
        batch.iter().map(|l| l.attributes.map(|a| a[0].0.clone()).unwrap_or_default()).collect();
    assert_eq!(names, ["a", "a", "b", ""]);
}

/// A record as `shim::log::local` describes it.
fn local_record(stream: u8, goes_on: bool, at: i64, text: &[u8]) -> Vec<u8> {
    let length = (10 + text.len() as u32).to_le_bytes();
    [&length[..], &[stream, u8::from(goes_on)], &at.to_le_bytes(), text, &length].concat()
}

#[tokio::test]
async fn the_local_driver_is_read_from_both_ends() {
    let log = Scratch::new("local");
    let mut bytes = local_record(0, false, 0, b"a=1\0");
    for n in 0..20_000i64 {
        bytes.extend(local_record(
            1 + (n % 2) as u8,
            false,
            n * 1_000_000_000,
            format!("line {n}").as_bytes(),
        ));
    }
    fs::write(log.path(), &bytes).unwrap();
    let query = LogQuery { driver: "local".into(), ..log.query() };
    assert_eq!(read(query.clone()).await, (0..20_000).collect::<Vec<_>>());
    for tail in [0, 1, 7000, 20_000, 20_001] {
        let expected: Vec<_> = ((20_000 - tail as i64).max(0)..20_000).collect();
        assert_eq!(read(LogQuery { tail: Some(tail), ..query.clone() }).await, expected, "tail {tail}");
    }
    let mut reader = Logs::default().read(LogQuery { tail: Some(1), ..query }).unwrap();
    let batch = reader.next().await.unwrap().unwrap();
    assert_eq!(batch.iter().next().unwrap().attributes.unwrap()[0], ("a".to_owned(), "1".to_owned()));
}
