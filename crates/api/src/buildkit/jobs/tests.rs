//! Builds come, are asked about, and end, one way or another.

use super::*;
use crate::buildkit::sessions::{Hello, Sessions};
use http::{HeaderMap, HeaderValue};

async fn session() -> (Arc<Session>, tokio::io::DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut fields = HeaderMap::new();
    fields.insert("x-docker-expose-session-uuid", HeaderValue::from_static("s"));
    let hello = Hello::read(&fields).unwrap();
    let sessions = Arc::new(Sessions::default());
    let carrying = sessions.clone();
    tokio::spawn(async move { carrying.carry(hello, near).await });
    (sessions.find("s").await.unwrap(), far)
}

fn asked(reference: &str, internal: bool) -> control::SolveRequest {
    control::SolveRequest { reference: reference.into(), internal, ..Default::default() }
}

#[tokio::test]
async fn a_question_may_come_before_its_build_and_after_its_end() {
    let (session, _far) = session().await;
    let jobs = Arc::new(Jobs::default());
    let early = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.journal("b").await.is_ok() }
    });
    tokio::task::yield_now().await;
    let running = jobs.begin(asked("b", true), session).unwrap();
    assert!(early.await.unwrap());
    assert!(jobs.find("b").await.is_ok());
    running.end(Ok(&BTreeMap::new()));
    assert!(jobs.journal("b").await.is_ok());
    assert_eq!(jobs.find("b").await.map(drop).unwrap_err().message(), "no such job b");
    // It was the client's own affair.
    assert!(jobs.history.find("b").is_none());
}

#[tokio::test]
async fn two_builds_never_have_one_name() {
    let (session, _far) = session().await;
    let jobs = Jobs::default();
    let running = jobs.begin(asked("b", false), session.clone()).unwrap();
    let second = jobs.begin(asked("b", false), session.clone()).map(drop);
    assert_eq!(second.unwrap_err().message(), "job ID b exists");
    running.end(Ok(&BTreeMap::new()));
    assert!(jobs.begin(asked("b", false), session).is_ok());
}

#[tokio::test]
async fn a_build_that_is_dropped_was_cancelled() {
    let (session, _far) = session().await;
    let jobs = Jobs::default();
    let running = jobs.begin(asked("b", false), session).unwrap();
    let job = running.job.clone();
    assert_eq!(jobs.active().len(), 1);
    drop(running);
    job.over().await;
    assert_eq!(job.returned().await.map_err(|e| e.code), Err(Code::Cancelled as i32));
    let (records, _) = jobs.history.list("b");
    assert_eq!(records[0].error.as_ref().map(|e| e.message.as_str()), Some("context canceled"));
    assert!(records[0].completed_at.is_some() && records[0].external_error.is_some());
}

#[tokio::test]
async fn what_a_client_returns_first_counts() {
    let (session, _far) = session().await;
    let jobs = Jobs::default();
    let running = jobs.begin(asked("b", false), session).unwrap();
    running.job.give_back(Ok(vec!["r".into()]));
    running.job.give_back(Ok(Vec::new()));
    assert_eq!(running.job.returned().await, Ok(vec!["r".to_owned()]));
    assert_eq!(running.job.result("r").map(drop).unwrap_err().message(), "no such ref: r");
}
