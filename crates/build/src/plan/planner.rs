//! Plans one Dockerfile for one platform: asks for what it must know of bases, then makes the steps (pure).

use super::{
    Base, Given, ImagePlan, Made, NoCache, Op, Plan, PlanOptions, Step, StepId, Tree, Wanted, form,
    stage::{self, Shop, State},
    stages::{self, Nodes},
};
use crate::{
    args::{self, Scope},
    checks::{self, Checks},
    dockerfile::{
        Dockerfile, directive,
        expand::{Expander, Variables},
        fault::Fault,
        instruction::Command,
        parser,
    },
    error::{DockerfileError, Lines},
    go::nearest,
};
use minke_image::platform;
use minke_model::image::Platform;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What contexts begin with that are images in a directory of the client's.
const LAYOUT: &str = "oci-layout://";
/// Most instructions of a file: plans grow with them.
const MAX_INSTRUCTIONS: usize = 5000;

/// Images that people mistype most.
const COMMON_IMAGES: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

/// Plans one Dockerfile for one platform.
///
/// ```text
/// new ──► wanted() not empty ──► give(…) each ──┐      wanted() empty ──► finish()
///              ▲────────────────────────────────┘
/// ```
#[derive(Debug)]
pub struct Planner {
    file: Dockerfile,
    options: PlanOptions,
    platform: Platform,
    global: Scope,
    checks: Checks,
    nodes: Nodes,
    target: usize,
    epoch: Option<i64>,
    asks: Vec<Ask>,
    /// Which of `asks` a node waits for.
    asked: BTreeMap<usize, usize>,
    needed: BTreeSet<usize>,
}

/// Something that is or was wanted.
#[derive(Clone, Debug)]
struct Ask {
    what: Base,
    platform: Platform,
    lines: Lines,
    /// As written.
    name: String,
    /// The further context that says so.
    context: Option<String>,
    given: Option<Given>,
}

impl Planner {
    /// Fails where the file or the options are wrong by themselves.
    pub fn new(file: Dockerfile, options: PlanOptions) -> Result<Self, DockerfileError> {
        let whole = |fault| DockerfileError::new(&file.source, Lines::one(1), "", fault);
        let count = file.stages.iter().map(|s| s.instructions.len() + 1).sum::<usize>();
        if count > MAX_INSTRUCTIONS {
            return Err(whole(Fault::TooMany(MAX_INSTRUCTIONS)));
        }
        if let Some(frontend) = options.build_args.get("BUILDKIT_SYNTAX") {
            let frontend = frontend.split_whitespace().next().unwrap_or_default();
            if !directive::is_official(frontend) {
                return Err(whole(Fault::Frontend(frontend.to_owned())));
            }
        }
        let directive =
            options.build_args.get("BUILDKIT_DOCKERFILE_CHECK").or(file.directives.check.as_ref());
        let mut checks = Checks::new(directive.map(String::as_str)).map_err(|fault| {
            let line = file.source.text.lines().position(|l| l.contains("check")).unwrap_or_default();
            DockerfileError::new(&file.source, Lines::one(line as u32 + 1), "check", fault)
        })?;
        form::check(&file, &mut checks);
        let begun = Self::begin(file, options, &mut checks);
        let mut planner = begun.map_err(|e| e.after(&checks.findings))?;
        planner.checks = checks;
        planner.advance()?;
        Ok(planner)
    }

    fn begin(file: Dockerfile, options: PlanOptions, checks: &mut Checks) -> Result<Self, DockerfileError> {
        let whole = |fault| DockerfileError::new(&file.source, Lines::one(1), "", fault);
        let platform = options.platform.clone().unwrap_or_else(|| options.build_platform.clone());
        let last = file.stages.last().and_then(|s| s.name.clone());
        let target = options.target.clone().or(last).unwrap_or_default();
        let mut global = args::predefined(&options.build_platform, &platform, &target, &options.build_args);
        stages::check_defaults(&file, &global, checks);
        let expander = Expander::new(file.directives.escape);
        for instruction in &file.arguments {
            let Command::Arg(arguments) = &instruction.command else { continue };
            args::add_global(&mut global, arguments, &options.build_args, &expander).map_err(
                |(fault, word)| DockerfileError::new(&file.source, instruction.lines, &word, fault),
            )?;
        }
        let epoch = epoch(&options, &global).map_err(whole)?;
        let nodes = stages::build(&file, &options, &platform, &global, checks)?;
        let target = nodes.target(options.target.as_deref(), &file.source)?;
        let (checks, asks, asked, needed) = Default::default();
        Ok(Self { file, options, platform, global, checks, nodes, target, epoch, asks, asked, needed })
    }

