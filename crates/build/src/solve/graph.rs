//! Does the steps of one plan: each as soon as what it reads is there, independent ones side by side.

use super::{Session, result, sources::Context};
use crate::{
    error::{BuildError, Result, Source, StepError},
    host::{About, At, CopyWork, Host, Left, Root, RunWork, Selection},
    key,
    plan::{CopySource, Op, Plan, RunMount, Step, Tree},
    report::{Reporter, Telling},
    request::{BuiltImage, CachedStep},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, try_join_all},
};
use minke_image::work::chain_id;
use minke_model::{Timestamp, id::Digest};
use std::sync::Arc;

/// A step of this build, done once for all that need it.
type Cell = Shared<BoxFuture<'static, Result<Done, Arc<BuildError>>>>;

/// A step that was done.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) left: Left,
    /// Its keys; none where it is not cached by one.
    pub(super) keys: Vec<Digest>,
    /// What the cache has of it: of `--link` without what it lies on.
    own: Root,
    /// It is an image's files: known by its layers alone.
    is_image: bool,
}

/// Builds the image of one plan.
pub(super) async fn build(
    session: &Session,
    plan: &Plan,
    context: Context,
    source: &Source,
) -> Result<BuiltImage> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut vertices: Vec<Digest> = Vec::new();
    for step in &plan.steps {
        let inputs: Vec<_> = step.op.inputs();
        let input_vertices: Vec<Digest> = inputs.iter().map(|id| vertices[id.0].clone()).collect();
        let vertex = match &step.op {
            Op::Context { name: None } => key::internal(&session.id, "[internal] load build context"),
            _ => key::vertex(step, &input_vertices),
        };
        let telling = Telling::known(vertex.clone(), step.name.clone(), input_vertices, &session.progress);
        let doing = Doing {
            session: session.clone(),
            step: step.clone(),
            epoch: plan.source_date_epoch,
            inputs: inputs.iter().map(|id| cells[id.0].clone()).collect(),
            context: context.clone(),
            telling,
            source: source.clone(),
        };
        vertices.push(vertex);
        cells.push(doing.done().boxed().shared());
    }
    let all = try_join_all(cells.iter().cloned()).await;
    let done = all.map_err(|error| match Arc::try_unwrap(error) {
        Ok(error) => error,
        Err(error) => BuildError::Shared(error),
    })?;
    let root = match plan.result {
        Tree::Empty => Root::empty(),
        Tree::Of(id) => done.get(id.0).map_or_else(Root::empty, |done| done.left.root.clone()),
    };
    let (root, above) = layered(session, root).await?;
    let config = result::config(plan, &done, root.chain(), above)?;
    let in_result = needed(plan);
    let cache = done
        .iter()
        .zip(in_result)
        .zip(&plan.steps)
        .flat_map(|((done, in_result), step)| {
            done.keys.iter().map(move |key| CachedStep {
                key: key.clone(),
                root: done.own.clone(),
                created: done.left.created,
                description: step.name.clone(),
                in_result,
            })
        })
        .collect();
    Ok(BuiltImage {
        platform: plan.image.platform.clone(),
        config: Arc::new(config),
        root,
        epoch: plan.source_date_epoch,
        cache,
    })
}

/// Which steps made layers of the result.
fn needed(plan: &Plan) -> Vec<bool> {
    let mut needed = vec![false; plan.steps.len()];
    for made in &plan.image.history {
        if let Some(id) = made.layer {
            needed[id.0] = true;
        }
    }
    needed
}

/// A result that is a directory (a stage that begins with a context) as layers; whether it was one.
async fn layered(session: &Session, root: Root) -> Result<(Root, Option<Timestamp>)> {
    if matches!(root, Root::Layers { .. }) {
        return Ok((root, None));
    }
    let at = session.at(Reporter::new());
    let root = as_layers(session, root, &at).await?;
    Ok((root, Some(Timestamp::now())))
}

async fn as_layers(session: &Session, root: Root, at: &At) -> Result<Root> {
    if matches!(root, Root::Layers { .. }) {
        return Ok(root);
    }
    let op = crate::plan::CopyOp {
        base: Tree::Empty,
        sources: vec![CopySource::Files {
            tree: Tree::Empty,
            path: "/".into(),
            local: true,
            unpack: false,
            parents: None,
        }],
        destination: "/".into(),
        owner: None,
        mode: None,
        link: false,
        exclude: Vec::new(),
    };
    session.host.copy(CopyWork { base: Root::empty(), sources: vec![root], op, epoch: None }, at).await
}

struct Doing {
    session: Session,
    step: Step,
    epoch: Option<i64>,
    inputs: Vec<Cell>,
    context: Context,
    telling: Telling,
    source: Source,
}

impl Doing {
    async fn done(mut self) -> Result<Done, Arc<BuildError>> {
        let inputs = try_join_all(std::mem::take(&mut self.inputs)).await?;
        let done = self.step(inputs).await;
        self.telling.end_unless_cached(&done);
        done.map_err(|cause| Arc::new(self.placed(cause)))
    }

