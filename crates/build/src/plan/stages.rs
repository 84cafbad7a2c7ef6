//! Stages as nodes: which begins with which, and which reads from which (pure).

use super::{NoCache, PlanOptions};
use crate::{
    args::{self, Scope},
    checks::{self, Checks, did_you_mean},
    dockerfile::{
        Dockerfile, Instruction, Stage,
        expand::{Expanded, Expander, NoVariables, Variables},
        fault::Fault,
        instruction::Command,
    },
    error::{DockerfileError, Lines, Source},
    go::nearest,
};
use minke_image::{
    platform,
    reference::{Reference, ReferenceError},
};
use minke_model::image::Platform;
use std::collections::{BTreeMap, BTreeSet};

/// A stage, or an image or context that some instruction reads from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// As `AS` has it.
    pub(super) name: Option<String>,
    /// What names of steps begin with; empty where there is only one stage.
    pub(super) label: String,
    /// What it begins with, expanded.
    pub(super) base_name: String,
    /// The stage that it begins with.
    pub(super) base: Option<usize>,
    /// Its own platform.
    pub(super) platform: Option<Platform>,
    /// The context that stands in for all of it.
    pub(super) context: Option<String>,
    /// No stage of the file.
    pub(super) anonymous: bool,
    pub(super) lines: Lines,
    pub(super) commands: Vec<Planned>,
    /// How many steps its names count to; none are counted at 0.
    pub(super) total: usize,
    pub(super) no_cache: bool,
    /// Triggers of what it begins with are among its commands.
    pub(super) triggered: bool,
}

/// An instruction of a node.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) instruction: Instruction,
    /// What it reads from: one for `--from`, one for each `--mount`.
    pub(super) sources: Vec<usize>,
    /// It came from `ONBUILD`.
    pub(super) trigger: bool,
}

/// All nodes, in the order in which they are planned.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    by_name: BTreeMap<String, usize>,
}

/// The nodes of `file`'s stages.
pub(super) fn build(
    file: &Dockerfile,
    options: &PlanOptions,
    target: &Platform,
    global: &Scope,
    checks: &mut Checks,
) -> Result<Nodes, DockerfileError> {
    let expander = Expander::new(file.directives.escape);
    let mut nodes = Nodes::default();
    for (number, stage) in file.stages.iter().enumerate() {
        let node = of_stage(number, stage, file, options, target, (&expander, global), checks)?;
        nodes.add(node);
    }
    for (number, stage) in file.stages.iter().enumerate() {
        // What a context stands in for is not built.
        if nodes.all[number].context.is_some() {
            continue;
        }
        for instruction in &stage.instructions {
            let planned = nodes.planned(instruction.clone(), false, &file.source)?;
            nodes.all[number].commands.push(planned);
        }
        let node = &mut nodes.all[number];
        let makes_step = |c: &&Planned| {
            matches!(
                c.instruction.command,
                Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_)
            )
        };
        let pulls = node.base_name != "scratch" && node.base.is_none();
        node.total = usize::from(pulls) + node.commands.iter().filter(makes_step).count();
    }
    nodes.circles(&file.source)?;
    if let [only] = &mut nodes.all[..] {
        only.label.clear();
    }
    Ok(nodes)
}

fn of_stage(
    number: usize,
    stage: &Stage,
    file: &Dockerfile,
    options: &PlanOptions,
    target: &Platform,
    (expander, global): (&Expander, &Scope),
    checks: &mut Checks,
) -> Result<Node, DockerfileError> {
    let error = |word: &str, fault| DockerfileError::new(&file.source, stage.lines, word, fault);
    let base = args::word(expander, &stage.base, global).map_err(|(fault, word)| error(&word, fault))?;
    undeclared(&base, stage, file, global, checks);
    if base.text.is_empty() {
        return Err(error(&stage.base, Fault::BlankBase(stage.base.clone())));
    }
    let mut node = Node {
        name: stage.name.clone(),
        label: stage.name.clone().unwrap_or_else(|| format!("stage-{number}")),
        base_name: base.text,
        base: None,
        platform: None,
        context: None,
        anonymous: false,
        lines: stage.lines,
        commands: Vec::new(),
        total: 0,
        no_cache: match &options.no_cache {
            NoCache::Nothing => false,
            NoCache::All => true,
            NoCache::Stages(names) => {
                stage.name.as_ref().is_some_and(|name| names.iter().any(|n| n.eq_ignore_ascii_case(name)))
            }
        },
        triggered: false,
    };
    if let Some(text) = &stage.platform {
        node.platform = Some(platform_of(text, stage, file, (expander, global), checks)?);
    }
    if let Some(name) = &stage.name {
        node.context = context(options, name, node.platform.as_ref().unwrap_or(target));
    }
    Ok(node)
}