    /// What must be known next; all of it may be looked up at once. Empty: go on to [`Planner::finish`].
    pub fn wanted(&self) -> Vec<Wanted> {
        let open = self.asks.iter().enumerate().filter(|(_, ask)| ask.given.is_none());
        let wanted = |(id, ask): (usize, &Ask)| Wanted {
            id,
            what: ask.what.clone(),
            platform: ask.platform.clone(),
            lines: ask.lines,
        };
        open.map(wanted).collect()
    }

    /// Answers one of `wanted`; an id that was not wanted changes nothing. Fails where a trigger of the image is wrong.
    pub fn give(&mut self, id: usize, given: Given) -> Result<(), DockerfileError> {
        if let Some(ask) = self.asks.get_mut(id) {
            ask.given = Some(given);
        }
        self.advance()
    }

    /// The error for one of `wanted` that cannot be had, at its place in the file.
    pub fn unresolved(&self, id: usize, reason: String) -> DockerfileError {
        let (name, lines) = match self.asks.get(id) {
            Some(ask) => (ask.name.clone(), ask.lines),
            None => (String::new(), Lines::one(1)),
        };
        let near = nearest(&name, self.nodes.labels().chain(COMMON_IMAGES));
        let word = name.clone();
        DockerfileError::new(&self.file.source, lines, &word, Fault::Unresolved { name, reason })
            .suggest(near)
            .after(&self.checks.findings)
    }

    /// What checks found so far; all of it once [`Planner::finish`] has run.
    pub fn findings(&self) -> &[super::Finding] {
        &self.checks.findings
    }

    /// Asks for bases, and takes their triggers, until something is not known yet.
    fn advance(&mut self) -> Result<(), DockerfileError> {
        self.ask_on().map_err(|e| e.after(&self.checks.findings))
    }

    fn ask_on(&mut self) -> Result<(), DockerfileError> {
        loop {
            self.needed = match self.options.all_stages {
                true => (0..self.nodes.all.len()).collect(),
                false => self.nodes.reachable(self.target),
            };
            for number in self.needed.clone() {
                self.ask(number)?;
            }
            if self.asks.iter().any(|ask| ask.given.is_none()) {
                return Ok(());
            }
            let mut more = false;
            for number in self.needed.clone() {
                more |= self.take_triggers(number)?;
            }
            if !more {
                return Ok(());
            }
            self.nodes.circles(&self.file.source)?;
        }
    }

    /// Asks for what a node begins with, unless it is known or nothing.
    fn ask(&mut self, number: usize) -> Result<(), DockerfileError> {
        let node = &self.nodes.all[number];
        if self.asked.contains_key(&number) || node.base.is_some() {
            return Ok(());
        }
        let platform = node.platform.clone().unwrap_or_else(|| self.platform.clone());
        let name = node.base_name.clone();
        let error = |name: &str, reason: String| {
            let fault = Fault::BaseName { name: name.to_owned(), reason };
            DockerfileError::new(&self.file.source, node.lines, name, fault)
        };
        let context = match &node.context {
            Some(context) => Some(context.clone()),
            None if name == "scratch" => return Ok(()),
            None => {
                let full = stages::full_name(&name).map_err(|e| error(&name, e.to_string()))?.full();
                stages::context(&self.options, &full, &platform)
            }
        };
        let given_as = context.as_ref().and_then(|c| self.options.contexts.get(c));
        let image = match (given_as.and_then(|value| value.strip_prefix("docker-image://")), &context) {
            (Some(image), _) => Some(image),
            (None, Some(_)) => None,
            (None, None) => Some(name.as_str()),
        };
        let (what, given) = match (image, &context) {
            // An image too, in a directory of the client's.
            (None, Some(_)) if given_as.is_some_and(|value| value.starts_with(LAYOUT)) => {
                (Base::Image(given_as.cloned().unwrap_or_default()), None)
            }
            // A context may be nothing at all.
            (Some("scratch"), Some(context)) => (Base::Context(context.clone()), Some(Given::default())),
            (Some(image), _) => {
                (Base::Image(stages::full_name(image).map_err(|e| error(image, e.to_string()))?.full()), None)
            }
            (None, context) => (Base::Context(context.clone().unwrap_or_default()), None),
        };
        let known = self.asks.iter().position(|a| (&a.what, &a.platform) == (&what, &platform));
        let ask = known.unwrap_or(self.asks.len());
        if known.is_none() {
            self.asks.push(Ask { what, platform, lines: node.lines, name, context, given });
        }
        self.asked.insert(number, ask);
        Ok(())
    }