    /// With the place of the step in its Dockerfile.
    fn placed(&self, cause: BuildError) -> BuildError {
        if matches!(cause, BuildError::Cancelled | BuildError::Step(_)) {
            return cause;
        }
        BuildError::Step(Box::new(StepError {
            vertex: self.telling.digest().clone(),
            name: self.step.name.clone(),
            source_file: self.source.clone(),
            lines: self.step.lines,
            cause,
        }))
    }

    async fn step(&mut self, inputs: Vec<Done>) -> Result<Done> {
        let session = self.session.clone();
        let host = &session.host;
        let at = session.at(Reporter::of(self.telling.digest(), &session.progress));
        match self.step.op.clone() {
            Op::Image { reference } => {
                self.telling.start();
                let left = host.image(&reference, &self.step.platform, &at).await?;
                // Its layers came with its configuration, if they were not here.
                self.telling.cached();
                Ok(Done { own: left.root.clone(), left, keys: Vec::new(), is_image: true })
            }
            Op::Context { name } => {
                self.telling.start();
                let root = match name {
                    None => self.context.clone().await.map_err(BuildError::Shared)?,
                    Some(name) => session.named_context(&name, &at).await?,
                };
                Ok(fresh(root))
            }
            Op::Http(http) => {
                self.telling.start();
                Ok(fresh(host.http(&http, &at).await?))
            }
            Op::Git(git) => {
                self.telling.start();
                Ok(fresh(host.git(&git, &at).await?))
            }
            Op::Copy(_) | Op::Directory { .. } | Op::Run(_) => self.cached(inputs).await,
        }
    }

    /// A step whose result the cache may have.
    async fn cached(&mut self, inputs: Vec<Done>) -> Result<Done> {
        let host = self.session.host.clone();
        let at = self.session.at(Reporter::of(self.telling.digest(), &self.session.progress));
        let images: Vec<bool> = inputs.iter().map(|done| done.is_image).collect();
        let mut roots: Vec<Root> = inputs.into_iter().map(|done| done.left.root).collect();
        // The tree that is changed is one of layers, whatever it began with.
        let based = self.base().is_some();
        if based && let Some(base) = roots.first_mut() {
            *base = as_layers(&self.session, base.clone(), &at).await?;
        }
        let keys = self.keys(&roots, &images).await?;
        if !self.step.no_cache {
            for key in &keys {
                if let Some(left) = host.find(key).await {
                    self.telling.cached();
                    if keys.first() != Some(key) {
                        host.keep(&keys, &left, self.about()).await?;
                    }
                    let own = left.root.clone();
                    return Ok(Done { left: self.on_base(left, &roots)?, keys, own, is_image: false });
                }
            }
        }
        self.telling.start();
        let work = self.work(roots.clone());
        let progress = self.session.progress.clone();
        let left = match self.is_shareable() {
            true => {
                let key = keys.last().cloned().unwrap_or_else(|| self.telling.digest().clone());
                let (about, kept, client) = (self.about(), keys.clone(), self.session.client.clone());
                let flying = self.session.flights.join(&key, self.telling.digest(), &progress, |reporter| {
                    let at = At { client, reporter };
                    async move {
                        let left = work.run(&*host, &at).await?;
                        host.keep(&kept, &left, about).await?;
                        Ok(left)
                    }
                    .boxed()
                });
                flying.await?
            }
            false => {
                let left = work.run(&*host, &at).await?;
                host.keep(&keys, &left, self.about()).await?;
                left
            }
        };
        let own = left.root.clone();
        Ok(Done { left: self.on_base(left, &roots)?, keys, own, is_image: false })
    }

    /// The tree that is changed.
    fn base(&self) -> Option<Tree> {
        let base = match &self.step.op {
            Op::Copy(op) => op.base,
            Op::Directory { base, .. } => *base,
            Op::Run(op) => op.base,
            _ => return None,
        };
        matches!(base, Tree::Of(_)).then_some(base)
    }

    /// Whether it is made on nothing, then laid over its base.
    fn is_linked(&self) -> bool {
        matches!(&self.step.op, Op::Copy(op) if op.link)
    }

    /// What was made, on its base.
    fn on_base(&self, left: Left, roots: &[Root]) -> Result<Left> {
        match roots.first() {
            Some(base) if self.is_linked() && self.base().is_some() => {
                Ok(Left { root: self.session.host.stack(base, &left.root)?, ..left })
            }
            _ => Ok(left),
        }
    }

    /// What is secret is the client's own.
    fn is_shareable(&self) -> bool {
        let secret = |mount: &RunMount| matches!(mount, RunMount::Secret { .. } | RunMount::Ssh { .. });
        !matches!(&self.step.op, Op::Run(op) if op.mounts.iter().any(secret)) && !self.step.no_cache
    }

    fn about(&self) -> About {
        About { description: self.step.name.clone(), kind: "regular" }
    }

