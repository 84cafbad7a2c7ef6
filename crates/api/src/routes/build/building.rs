//! A build under way, as its answer: a line a happening. Dropped with its answer, which ends it.

use super::{
    Entered, Prepared,
    feed::{Feed, News},
    options::Options,
    steps::{self, Steps},
};
use crate::{
    error::{ApiError, Result, status},
    response::{self, Answer},
    wire::progress::Line,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use minke_engine::{
    Engine,
    build::{BuildError, request::BuildEvent},
};
use serde_json::json;
use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc};

/// What BuildKit's result is called (moby `builder/builder-next`).
const IMAGE_ID: &str = "moby.image.id";

/// The id of what was built.
type Ended = std::result::Result<String, BuildError>;

/// A build under way.
pub(super) struct Building {
    /// `None` once it has ended.
    verb: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
    feed: Feed,
    buildkit: bool,
    steps: Option<Steps>,
    quiet: bool,
    tags: Vec<String>,
    lines: VecDeque<Line>,
    entered: Entered,
}

impl Building {
    pub(super) fn new(engine: Arc<Engine>, prepared: Prepared, options: Options, entered: Entered) -> Self {
        let feed = Feed::new(options.buildkit);
        let Prepared { client, request, exports, mut steps, refused } = prepared;
        let progress = feed.progress();
        let verb = async move {
            if let Some(refused) = refused {
                return Err(BuildError::unsupported(refused));
            }
            let built = engine.builds.solve(request, client.clone(), progress.clone()).await?;
            let said = engine.builds.export(&built, exports, Vec::new(), client, progress).await?;
            Ok(said.get("containerimage.config.digest").cloned().unwrap_or_default())
        };
        let lines = match (&mut steps, options.quiet) {
            (Some(steps), false) => steps.begin().into(),
            _ => VecDeque::new(),
        };
        Self {
            verb: Some(Box::pin(verb)),
            feed,
            buildkit: options.buildkit,
            steps,
            quiet: options.quiet,
            tags: options.tags.iter().map(|tag| tag.familiar()).collect(),
            lines,
            entered,
        }
    }

    fn news(&mut self, news: News) {
        match news {
            _ if self.quiet => {}
            News::Line(line) => self.lines.push_back(line),
            News::Event(event) => match &mut self.steps {
                Some(steps) => self.lines.extend(steps.event(event)),
                None => self.lines.extend(plain(&event)),
            },
        }
    }

    /// What is said at the end.
    async fn end(&mut self, ended: Ended) -> Result<()> {
        for news in self.feed.rest().await {
            self.news(news);
        }
        match ended {
            Ok(id) if self.quiet => self.lines.push_back(Line::stream(&format!("{id}\n"))),
            Ok(id) if self.buildkit => {
                if !id.is_empty() {
                    self.lines.push_back(Line::named(IMAGE_ID, json!({ "ID": id })));
                }
            }
            Ok(id) => {
                match &mut self.steps {
                    Some(steps) => self.lines.extend(steps.finish(&id)),
                    None => {
                        self.lines.push_back(Line::result(&id));
                        let built = format!("Successfully built {}\n", steps::short(&id));
                        self.lines.push_back(Line::stream(&built));
                    }
                }
                for tag in &self.tags {
                    self.lines.push_back(Line::stream(&format!("Successfully tagged {tag}\n")));
                }
            }
            Err(e) => {
                if let Some(steps) = self.steps.as_mut().filter(|_| !self.quiet) {
                    self.lines.extend(steps.fail(e.vertex()));
                }
                let (code, message) = if self.buildkit { (0, e.to_string()) } else { failure(&e) };
                if self.lines.is_empty() && self.quiet {
                    return Err(ApiError::new(status(e.kind()), message));
                }
                self.lines.push_back(Line::failure(code, &message));
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<Line>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            let verb = self.verb.as_mut()?;
            tokio::select! {
                biased;
                news = self.feed.next() => self.news(news),
                ended = verb => {
                    self.verb = None;
                    if let Err(e) = self.end(ended).await {
                        return Some(Err(e));
                    }
                }
                () = self.entered.cancelled.notified() => {
                    self.verb = None;
                    self.lines.push_back(Line::error("Build cancelled"));
                }
            }
        }
    }

    /// The answer: an error before the first line is an HTTP error, a later one is a line.
    pub(super) async fn answer(mut self) -> Result<Answer> {
        let first = match self.next().await {
            Some(Ok(first)) => vec![first.to_bytes()],
            Some(Err(e)) => return Err(e),
            None => Vec::new(),
        };
        let rest = response::steps(self, |mut building| async move {
            let line = building.next().await?.unwrap_or_else(|e| Line::error(&e.message));
            Some((Ok(line.to_bytes()), building))
        });
        let first = stream::iter(first.into_iter().map(Ok::<Bytes, std::io::Error>));
        Ok(response::chunks("application/json", first.chain(rest)))
    }
}

/// The classic builder's code and sentence.
fn failure(error: &BuildError) -> (i64, String) {
    if let (Some(code), Some(command)) = (error.exit_code(), command(error)) {
        return (code.into(), format!("The command '{command}' returned a non-zero code: {code}"));
    }
    (0, in_classic_words(&error.to_string()))
}

/// BuildKit's sentences that the classic builder has others for.
fn in_classic_words(sentence: &str) -> String {
    // `failed to calculate checksum of ref x::y: "/file": not found`
    if let Some((_, rest)) = sentence.split_once("failed to calculate checksum of ref ")
        && let Some(path) =
            rest.strip_suffix("\": not found").and_then(|rest| rest.rsplit_once('"')).map(|(_, p)| p)
    {
        let path = path.trim_start_matches('/');
        return format!(
            "COPY failed: file not found in build context or excluded by .dockerignore: stat {path}: file does not exist"
        );
    }
    // `alpine:x: failed to resolve source metadata for docker.io/library/alpine:x: …`: what the registry says stands alone.
    if let Some((_, rest)) = sentence.split_once("failed to resolve source metadata for ")
        && let Some((_, cause)) = rest.split_once(": ")
    {
        return cause.to_owned();
    }
    sentence.to_owned()
}

/// The command that failed.
fn command(error: &BuildError) -> Option<&str> {
    match error {
        BuildError::Exit { command, .. } => Some(command),
        BuildError::Step(error) => command(&error.cause),
        BuildError::Shared(error) => command(error),
        _ => None,
    }
}

/// Of a Dockerfile that is elsewhere, the steps are told as they happen.
fn plain(event: &BuildEvent) -> Option<Line> {
    match event {
        BuildEvent::Vertex(vertex) if vertex.cached => {
            Some(Line::stream(&format!("{}\n ---> Using cache\n", vertex.name)))
        }
        BuildEvent::Vertex(vertex) if vertex.started.is_some() && vertex.completed.is_none() => {
            Some(Line::stream(&format!("{}\n", vertex.name)))
        }
        BuildEvent::Log(log) => Some(Line::stream(&String::from_utf8_lossy(&log.bytes))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_builder_has_words_of_its_own() {
        let missing =
            "failed to compute cache key: failed to calculate checksum of ref a::b: \"/dir/x\": not found";
        assert_eq!(
            in_classic_words(missing),
            "COPY failed: file not found in build context or excluded by .dockerignore: stat dir/x: file does not exist"
        );
        let from =
            "a:x: failed to resolve source metadata for docker.io/library/a:x: pull access denied for a";
        assert_eq!(in_classic_words(from), "pull access denied for a");
        assert_eq!(in_classic_words("else"), "else");
    }
}