    /// Puts the triggers of a node's base in front; true if they read from something new.
    fn take_triggers(&mut self, number: usize) -> Result<bool, DockerfileError> {
        let node = &mut self.nodes.all[number];
        if std::mem::replace(&mut node.triggered, true) || node.context.is_some() {
            return Ok(false);
        }
        let lines = node.lines;
        let expressions: Vec<String> = match (node.base, self.asked.get(&number)) {
            (Some(base), _) => {
                let commands = self.nodes.all[base].commands.iter();
                let kept = |command: &Command| match command {
                    Command::Onbuild(expression) => Some(expression.clone()),
                    _ => None,
                };
                commands.filter_map(|c| kept(&c.instruction.command)).collect()
            }
            (None, Some(ask)) => {
                let given = self.asks[*ask].given.as_ref().and_then(|g| g.config.as_ref());
                given.map(|config| config.defaults.on_build.clone()).unwrap_or_default()
            }
            (None, None) => Vec::new(),
        };
        let source = self.file.source.clone();
        let triggers =
            expressions.iter().map(|e| parser::trigger(&source, lines, e)).collect::<Result<Vec<_>, _>>()?;
        let none = triggers.is_empty();
        let sources = |p: &stages::Planned| p.trigger && !p.sources.is_empty();
        self.nodes.trigger(number, triggers, &source)?;
        Ok(!none && self.nodes.all[number].commands.iter().any(sources))
    }

    /// Makes the steps. All that was wanted must have been given.
    pub fn finish(mut self) -> Result<Plan, DockerfileError> {
        let mut shop = Shop {
            source: self.file.source.clone(),
            expander: Expander::new(self.file.directives.escape),
            global: self.global.clone(),
            proxy: args::proxy(&self.options.build_args),
            ignore: crate::ignore::Ignore::new(&self.options.ignore).unwrap_or_default(),
            checks: std::mem::take(&mut self.checks),
            steps: Vec::new(),
            contexts: BTreeMap::new(),
            context_paths: BTreeSet::new(),
            trees: vec![None; self.nodes.all.len()],
        };
        match self.make(&mut shop) {
            Ok(state) => Ok(self.deliver(state, shop)),
            Err(e) => Err(e.after(&shop.checks.findings)),
        }
    }

    /// Makes the steps; what the target is in the end.
    fn make(&self, shop: &mut Shop) -> Result<State, DockerfileError> {
        let mut states: Vec<Option<State>> = vec![None; self.nodes.all.len()];
        let mut children = vec![0usize; self.nodes.all.len()];
        for number in &self.needed {
            if let Some(base) = self.nodes.all[*number].base {
                children[base] += 1;
            }
        }
        // Images that instructions read from are there before any stage.
        let mut images = BTreeMap::new();
        let (all, needed) = (&self.nodes.all, &self.needed);
        let order = |anonymous| needed.iter().copied().filter(move |n| all[*n].anonymous == anonymous);
        let mut indexes = vec![0usize; self.nodes.all.len()];
        for number in order(false).chain(order(true)) {
            if self.nodes.all[number].base.is_none() {
                let state = self.base(number, &mut indexes[number], &mut images, shop);
                if self.nodes.all[number].anonymous || self.nodes.all[number].context.is_some() {
                    shop.trees[number] = Some(state.tree);
                }
                states[number] = Some(state);
            }
        }
        for number in order(false) {
            let node = &self.nodes.all[number];
            let state = match node.base {
                // The last to begin with it may have it: states of long chains are not kept.
                Some(base) => {
                    children[base] -= 1;
                    let last = children[base] == 0 && base != self.target;
                    if last { states[base].take() } else { states[base].clone() }
                }
                None => states[number].take(),
            };
            let state = state.unwrap_or_else(|| stage::nothing(&self.platform));
            let state = match node.context {
                Some(_) => state,
                None => stage::plan(node, state, indexes[number], &self.options, shop)?,
            };
            shop.trees[number] = Some(state.tree);
            states[number] = (children[number] > 0 || number == self.target).then_some(state);
        }
        shop.checks
            .verdict()
            .map_err(|fault| DockerfileError::new(&self.file.source, Lines::one(1), "", fault))?;
        Ok(states[self.target].take().unwrap_or_else(|| stage::nothing(&self.platform)))
    }

