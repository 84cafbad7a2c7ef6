//! Runs a build: reads the Dockerfile, asks for what it begins with, plans, and does the steps.
//!
//! Everything outside is done by a [`Host`] and a [`Client`]. A dropped build stops at once.
//! Start at [`solve`], then `graph.rs`.
//!
//! Never: opens a file or a socket.

mod graph;
mod result;
mod sources;

use crate::{
    Dockerfile,
    error::{BuildError, Result, Source},
    flight::Flights,
    host::{At, Client, Host, Progress, Root},
    ignore::Ignore,
    key,
    plan::{Base, Finding, Given, Plan, PlanOptions, Planner},
    report::{Reporter, Telling},
    request::{BuildEvent, BuildRequest, Built, VertexWarning},
};
use futures_util::future::{BoxFuture, try_join_all};
use minke_image::platform;
use minke_model::{ContainerId, id::Digest, image::Platform};
use std::sync::Arc;

/// Most platforms of one build.
const MAX_PLATFORMS: usize = 16;

/// One build under way.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) client: Arc<dyn Client>,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) request: Arc<BuildRequest>,
    /// Tells its own vertices from other builds'.
    pub(crate) id: Arc<str>,
}

/// Runs a build.
pub async fn solve(
    request: BuildRequest,
    host: Arc<dyn Host>,
    client: Arc<dyn Client>,
    progress: Arc<dyn Progress>,
    flights: Arc<Flights>,
) -> Result<Arc<Built>> {
    if request.platforms.len() > MAX_PLATFORMS {
        return Err(BuildError::invalid(format!("more than {MAX_PLATFORMS} platforms")));
    }
    let id = ContainerId::random().as_str().into();
    let session = Session { host, client, progress, flights, request: Arc::new(request), id };
    session.run().await
}

impl Session {
    async fn run(&self) -> Result<Arc<Built>> {
        let mut sources = self.sources().await?;
        let file =
            Dockerfile::parse(&sources.dockerfile_name, &sources.dockerfile).map_err(BuildError::from)?;
        self.ignored(&mut sources).await?;
        let source = file.source.clone();
        let platforms = match &self.request.platforms[..] {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let several = platforms.len() > 1;
        let plans = platforms.into_iter().map(|p| self.plan(file.clone(), p, several, &sources.ignore));
        let plans = try_join_all(plans).await;
        let findings = match &plans {
            Ok(plans) => plans.first().map_or(&[][..], |plan| &plan.findings),
            Err(error) => error.findings(),
        };
        // Who only checks is told by the answer.
        if !self.request.check_only {
            self.warn(findings, &source, &sources.definition);
        }
        let findings = findings.to_vec();
        let plans = plans?;
        let multi_platform = self.request.multi_platform || several;
        let inline = self.request.options.build_args.get("BUILDKIT_INLINE_CACHE");
        let inline_cache = inline.is_some_and(|value| value == "1" || value == "true");
        if self.request.check_only {
            return Ok(Arc::new(Built {
                images: Vec::new(),
                multi_platform,
                findings,
                source,
                inline_cache,
            }));
        }
        if !self.request.cache_from.is_empty() {
            self.import().await;
        }
        let context = self.context(&plans, &sources);
        let source_of = &source;
        let images = plans.iter().map(|plan| graph::build(self, plan, context.clone(), source_of));
        let images = try_join_all(images).await?;
        Ok(Arc::new(Built { images, multi_platform, findings, source, inline_cache }))
    }

    /// Plans for one platform; asks for what stages begin with.
    async fn plan(
        &self,
        file: Dockerfile,
        platform: Option<Platform>,
        several: bool,
        ignore: &[String],
    ) -> Result<Plan> {
        let options = PlanOptions {
            build_platform: self.host.platform(),
            platform,
            multi_platform: several,
            ignore: ignore.to_vec(),
            all_stages: self.request.check_only || self.request.options.all_stages,
            ..self.request.options.clone()
        };
        let mut planner = Planner::new(file, options).map_err(BuildError::from)?;
        loop {
            let wanted = planner.wanted();
            if wanted.is_empty() {
                break;
            }
            let found = wanted.iter().map(|w| async move {
                match &w.what {
                    Base::Image(name) => (w.id, self.metadata(name, &w.platform).await),
                    Base::Context(name) => {
                        // Of a directory nothing says how its containers run.
                        let config = self.request.input(name).map(|input| input.config.clone());
                        (w.id, Ok(Given { digest: None, config }))
                    }
                }
            });
            for (id, given) in futures_util::future::join_all(found).await {
                let given = match given {
                    Ok(given) => given,
                    Err(error @ BuildError::Cancelled) => return Err(error),
                    Err(error) => return Err(planner.unresolved(id, error.to_string()).into()),
                };
                planner.give(id, given).map_err(BuildError::from)?;
            }
        }
        planner.finish().map_err(BuildError::from)
    }

    /// The configuration of an image.
    async fn metadata(&self, name: &str, platform: &Platform) -> Result<Given> {
        let shown = match self.request.platforms.len() {
            0 | 1 => format!("[internal] load metadata for {name}"),
            _ => format!("[{} internal] load metadata for {name}", platform::format(platform)),
        };
        let found = self
            .internal(&shown, |at| {
                Box::pin(async move { self.host.image_config(name, platform, self.request.pull, &at).await })
            })
            .await?;
        Ok(Given { digest: found.digest.map(|d| d.to_string()), config: Some(found.config) })
    }

    /// Does something of its own, told as a vertex.
    pub(crate) async fn internal<'a, T>(
        &'a self,
        name: &str,
        work: impl FnOnce(At) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let digest = key::internal(&self.id, name);
        let mut telling = Telling::known(digest, name.to_owned(), Vec::new(), &self.progress);
        telling.start();
        let at = self.at(Reporter::of(telling.digest(), &self.progress));
        let done = work(at).await;
        telling.end(&done);
        done
    }

