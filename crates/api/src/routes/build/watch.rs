//! Events of a build on their way to its answer: nobody waits for a slow client, what is too much is thinned out.

use minke_engine::build::{Progress, request::BuildEvent};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Bytes of output that wait for a slow client; further ones are not sent.
const MOST_WAITING: usize = 8 << 20;
/// Events that wait.
const MOST_EVENTS: usize = 100_000;

/// Watches a build.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<BuildEvent>,
    bytes: usize,
}

impl Watch {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event, if one is there.
    pub(super) fn take(&self) -> Option<BuildEvent> {
        let mut waiting = self.waiting();
        let event = waiting.events.pop_front()?;
        if let BuildEvent::Log(log) = &event {
            waiting.bytes -= log.bytes.len();
        }
        Some(event)
    }

    /// The next event.
    pub(super) async fn next(&self) -> BuildEvent {
        loop {
            let news = self.0.news.notified();
            if let Some(event) = self.take() {
                return event;
            }
            news.await;
        }
    }
}

impl Progress for Watch {
    fn report(&self, event: BuildEvent) {
        let mut waiting = self.waiting();
        let full = waiting.events.len() >= MOST_EVENTS;
        match &event {
            BuildEvent::Log(log) if full || waiting.bytes + log.bytes.len() > MOST_WAITING => return,
            BuildEvent::Log(log) => waiting.bytes += log.bytes.len(),
            BuildEvent::Status(_) if full => return,
            _ => {}
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.0.news.notify_one();
    }
}