fn platform_of(
    text: &str,
    stage: &Stage,
    file: &Dockerfile,
    (expander, global): (&Expander, &Scope),
    checks: &mut Checks,
) -> Result<Platform, DockerfileError> {
    let error = |word: &str, fault| DockerfileError::new(&file.source, stage.lines, word, fault);
    let out = args::word(expander, text, global).map_err(|(fault, word)| error(&word, fault))?;
    undeclared(&out, stage, file, global, checks);
    let only = |names: &BTreeSet<String>, name: &str| names.len() == 1 && names.contains(name);
    if only(&out.matched, "TARGETPLATFORM")
        && out.unmatched.is_empty()
        && global.value("TARGETPLATFORM") == Some(out.text.as_str())
    {
        let says = format!(
            "Setting platform to predefined {text} in FROM is redundant as this is the default behavior"
        );
        checks.find(&checks::REDUNDANT_TARGET_PLATFORM, stage.lines, &stage.comments, says);
    }
    let near = || out.unmatched.iter().find_map(|name| nearest(name, global.names()));
    if out.text.is_empty() {
        return Err(error(text, Fault::EmptyPlatform(text.into())).suggest(near()));
    }
    let parsed = platform::parse(&out.text).map_err(|reason| {
        error(text, Fault::Platform { text: text.into(), reason: reason.to_string() }).suggest(near())
    })?;
    let name = stage.name.as_deref().unwrap_or_default();
    let named_after = name.contains(&parsed.os) || name.contains(&parsed.architecture);
    if out.matched.is_empty() && out.unmatched.is_empty() && !named_after {
        let says =
            format!("FROM --platform flag should not use constant value {}", crate::go::quote(&out.text));
        checks.find(&checks::FROM_PLATFORM_CONST, stage.lines, &stage.comments, says);
    }
    Ok(parsed)
}

/// Tells of variables in `FROM` that nothing declares.
fn undeclared(out: &Expanded, stage: &Stage, file: &Dockerfile, global: &Scope, checks: &mut Checks) {
    let declared = |name: &str| {
        let mut arguments = file.arguments.iter().filter_map(|instruction| match &instruction.command {
            Command::Arg(arguments) => Some(arguments),
            _ => None,
        });
        arguments.any(|arguments| arguments.iter().any(|argument| argument.name == name))
    };
    // One without a value is declared all the same.
    for name in out.unmatched.iter().filter(|name| !declared(name)) {
        let near = did_you_mean("", nearest(name, global.names()));
        let says = format!("FROM argument '{name}' is not declared{near}");
        checks.find(&checks::UNDEFINED_ARG_IN_FROM, stage.lines, &stage.comments, says);
    }
}

/// Tells of bases that are no image's name unless build arguments say otherwise.
pub(super) fn check_defaults(file: &Dockerfile, predefined: &Scope, checks: &mut Checks) {
    let expander = Expander::new(file.directives.escape);
    let mut scope = predefined.clone();
    for instruction in &file.arguments {
        let Command::Arg(arguments) = &instruction.command else { continue };
        if args::add_global(&mut scope, arguments, &BTreeMap::new(), &expander).is_err() {
            return;
        }
    }
    for stage in &file.stages {
        let Ok(base) = expander.word(&stage.base, &scope) else { return };
        if Reference::parse(&base.text).is_err() {
            let says =
                format!("Default value for ARG {} results in empty or invalid base image name", stage.base);
            checks.find(&checks::INVALID_DEFAULT_ARG_IN_FROM, stage.lines, &[], says);
        }
    }
}

/// The further context that stands in for the image or stage `name`, by its name in the options.
pub(super) fn context(options: &PlanOptions, name: &str, platform: &Platform) -> Option<String> {
    if ["scratch", "context"].iter().any(|n| n.eq_ignore_ascii_case(name)) {
        return None;
    }
    let familiar = Reference::parse(name).ok()?.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let with_platform = format!("{name}::{}", platform::format(&platform::normalize(platform)));
    [with_platform.as_str(), name].into_iter().find(|n| options.contexts.contains_key(*n)).map(str::to_owned)
}

/// The full name of an image, with `latest` where nothing is said.
pub(super) fn full_name(name: &str) -> Result<Reference, ReferenceError> {
    Reference::parse(name).map(Reference::or_latest)
}

impl Nodes {
    fn add(&mut self, mut node: Node) -> usize {
        node.base = match node.context {
            Some(_) => None,
            None => self.by_name.get(&node.base_name).copied(),
        };
        let number = self.all.len();
        if let Some(name) = &node.name {
            self.by_name.insert(name.clone(), number);
        }
        self.all.push(node);
        number
    }

