//! What happened on this machine: a bounded memory of it, and followers.

use crate::filter::Filters;
use minke_model::{
    Event, Labels, Timestamp,
    event::{Noun, Scope},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::broadcast;

/// As many past events as Docker keeps for `--since`.
const REMEMBERED: usize = 256;
/// A follower that is so many events behind is told that it lost some.
const BEHIND: usize = 4096;

/// The events of this machine.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    past: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
    followers: AtomicUsize,
}

/// A follower of events.
pub struct EventStream {
    past: VecDeque<Arc<Event>>,
    live: Option<broadcast::Receiver<Arc<Event>>>,
    until: Option<Timestamp>,
    filters: Filters,
    events: Events,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        let (live, _) = broadcast::channel(BEHIND);
        Self {
            inner: Arc::new(Inner {
                past: Mutex::new(VecDeque::new()),
                live,
                followers: AtomicUsize::new(0),
            }),
        }
    }

    /// Tells that something happened now.
    pub fn tell(
        &self,
        noun: Noun,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        self.tell_at(Timestamp::now(), noun, action, id, attributes);
    }

    /// Tells that something happened at `at`.
    pub fn tell_at(
        &self,
        at: Timestamp,
        noun: Noun,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let (action, id) = (action.into(), id.into());
        self.tell_event(Event { at, scope: Scope::Local, noun, action, id, attributes });
    }

    /// Tells of something that happened here or elsewhere.
    pub fn tell_event(&self, event: Event) {
        let event = Arc::new(event);
        let mut past = self.past();
        if past.len() == REMEMBERED {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Sent under the lock, so that a new follower sees each event exactly once. No follower is no error.
        let _ = self.inner.live.send(event);
    }

    /// Follows events: remembered ones from `since`, then new ones, both up to `until`. Without `since` only new ones.
    pub fn subscribe(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filters: Filters,
    ) -> EventStream {
        let past = self.past();
        let live = self.inner.live.subscribe();
        // Docker remembers a little without `since` when only `until` is given.
        let from = since.or(until.map(|_| Timestamp::zero()));
        let remembered = match from {
            Some(from) => {
                past.iter().filter(|e| e.at >= from && until.is_none_or(|u| e.at <= u)).cloned().collect()
            }
            None => VecDeque::new(),
        };
        drop(past);
        self.inner.followers.fetch_add(1, Ordering::Relaxed);
        EventStream { past: remembered, live: Some(live), until, filters, events: self.clone() }
    }

    /// How many follow now.
    pub fn followers(&self) -> usize {
        self.inner.followers.load(Ordering::Relaxed)
    }

    fn past(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.inner.past.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl EventStream {
    /// The next event that the filters let through; `None` at `until`.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            let event = match self.past.pop_front() {
                Some(event) => event,
                None => self.next_live().await?,
            };
            if matches(&self.filters, &event) {
                return Some(event);
            }
        }
    }

    async fn next_live(&mut self) -> Option<Arc<Event>> {
        let live = self.live.as_mut()?;
        let left = match self.until {
            Some(until) => {
                let left = until.since(Timestamp::now());
                if left.is_zero() {
                    return None;
                }
                Some(left)
            }
            None => None,
        };
        loop {
            let received = match left {
                Some(left) => tokio::time::timeout(left, live.recv()).await.ok()?,
                None => live.recv().await,
            };
            match received {
                Ok(event) => return Some(event),
                // The follower is too slow: it goes on with what is still there, as Docker's does.
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.events.inner.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether all filters let `event` through (several values of one key: any).
fn matches(filters: &Filters, event: &Event) -> bool {
    let labels: Labels = event.attributes.clone();
    filters.iter().all(|(key, values)| {
        if values.is_empty() {
            return true;
        }
        match key.as_str() {
            "type" => values.contains(event.noun.as_str()),
            "event" => values
                .iter()
                .any(|v| event.action == *v || event.action.split(':').next() == Some(v.as_str())),
            "scope" => values.contains(event.scope.as_str()),
            "label" => values.iter().all(|wanted| crate::filter::label_matches(&labels, wanted)),
            "container" => {
                event.noun == Noun::Container && names(values, event)
                    || event.attributes.get("container").is_some_and(|c| {
                        event.noun != Noun::Container && values.iter().any(|v| c.starts_with(v.as_str()))
                    })
            }
            "network" => event.noun == Noun::Network && names(values, event),
            "volume" => event.noun == Noun::Volume && names(values, event),
            "daemon" => event.noun == Noun::Daemon && names(values, event),
            "service" => event.noun == Noun::Service && names(values, event),
            "node" => event.noun == Noun::Node && names(values, event),
            "secret" => event.noun == Noun::Secret && names(values, event),
            "config" => event.noun == Noun::Config && names(values, event),
            "image" => image_matches(values, event),
            _ => true,
        }
    })
}

fn names(values: &std::collections::BTreeSet<String>, event: &Event) -> bool {
    let name = event.attributes.get("name").map_or("", String::as_str);
    values
        .iter()
        .any(|v| event.id == *v || event.id.starts_with(v.as_str()) || name == v.trim_start_matches('/'))
}

/// An image filter fits with and without a tag, for images and for the image of a container.
fn image_matches(values: &std::collections::BTreeSet<String>, event: &Event) -> bool {
    let bare = |name: &str| match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
        _ => name.to_owned(),
    };
    let attribute = match event.noun {
        Noun::Image => event.attributes.get("name"),
        _ => event.attributes.get("image"),
    };
    let of_image = event.noun == Noun::Image;
    values.iter().any(|v| {
        of_image && (event.id == *v || bare(&event.id) == *v)
            || attribute.is_some_and(|a| a == v || bare(a) == *v)
    })
}

/// Names of filters that `events` knows.
pub const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];