    /// What a node begins with: nothing, an image or a context.
    fn base(
        &self,
        number: usize,
        index: &mut usize,
        images: &mut BTreeMap<usize, Tree>,
        shop: &mut Shop,
    ) -> State {
        let node = &self.nodes.all[number];
        let Some(at) = self.asked.get(&number) else { return stage::nothing(&self.platform) };
        let ask = &self.asks[*at];
        let given = ask.given.clone().unwrap_or_default();
        let config = given.config;
        let tree = match images.get(at) {
            Some(tree) => {
                // It is the first step of each that begins with it.
                if matches!(ask.what, Base::Image(_)) && ask.context.is_none() && node.total > 0 {
                    *index += 1;
                }
                *tree
            }
            None => {
                let tree = match &ask.what {
                    Base::Context(name)
                        if self.options.contexts.get(name).is_some_and(|v| v == "docker-image://scratch") =>
                    {
                        Tree::Empty
                    }
                    Base::Context(name) => {
                        let name = Some(name.clone());
                        let says =
                            format!("[context {}] load from client", name.as_deref().unwrap_or_default());
                        shop.step(Op::Context { name }, says, ask.lines, false, &ask.platform)
                    }
                    // An image without layers is nothing to fetch.
                    Base::Image(_) if config.as_ref().is_some_and(|c| c.diff_ids.is_empty()) => Tree::Empty,
                    Base::Image(reference) => {
                        let reference = match &given.digest {
                            Some(digest) if !reference.contains('@') => format!("{reference}@{digest}"),
                            _ => reference.clone(),
                        };
                        let says = match &ask.context {
                            Some(context) if reference.starts_with(LAYOUT) => {
                                format!("[context {context}] OCI load from client")
                            }
                            Some(context) => format!("[context {context}] {reference}"),
                            None => {
                                let says = format!("FROM {reference}");
                                let shown = self.options.multi_platform.then_some(&ask.platform);
                                stage::numbered(node, index, shown, None, false, &says)
                            }
                        };
                        shop.step(Op::Image { reference }, says, ask.lines, false, &ask.platform)
                    }
                };
                images.insert(*at, tree);
                tree
            }
        };
        if let (Base::Image(_), Some(config), false) = (&ask.what, &config, node.anonymous) {
            let (is, want) = (config.platform(), &ask.platform);
            if is.os != want.os || is.architecture != want.architecture {
                let show = |p: &Platform| crate::go::quote(&platform::format(&platform::normalize(p)));
                let says = format!(
                    "Base image {} was pulled with platform {}, expected {} for current build",
                    ask.name,
                    show(&is),
                    show(want)
                );
                shop.checks.find(&checks::INVALID_BASE_IMAGE_PLATFORM, node.lines, &[], says);
            }
        }
        stage::from_base(tree, config, ask.platform.clone())
    }

