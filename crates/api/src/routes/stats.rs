//! `stats`: one sample a second.

use super::{Routes, ok};
use crate::{
    error::Result,
    request::Ask,
    response::{self, Answer},
    wire::stats::Stats,
};
use minke_engine::container::{Containers, StatsSample};
use std::{sync::Arc, time::Duration};

/// Between two samples.
const BEAT: Duration = Duration::from_secs(1);

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let containers = routes.engine.containers.clone();
    let first = containers.stats(&ask.name).await?;
    if !ask.query.flag_or("stream", true) {
        // Without a process there is nothing to compare with.
        if ask.query.flag("one-shot") || first.usage.is_none() {
            return ok(&Stats::new(&first, None));
        }
        tokio::time::sleep(BEAT).await;
        let second = containers.stats(&ask.name).await?;
        return ok(&Stats::new(&second, Some(&first)));
    }
    let follow =
        Follow { containers, name: first.id.as_str().to_owned(), next: Some(Arc::new(first)), before: None };
    Ok(response::chunks(
        "application/json",
        response::steps(follow, |mut follow| async move {
            let chunk = follow.next().await?;
            Some((Ok(chunk), follow))
        }),
    ))
}

/// Samples on their way to a client.
struct Follow {
    containers: Containers,
    name: String,
    /// Sent next; else it is taken after a beat.
    next: Option<Arc<StatsSample>>,
    before: Option<Arc<StatsSample>>,
}

impl Follow {
    /// The next sample; `None` once the container is gone.
    async fn next(&mut self) -> Option<bytes::Bytes> {
        let sample = match self.next.take() {
            Some(first) => first,
            None => {
                tokio::time::sleep(BEAT).await;
                Arc::new(self.containers.stats(&self.name).await.ok()?)
            }
        };
        let line = response::line(&Stats::new(&sample, self.before.as_deref()));
        self.before = Some(sample);
        Some(line)
    }
}