    /// Finds what an instruction reads from.
    fn planned(
        &mut self,
        instruction: Instruction,
        trigger: bool,
        source: &Source,
    ) -> Result<Planned, DockerfileError> {
        let lines = instruction.lines;
        let error = |word: &str, fault| DockerfileError::new(source, lines, word, fault);
        let mut sources = Vec::new();
        match &instruction.command {
            Command::Copy(copy) => {
                if let Some(from) = &copy.from {
                    let plain = Expander::new('\\').word(from, &NoVariables);
                    let plain = plain.map_err(|reason| error(from, Fault::ExpandOnly(reason)))?;
                    if plain.text != *from {
                        return Err(error(from, Fault::FromVariable));
                    }
                    sources.push(match from.parse::<i64>() {
                        Ok(index) => usize::try_from(index)
                            .ok()
                            .filter(|i| *i < self.all.len())
                            .ok_or_else(|| error(from, Fault::StageIndex(index)))?,
                        Err(_) => self.find_or_add(from, lines),
                    });
                }
            }
            Command::Run(run) => {
                for mount in &run.mounts {
                    sources.push(self.find_or_add(mount.from.as_deref().unwrap_or("scratch"), lines));
                }
            }
            _ => {}
        }
        Ok(Planned { instruction, sources, trigger })
    }

    fn find_or_add(&mut self, name: &str, lines: Lines) -> usize {
        if let Some(number) = self.by_name.get(&name.to_lowercase()) {
            return *number;
        }
        self.add(Node {
            name: None,
            label: String::new(),
            base_name: name.to_owned(),
            base: None,
            platform: None,
            context: None,
            anonymous: true,
            lines,
            commands: Vec::new(),
            total: 0,
            no_cache: false,
            triggered: true,
        })
    }

    /// Puts the triggers of what a node begins with before its own instructions.
    pub(super) fn trigger(
        &mut self,
        number: usize,
        triggers: Vec<Instruction>,
        source: &Source,
    ) -> Result<(), DockerfileError> {
        let mut commands = Vec::new();
        for instruction in triggers {
            commands.push(self.planned(instruction, true, source)?);
        }
        self.all[number].total += commands.len();
        commands.append(&mut self.all[number].commands);
        self.all[number].commands = commands;
        Ok(())
    }

    /// The stage that is asked for.
    pub(super) fn target(&self, name: Option<&str>, source: &Source) -> Result<usize, DockerfileError> {
        let stages = self.all.iter().take_while(|n| !n.anonymous);
        let Some(name) = name else { return Ok(stages.count().saturating_sub(1)) };
        self.by_name.get(&name.to_lowercase()).copied().ok_or_else(|| {
            let fault = Fault::Target(name.to_owned());
            let near = nearest(name, stages.filter_map(|n| n.name.as_deref()));
            DockerfileError::new(source, Lines::one(1), "", fault).suggest(near)
        })
    }

    /// The names of all stages.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|n| n.label.as_str()).filter(|l| !l.is_empty())
    }

    /// All that `from` begins with or reads from, itself included.
    pub(super) fn reachable(&self, from: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(number) = next.pop() {
            if seen.insert(number) {
                next.extend(self.all[number].base);
                next.extend(self.all[number].commands.iter().flat_map(|c| c.sources.iter().copied()));
            }
        }
        seen
    }

    /// Fails where a stage reads from itself, through whichever others.
    pub(super) fn circles(&self, source: &Source) -> Result<(), DockerfileError> {
        let mut done = vec![false; self.all.len()];
        let mut open = vec![false; self.all.len()];
        for start in 0..self.all.len() {
            // Each open node with its next edge to follow. Only instructions can lead back.
            let mut path = vec![(start, 0)];
            while let Some((number, edge)) = path.last_mut() {
                let number = *number;
                open[number] = true;
                let node = &self.all[number];
                let edges = || node.commands.iter().flat_map(|c| c.sources.iter().map(move |s| (*s, c)));
                let following = if done[number] { None } else { edges().nth(*edge) };
                *edge += 1;
                match following {
                    Some((to, command)) if open[to] => {
                        let fault = Fault::Circular(self.all[start].label.clone());
                        let lines = command.instruction.lines;
                        return Err(DockerfileError::new(source, lines, &self.all[to].label, fault));
                    }
                    Some((to, _)) => path.push((to, 0)),
                    None => {
                        (done[number], open[number]) = (true, false);
                        path.pop();
                    }
                }
            }
        }
        Ok(())
    }
}