    fn deliver(self, state: State, shop: Shop) -> Plan {
        let mut defaults = state.defaults;
        for (name, value) in &self.options.labels {
            defaults.labels.insert(name.clone(), value.clone());
        }
        // What was asked for is what the image says it is.
        let mut is = state.platform;
        if let Some(asked) = &self.options.platform {
            let same = (&is.os, &is.architecture) == (&asked.os, &asked.architecture);
            let variant = if asked.variant.is_empty() && same { is.variant } else { asked.variant.clone() };
            is = Platform { os: asked.os.clone(), architecture: asked.architecture.clone(), variant };
        }
        let context_paths = match shop.context_paths.contains("/") {
            true => None,
            false => Some(shop.context_paths.iter().map(|p| p.trim_start_matches('/').to_owned()).collect()),
        };
        let (steps, result, history) = needed(shop.steps, state.tree, state.history, self.options.all_stages);
        Plan {
            steps,
            result,
            image: ImagePlan {
                defaults,
                author: state.author,
                platform: platform::normalize(&is),
                base: state.base,
                history,
            },
            context_paths,
            findings: shop.checks.findings,
            source_date_epoch: self.epoch,
        }
    }
}

/// Only the steps that the result needs, numbered anew.
fn needed(
    steps: Vec<Step>,
    result: Tree,
    history: Vec<Arc<Made>>,
    all: bool,
) -> (Vec<Step>, Tree, Vec<Made>) {
    let mut wanted = vec![all; steps.len()];
    if let Tree::Of(id) = result {
        wanted[id.0] = true;
    }
    for at in (0..steps.len()).rev().filter(|_| !all) {
        if wanted[at] {
            steps[at].op.inputs().into_iter().for_each(|StepId(input)| wanted[input] = true);
        }
    }
    let mut numbers = Vec::with_capacity(steps.len());
    let mut kept = Vec::new();
    for (step, wanted) in steps.into_iter().zip(wanted) {
        numbers.push(StepId(kept.len()));
        if wanted {
            kept.push(step);
        }
    }
    for step in &mut kept {
        step.op.renumber(&mut |id| numbers[id.0]);
    }
    let renumbered = |made: Arc<Made>| Made {
        created_by: made.created_by.clone(),
        layer: made.layer.map(|id| numbers[id.0]),
    };
    let history = history.into_iter().map(renumbered).collect();
    let result = match result {
        Tree::Of(id) => Tree::Of(numbers[id.0]),
        Tree::Empty => Tree::Empty,
    };
    (kept, result, history)
}

/// `SOURCE_DATE_EPOCH`, as a build argument or a global `ARG`.
fn epoch(options: &PlanOptions, global: &Scope) -> Result<Option<i64>, Fault> {
    let given = options.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str);
    match given.or(global.value("SOURCE_DATE_EPOCH")) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| Fault::Epoch(text.to_owned())),
    }
}

impl NoCache {
    /// From `--no-cache` and `--no-cache-filter`.
    pub fn new(all: bool, stages: Vec<String>) -> Self {
        match (all, stages.is_empty()) {
            (true, _) => NoCache::All,
            (false, true) => NoCache::Nothing,
            (false, false) => NoCache::Stages(stages),
        }
    }
}

impl Op {
    /// The steps that it reads from.
    pub fn inputs(&self) -> Vec<StepId> {
        let mut ids = Vec::new();
        // Renumbering to the same number only visits.
        self.clone().renumber(&mut |id| {
            ids.push(id);
            id
        });
        ids
    }

    pub(crate) fn renumber(&mut self, to: &mut dyn FnMut(StepId) -> StepId) {
        let mut tree = |tree: &mut Tree| {
            if let Tree::Of(id) = tree {
                *id = to(*id);
            }
        };
        match self {
            Op::Image { .. } | Op::Context { .. } | Op::Http(_) | Op::Git(_) => {}
            Op::Directory { base, .. } => tree(base),
            Op::Copy(copy) => {
                tree(&mut copy.base);
                for source in &mut copy.sources {
                    if let super::CopySource::Files { tree: from, .. } = source {
                        tree(from);
                    }
                }
            }
            Op::Run(run) => {
                tree(&mut run.base);
                for mount in &mut run.mounts {
                    use super::RunMount::{Bind, Cache, Secret, Ssh, Text, Tmpfs};
                    match mount {
                        Bind { tree: from, .. } | Cache { tree: from, .. } => tree(from),
                        Tmpfs { .. } | Secret { .. } | Ssh { .. } | Text { .. } => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