    /// Its keys: by the layers that it reads, then by the content of what it reads of them.
    async fn keys(&self, roots: &[Root], images: &[bool]) -> Result<Vec<Digest>> {
        let request = &self.session.request;
        let make = |inputs: &[String]| key::key(&self.step, &request.run, self.epoch, inputs);
        let reads = self.reads(roots, images);
        let base = match roots.first() {
            Some(root) if self.base().is_some() && !self.is_linked() => vec![chain(root)],
            _ => Vec::new(),
        };
        let mut keys = Vec::new();
        if reads.iter().all(|(root, ..)| matches!(root, Root::Layers { .. })) {
            let by_layers = reads.iter().map(|(root, ..)| chain(root));
            keys.push(make(&base.iter().cloned().chain(by_layers).collect::<Vec<_>>()));
            if reads.iter().all(|(_, is_image, _)| *is_image) {
                return Ok(keys);
            }
            // What is known by its layers need not be read.
            if !self.step.no_cache && self.session.host.find(&keys[0]).await.is_some() {
                return Ok(keys);
            }
        }
        let mut by_content = base;
        by_content.push("content".into());
        for (root, is_image, selection) in &reads {
            by_content.push(match is_image {
                true => chain(root),
                false => self.session.host.content(root, selection).await?.to_string(),
            });
        }
        keys.push(make(&by_content));
        Ok(keys)
    }

    /// The trees that it reads besides its base, and what of them.
    fn reads(&self, roots: &[Root], images: &[bool]) -> Vec<(Root, bool, Selection)> {
        let mut rest = roots.iter().zip(images).skip(usize::from(self.base().is_some()));
        let mut next = |tree: &Tree| match tree {
            Tree::Empty => (Root::empty(), true),
            Tree::Of(_) => rest.next().map_or((Root::empty(), true), |(root, image)| (root.clone(), *image)),
        };
        match &self.step.op {
            Op::Copy(op) => {
                let read = |source: &CopySource| match source {
                    CopySource::Files { tree, path, local, parents, .. } => {
                        let (root, is_image) = next(tree);
                        Some((
                            root,
                            is_image,
                            Selection::of_copy(path, *local, &op.exclude, parents.as_ref()),
                        ))
                    }
                    CopySource::Text { .. } => None,
                };
                op.sources.iter().filter_map(read).collect()
            }
            Op::Run(op) => {
                let read = |mount: &RunMount| match mount {
                    RunMount::Bind { tree, source, .. } => {
                        let (root, is_image) = next(tree);
                        Some((root, is_image, Selection::plain(source)))
                    }
                    // What a cache begins with is no part of what is run.
                    RunMount::Cache { tree, .. } => {
                        next(tree);
                        None
                    }
                    _ => None,
                };
                op.mounts.iter().filter_map(read).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What is to be done, with its trees.
    fn work(&self, roots: Vec<Root>) -> Work {
        let mut rest = roots.into_iter();
        let mut next = |tree: &Tree| match tree {
            Tree::Empty => Root::empty(),
            Tree::Of(_) => rest.next().unwrap_or_else(Root::empty),
        };
        let epoch = self.epoch;
        match self.step.op.clone() {
            Op::Copy(op) => {
                let base = next(&op.base);
                let tree = |source: &CopySource| match source {
                    CopySource::Files { tree, .. } => next(tree),
                    CopySource::Text { .. } => Root::empty(),
                };
                let sources = op.sources.iter().map(tree).collect();
                let base = if op.link { Root::empty() } else { base };
                Work::Copy(CopyWork { base, sources, op, epoch })
            }
            Op::Run(op) => {
                let base = next(&op.base);
                let tree = |mount: &RunMount| match mount {
                    RunMount::Bind { tree, .. } | RunMount::Cache { tree, .. } => next(tree),
                    _ => Root::empty(),
                };
                let mounts = op.mounts.iter().map(tree).collect();
                let options = self.session.request.run.clone();
                Work::Run(self.step.platform.clone(), RunWork { base, mounts, op, options, epoch })
            }
            Op::Directory { base, path, owner } => Work::Directory { base: next(&base), path, owner, epoch },
            // Never asked for.
            Op::Image { .. } | Op::Context { .. } | Op::Http(_) | Op::Git(_) => Work::Nothing,
        }
    }
}

/// What a step does, with its trees.
enum Work {
    Copy(CopyWork),
    Directory { base: Root, path: String, owner: String, epoch: Option<i64> },
    Run(minke_model::image::Platform, RunWork),
    Nothing,
}

impl Work {
    async fn run(self, host: &dyn Host, at: &At) -> Result<Left> {
        let root = match self {
            Work::Copy(work) => host.copy(work, at).await?,
            Work::Directory { base, path, owner, epoch } => {
                host.directory(base, &path, &owner, epoch).await?
            }
            Work::Run(platform, work) => {
                host.check_platform(&platform)?;
                host.run(work, at).await?
            }
            Work::Nothing => Root::empty(),
        };
        Ok(Left { root, created: Timestamp::now() })
    }
}

fn fresh(root: Root) -> Done {
    let left = Left { root: root.clone(), created: Timestamp::now() };
    Done { left, keys: Vec::new(), own: root, is_image: false }
}

/// The identity of a tree of layers.
fn chain(root: &Root) -> String {
    chain_id(root.chain()).to_string()
}
