//! What a build's answer is made of while it runs: events for the classic builder's lines, or BuildKit's own messages.

use super::watch::Watch;
use crate::{
    buildkit::journal::{Journal, Reader},
    wire::progress::Line,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minke_engine::build::{Progress, request::BuildEvent};
use prost::Message as _;
use std::sync::Arc;

/// What BuildKit's messages are called (moby `builder/builder-next`).
const TRACE: &str = "moby.buildkit.trace";

/// One of both.
pub(super) enum Feed {
    /// Events, one by one.
    Classic(Watch),
    /// `moby.buildkit.v1.StatusResponse`.
    Buildkit(Arc<Journal>, Reader),
}

/// The next of it.
pub(super) enum News {
    /// Something happened.
    Event(BuildEvent),
    /// A line as it is.
    Line(Line),
}

impl Feed {
    /// For the classic builder's lines, or BuildKit's.
    pub(super) fn new(buildkit: bool) -> Self {
        match buildkit {
            false => Feed::Classic(Watch::default()),
            true => {
                let journal = Arc::new(Journal::default());
                let reader = journal.clone().read();
                Feed::Buildkit(journal, reader)
            }
        }
    }

    /// Who is told.
    pub(super) fn progress(&self) -> Arc<dyn Progress> {
        match self {
            Feed::Classic(watch) => Arc::new(watch.clone()),
            Feed::Buildkit(journal, _) => journal.clone(),
        }
    }

    /// The next; waits until there is something.
    pub(super) async fn next(&mut self) -> News {
        match self {
            Feed::Classic(watch) => News::Event(watch.next().await),
            Feed::Buildkit(_, reader) => match reader.next().await {
                Some(message) => {
                    News::Line(Line::named(TRACE, STANDARD.encode(message.encode_to_vec()).into()))
                }
                // It is closed at the build's end only.
                None => std::future::pending().await,
            },
        }
    }

    /// All that was not told yet, now that nothing more comes.
    pub(super) async fn rest(&mut self) -> Vec<News> {
        let mut rest = Vec::new();
        match self {
            Feed::Classic(watch) => rest.extend(std::iter::from_fn(|| watch.take()).map(News::Event)),
            Feed::Buildkit(journal, reader) => {
                journal.close();
                while let Some(message) = reader.next().await {
                    let encoded = STANDARD.encode(message.encode_to_vec());
                    rest.push(News::Line(Line::named(TRACE, encoded.into())));
                }
            }
        }
        rest
    }
}