    pub(crate) fn at(&self, reporter: Reporter) -> At {
        At { client: self.client.clone(), reporter }
    }

    async fn import(&self) {
        let shown: Vec<String> = self.request.cache_from.iter().map(sources::shown_cache).collect();
        let name = format!("importing cache manifest from {}", shown.join(", "));
        let imported = self.internal(&name, |at| {
            Box::pin(async move {
                self.host.import(&self.request.cache_from, &at).await;
                Ok(())
            })
        });
        // A cache that cannot be read is none.
        let _ = imported.await;
    }

    /// Tells what checks found, once for all platforms.
    fn warn(&self, findings: &[Finding], source: &Source, vertex: &Digest) {
        for finding in findings {
            self.progress.report(BuildEvent::Warning(VertexWarning {
                vertex: vertex.clone(),
                level: 1,
                short: finding.short(),
                detail: vec![finding.description.to_owned()],
                url: finding.url.to_owned(),
                source: source.clone(),
                lines: finding.lines,
            }));
        }
    }
}

/// What was read before planning.
pub(crate) struct Sources {
    pub(crate) dockerfile_name: String,
    pub(crate) dockerfile: Vec<u8>,
    /// The Dockerfile's own ignore file.
    pub(crate) own_ignore: Option<Vec<u8>>,
    /// What is left out of the main context.
    pub(crate) ignore: Vec<String>,
    /// The vertex that read the Dockerfile.
    pub(crate) definition: Digest,
    /// The main context, where it is here already.
    pub(crate) remote: Option<Root>,
}

impl Sources {
    /// Patterns that can be used; what cannot be read was told when it was.
    fn check(patterns: &[String]) -> Result<()> {
        Ignore::new(patterns).map(drop).map_err(|e| BuildError::invalid(e.to_string()))
    }
}

#[cfg(test)]
mod tests;
