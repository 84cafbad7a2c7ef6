//! Two ends of one connection in memory.

use super::*;
use std::time::Duration;
use tokio::time::timeout;

/// Long enough for any machine: only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

fn pair(most: usize) -> ((Opener, Incoming), (Opener, Incoming)) {
    let (a, b) = tokio::io::duplex(64 << 10);
    (start(a, Side::Dialled, most), start(b, Side::Called, most))
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it ends in time")
}

#[tokio::test]
async fn either_side_opens_streams_and_both_ends_close_by_themselves() {
    let ((worker, mut of_worker), (manager, mut of_manager)) = pair(8);
    patiently(async {
        let mut asked = worker.open("session").unwrap();
        asked.write_all(b"hello").await.unwrap();
        asked.shutdown().await.unwrap();
        let (name, mut taken) = of_manager.next().await.unwrap();
        let mut text = String::new();
        taken.read_to_string(&mut text).await.unwrap();
        assert_eq!((name.as_str(), text.as_str()), ("session", "hello"));
        taken.write_all(b"welcome").await.unwrap();
        drop(taken);
        let mut text = String::new();
        asked.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "welcome");

        let mut back = manager.open("logs").unwrap();
        back.write_all(b"x").await.unwrap();
        let (name, mut taken) = of_worker.next().await.unwrap();
        assert_eq!((name.as_str(), taken.read_u8().await.unwrap()), ("logs", b'x'));
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other_and_no_more_than_a_window() {
    let ((worker, _of_worker), (_manager, mut of_manager)) = pair(8);
    patiently(async {
        let mut stuck = worker.open("stuck").unwrap();
        let (_, _unread) = of_manager.next().await.unwrap();
        // One window on each side, and then it waits.
        let much = vec![7; 4 * WINDOW];
        assert!(timeout(Duration::from_millis(50), stuck.write_all(&much)).await.is_err());
        let mut other = worker.open("other").unwrap();
        let (_, mut taken) = of_manager.next().await.unwrap();
        let sent = vec![9; 3 * WINDOW];
        let (written, read) = tokio::join!(
            async {
                other.write_all(&sent).await.unwrap();
                other.shutdown().await.unwrap();
            },
            async {
                let mut all = Vec::new();
                taken.read_to_end(&mut all).await.unwrap();
                all
            }
        );
        assert_eq!((written, read.len()), ((), 3 * WINDOW));
    })
    .await;
}

#[tokio::test]
async fn who_gives_a_stream_up_tells_the_other_side() {
    let ((worker, _of_worker), (_manager, mut of_manager)) = pair(8);
    patiently(async {
        let mut asked = worker.open("exec").unwrap();
        let (_, taken) = of_manager.next().await.unwrap();
        drop(taken);
        let much = vec![1; 1 << 20];
        assert!(asked.write_all(&much).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_the_rest_goes_on() {
    let ((worker, _of_worker), (_manager, mut of_manager)) = pair(1);
    patiently(async {
        let mut first = worker.open("first").unwrap();
        let (_, mut taken) = of_manager.next().await.unwrap();
        let mut second = worker.open("second").unwrap();
        assert!(second.read_u8().await.is_err());
        first.write_all(b"a").await.unwrap();
        assert_eq!(taken.read_u8().await.unwrap(), b'a');
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_connection_is_the_end_of_everything() {
    let ((worker, _of_worker), (manager, mut of_manager)) = pair(8);
    patiently(async {
        let mut open = worker.open("session").unwrap();
        let (_, _taken) = of_manager.next().await.unwrap();
        manager.close("the node was removed");
        assert!(open.read_u8().await.is_err());
        assert!(of_manager.next().await.is_none());
        worker.ended().await;
        assert!(worker.open("more").is_err());
    })
    .await;
}

#[tokio::test]
async fn what_breaks_the_rules_ends_the_connection() {
    for wrong in [
        // A stream with the number of the other side.
        [OPEN, 0, 0, 0, 2, 0, 0, 0, 0].as_slice(),
        // A kind that there is not.
        &[OPEN, 0, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0],
        // A frame that is too long.
        &[DATA, 0, 0, 0, 1, 0xff, 0, 0, 0],
    ] {
        let (mut raw, io) = tokio::io::duplex(1 << 10);
        let (_opener, mut incoming) = start(io, Side::Called, 8);
        patiently(async {
            raw.write_all(wrong).await.unwrap();
            while incoming.next().await.is_some() {}
        })
        .await;
    }
}
