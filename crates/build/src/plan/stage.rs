//! One stage, instruction by instruction: steps, and what becomes of the image's configuration (pure).

use super::{
    Made, Op, PlanOptions, Step, StepId, Tree, copy, ports, run,
    stages::{Node, Planned},
};
use crate::{
    args::{self, Scope},
    checks::{self, Checks, Rule, did_you_mean},
    dockerfile::{
        Instruction,
        expand::{Expanded, Expander, Variables},
        fault::Fault,
        instruction::{Argument, Command, CommandLine, Pair},
    },
    error::{DockerfileError, Lines, Source},
    go::{self, nearest, quote, quote_list},
    ignore::Ignore,
};
use minke_image::{ImageConfig, platform};
use minke_model::{
    health::HealthSpec,
    image::{ImageDefaults, Platform},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Where programs are looked for if the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `ARG`s that tell the builder something and are no variables.
const SETTINGS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What all stages share while steps are made.
pub(super) struct Shop {
    pub(super) source: Source,
    pub(super) expander: Expander,
    pub(super) global: Scope,
    pub(super) proxy: Vec<(String, String)>,
    pub(super) ignore: Ignore,
    pub(super) checks: Checks,
    pub(super) steps: Vec<Step>,
    /// The steps that load contexts.
    pub(super) contexts: BTreeMap<Option<String>, StepId>,
    /// Absolute paths of the main context that are read.
    pub(super) context_paths: BTreeSet<String>,
    /// What planned nodes left.
    pub(super) trees: Vec<Option<Tree>>,
}

/// Where a stage stands between two instructions.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) defaults: ImageDefaults,
    pub(super) author: String,
    pub(super) history: Vec<Arc<Made>>,
    pub(super) platform: Platform,
    pub(super) base: Option<Arc<ImageConfig>>,
    /// What processes see and `$` finds: the image's environment, and arguments.
    pub(super) scope: Scope,
    /// Arguments that were declared, in order.
    arguments: Vec<(String, Option<String>)>,
    workdir_set: bool,
}

/// `FROM scratch`.
pub(super) fn nothing(platform: &Platform) -> State {
    from_base(Tree::Empty, None, platform.clone())
}

/// What an image or a context without a configuration begins.
pub(super) fn from_base(tree: Tree, config: Option<Arc<ImageConfig>>, platform: Platform) -> State {
    let (defaults, author, is) = match &config {
        Some(config) => {
            let is = config.platform();
            let is = if is.os.is_empty() || is.architecture.is_empty() { platform } else { is };
            (ImageDefaults { on_build: Vec::new(), ..config.defaults.clone() }, config.author.clone(), is)
        }
        None => {
            (ImageDefaults { working_dir: "/".into(), ..ImageDefaults::default() }, String::new(), platform)
        }
    };
    State {
        tree,
        defaults,
        author,
        history: Vec::new(),
        platform: is,
        base: config,
        scope: Scope::default(),
        arguments: Vec::new(),
        workdir_set: false,
    }
}

impl Shop {
    pub(super) fn step(
        &mut self,
        op: Op,
        name: String,
        lines: Lines,
        no_cache: bool,
        platform: &Platform,
    ) -> Tree {
        let id = StepId(self.steps.len());
        self.steps.push(Step { op, name, lines, no_cache, platform: platform.clone() });
        Tree::Of(id)
    }

    /// The main context, of which `path` is read.
    pub(super) fn context(&mut self, path: &str, platform: &Platform) -> Tree {
        self.context_paths.insert(go::join("/", path));
        if let Some(id) = self.contexts.get(&None) {
            return Tree::Of(*id);
        }
        let op = Op::Context { name: None };
        let tree = self.step(op, "[internal] load build context".into(), Lines::default(), false, platform);
        if let Tree::Of(id) = tree {
            self.contexts.insert(None, id);
        }
        tree
    }
}

/// `text` with its place among a node's steps in front: `[linux/amd64 build 2/5] RUN make`.
pub(super) fn numbered(
    node: &Node,
    index: &mut usize,
    shown: Option<&Platform>,
    target: Option<Platform>,
    trigger: bool,
    text: &str,
) -> String {
    if node.total == 0 {
        return text.to_owned();
    }
    *index += 1;
    let mut front = String::new();
    if let Some(shown) = shown {
        front.push_str(&platform::format(shown));
        front.push_str(&target.map(|t| across(shown, &platform::normalize(&t))).unwrap_or_default());
        front.push(' ');
    }
    if !node.label.is_empty() {
        front.push_str(&node.label);
        front.push(' ');
    }
    let width = node.total.to_string().len();
    let onbuild = if trigger { "ONBUILD " } else { "" };
    format!("[{front}{:width$}/{}] {onbuild}{text}", index, node.total)
}

/// `->arm64` where a stage makes something for another platform than it runs on.
fn across(base: &Platform, target: &Platform) -> String {
    if target.os != base.os {
        return format!("->{}", platform::format(target));
    }
    match (target.architecture == base.architecture, target.variant.as_str()) {
        (true, _) => String::new(),
        (false, "") => format!("->{}", target.architecture),
        (false, variant) => format!("->{}/{variant}", target.architecture),
    }
}

/// One stage under way.
pub(super) struct Stage<'a> {
    pub(super) node: &'a Node,
    pub(super) options: &'a PlanOptions,
    pub(super) shop: &'a mut Shop,
    pub(super) state: State,
    pub(super) index: usize,
    /// Where `CMD`, `ENTRYPOINT` and `HEALTHCHECK` stood last.
    last: [Option<Lines>; 3],
}

/// Plans all of a node's instructions upon `state`.
pub(super) fn plan(
    node: &Node,
    state: State,
    index: usize,
    options: &PlanOptions,
    shop: &mut Shop,
) -> Result<State, DockerfileError> {
    let mut stage = Stage { node, options, shop, state, index, last: [None; 3] };
    stage.inherit();
    for planned in &node.commands {
        stage.instruction(planned).map_err(|wrong| {
            let lines = planned.instruction.lines;
            DockerfileError::new(&stage.shop.source, lines, &wrong.1, wrong.0).suggest(wrong.2)
        })?;
    }
    Ok(stage.state)
}

/// A fault, the word that it is about, and what may have been meant.
pub(super) type Wrong = (Fault, String, Option<String>);

/// A fault about the whole instruction.
pub(super) fn whole<T>(fault: Fault) -> Result<T, Wrong> {
    Err((fault, String::new(), None))
}

impl Stage<'_> {
    /// Takes over what the image says of its processes.
    fn inherit(&mut self) {
        let defaults = &mut self.state.defaults;
        if !defaults.env.iter().any(|e| e.starts_with("PATH=")) {
            defaults.env.push(format!("PATH={PATH}"));
        }
        for line in &defaults.env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            self.state.scope.set(name, value);
        }
        let dir = defaults.working_dir.clone();
        if !dir.is_empty() {
            self.state.defaults.working_dir = self.absolute(&dir);
        }
        // Triggers are for whoever builds on this, not for the stage after.
        self.state.defaults.on_build.clear();
    }

    fn instruction(&mut self, planned: &Planned) -> Result<(), Wrong> {
        let at = &planned.instruction;
        match &at.command {
            Command::Add(add) => copy::plan(self, planned, add, true),
            Command::Copy(copy) => copy::plan(self, planned, copy, false),
            Command::Run(run) => run::plan(self, planned, run),
            Command::Workdir(path) => self.workdir(planned, path),
            Command::Arg(arguments) => self.arg(at, arguments),
            Command::Env(pairs) => self.env(at, pairs),
            Command::Label(pairs) => self.label(at, pairs),
            Command::Cmd(line) => {
                let args = self.command(at, line, 0);
                self.made(format!("CMD {}", quote_list(&args)));
                self.state.defaults.cmd = Some(args);
                self.state.defaults.args_escaped = true;
                Ok(())
            }
            Command::Entrypoint(line) => {
                let args = self.command(at, line, 1);
                self.made(format!("ENTRYPOINT {}", quote_list(&args)));
                self.state.defaults.entrypoint = Some(args).filter(|a| !a.is_empty());
                // The base's command was for its own entrypoint.
                if self.last[0].is_none() {
                    self.state.defaults.cmd = None;
                }
                Ok(())
            }
            Command::Healthcheck(spec) => {
                self.once(at, 2);
                self.made(format!("HEALTHCHECK {}", show_health(spec)));
                self.state.defaults.healthcheck = Some(spec.clone());
                Ok(())
            }
            Command::Expose(words) => self.expose(at, words),
            Command::Maintainer(name) => {
                self.state.author = name.clone();
                self.made(format!("MAINTAINER {name}"));
                Ok(())
            }
            Command::Onbuild(expression) => {
                self.state.defaults.on_build.push(expression.clone());
                Ok(())
            }
            Command::Shell(words) => {
                self.state.defaults.shell = Some(words.clone());
                self.made(format!("SHELL {}", go::list(words)));
                Ok(())
            }
            Command::Stopsignal(text) => {
                let signal = self.expand(at, text)?;
                if !is_signal(&signal) {
                    return Err((Fault::Signal(signal), text.clone(), None));
                }
                self.made(format!("STOPSIGNAL {signal}"));
                self.state.defaults.stop_signal = Some(signal);
                Ok(())
            }
            Command::User(text) => {
                let user = self.expand(at, text)?;
                self.made(format!("USER {user}"));
                self.state.defaults.user = user;
                Ok(())
            }
            Command::Volume(paths) => {
                let paths = paths.iter().map(|p| self.expand(at, p)).collect::<Result<Vec<_>, _>>()?;
                if paths.iter().any(String::is_empty) {
                    return whole(Fault::EmptyVolume);
                }
                self.made(format!("VOLUME {}", go::list(&paths)));
                self.state.defaults.volumes.extend(paths);
                Ok(())
            }
        }
    }

    /// Adds to the history what made no layer.
    fn made(&mut self, created_by: String) {
        self.state.history.push(Arc::new(Made { created_by, layer: None }));
    }

    /// The stage's tree is now what `tree` is, made by an instruction that `created_by` tells.
    pub(super) fn layer(&mut self, tree: Tree, created_by: String) {
        let layer = match tree {
            Tree::Of(id) => Some(id),
            Tree::Empty => None,
        };
        self.state.tree = tree;
        self.state.history.push(Arc::new(Made { created_by, layer }));
    }

    pub(super) fn find(&mut self, at: &Instruction, rule: &Rule, message: String) {
        self.shop.checks.find(rule, at.lines, &at.comments, message);
    }

    /// `text` expanded; what is not set is told of.
    pub(super) fn expand(&mut self, at: &Instruction, text: &str) -> Result<String, Wrong> {
        let out = args::word(&self.shop.expander, text, &self.state.scope);
        let out = out.map_err(|(fault, word)| (fault, word, None))?;
        self.tell_unset(at, &out);
        Ok(out.text)
    }

    pub(super) fn tell_unset(&mut self, at: &Instruction, out: &Expanded) {
        for name in &out.unmatched {
            let declared = self.state.arguments.iter().any(|(n, _)| n == name);
            if declared || SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let near = did_you_mean("$", nearest(name, self.state.scope.names()));
            self.find(at, &checks::UNDEFINED_VAR, format!("Usage of undefined variable '${name}'{near}"));
        }
    }

    /// The name of a step, variables shown as they are.
    pub(super) fn name(&mut self, planned: &Planned, text: &str) -> String {
        let upper = match text.split_once(' ') {
            Some((first, rest)) => format!("{} {rest}", first.to_uppercase()),
            None => text.to_uppercase(),
        };
        let platform = self.state.platform.clone();
        let shown = self.options.multi_platform.then_some(&platform);
        let target = self.target_of_scope();
        numbered(self.node, &mut self.index, shown, target, planned.trigger, &upper)
    }

    /// What the stage's variables say that it builds for.
    fn target_of_scope(&self) -> Option<Platform> {
        let value = |name| self.state.scope.value(name);
        if let Some(text) = value("TARGETPLATFORM")
            && let Ok(target) = platform::parse(text)
        {
            return Some(target);
        }
        let (os, architecture, variant) = (value("TARGETOS"), value("TARGETARCH"), value("TARGETVARIANT"));
        os.or(architecture).or(variant)?;
        let or = |value: Option<&str>, base: &str| value.filter(|v| !v.is_empty()).unwrap_or(base).to_owned();
        Some(Platform {
            os: or(os, &self.state.platform.os),
            architecture: or(architecture, &self.state.platform.architecture),
            variant: variant.unwrap_or_default().to_owned(),
        })
    }

    /// `path` from where processes start.
    pub(super) fn absolute(&self, path: &str) -> String {
        let dir = match self.state.defaults.working_dir.as_str() {
            "" => "/",
            dir => dir,
        };
        match path {
            "" => go::join("/", dir),
            path if path.starts_with('/') => path.to_owned(),
            path => go::join("/", &go::join(dir, path)),
        }
    }

    fn workdir(&mut self, planned: &Planned, text: &str) -> Result<(), Wrong> {
        let at = &planned.instruction;
        let path = self.expand(at, text)?;
        if !self.state.workdir_set && !path.starts_with('/') {
            let says = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                quote(&path)
            );
            self.find(at, &checks::WORKDIR_RELATIVE_PATH, says);
        }
        self.state.workdir_set = true;
        let dir = self.absolute(&path);
        self.state.defaults.working_dir = dir.clone();
        if dir == "/" {
            self.made(format!("WORKDIR {dir}"));
            return Ok(());
        }
        let shown = self.shop.expander.word(&at.source, &self.state.scope).map(|out| out.text);
        let name = self.name(planned, &shown.unwrap_or_else(|_| at.source.clone()));
        let op = Op::Directory {
            base: self.state.tree,
            path: go::clean(&dir),
            owner: self.state.defaults.user.clone(),
        };
        let tree = self.shop.step(op, name, at.lines, false, &self.state.platform);
        self.layer(tree, format!("WORKDIR {dir}"));
        Ok(())
    }

    fn arg(&mut self, at: &Instruction, arguments: &[Argument]) -> Result<(), Wrong> {
        let mut said = Vec::new();
        for argument in arguments {
            let name = &argument.name;
            if let Some(says) = checks::secret("ARG", name) {
                self.find(at, &checks::SECRETS_IN_ARG_OR_ENV, says);
            }
            let value = match (self.options.build_args.get(name), &argument.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(at, default)?),
                (None, None) => self.shop.global.value(name).map(str::to_owned),
            };
            if let Some(value) = &value
                && !SETTINGS.contains(&name.as_str())
            {
                self.state.scope.set(name, value);
            }
            said.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            self.state.arguments.push((name.clone(), value));
        }
        self.made(format!("ARG {}", said.join(" ")));
        Ok(())
    }

    /// Names and values, expanded.
    fn pairs(&mut self, at: &Instruction, pairs: &[Pair]) -> Result<Vec<(String, String)>, Wrong> {
        pairs.iter().map(|pair| Ok((self.expand(at, &pair.name)?, self.expand(at, &pair.value)?))).collect()
    }

    fn tell_legacy(&mut self, at: &Instruction, pair: &Pair) {
        if pair.legacy {
            let word = &at.keyword;
            let says =
                format!("\"{word} key=value\" should be used instead of legacy \"{word} key value\" format");
            self.find(at, &checks::LEGACY_KEY_VALUE, says);
        }
    }

    fn env(&mut self, at: &Instruction, pairs: &[Pair]) -> Result<(), Wrong> {
        let mut said = String::from("ENV");
        for (pair, (name, value)) in pairs.iter().zip(self.pairs(at, pairs)?) {
            self.tell_legacy(at, pair);
            if let Some(says) = checks::secret("ENV", &name) {
                self.find(at, &checks::SECRETS_IN_ARG_OR_ENV, says);
            }
            let line = format!("{name}={value}");
            said.push(' ');
            said.push_str(&line);
            self.state.scope.set(&name, &value);
            let env = &mut self.state.defaults.env;
            match env.iter_mut().find(|e| e.split('=').next() == Some(&name)) {
                Some(old) => *old = line,
                None => env.push(line),
            }
        }
        self.made(said);
        Ok(())
    }

    fn label(&mut self, at: &Instruction, pairs: &[Pair]) -> Result<(), Wrong> {
        let mut said = String::from("LABEL");
        for (pair, (name, value)) in pairs.iter().zip(self.pairs(at, pairs)?) {
            self.tell_legacy(at, pair);
            said.push_str(&format!(" {name}={value}"));
            self.state.defaults.labels.insert(name, value);
        }
        self.made(said);
        Ok(())
    }

    fn expose(&mut self, at: &Instruction, words: &[String]) -> Result<(), Wrong> {
        let mut all = Vec::new();
        for word in words {
            let expanded = self.shop.expander.words(word, &self.state.scope);
            all.extend(expanded.map_err(|reason| {
                let (fault, word) = args::failed(word, reason);
                (fault, word, None)
            })?);
        }
        let exposed =
            ports::parse(&all).map_err(|fault| (fault, words.first().cloned().unwrap_or_default(), None))?;
        for word in exposed.casing {
            let says = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.find(at, &checks::EXPOSE_PROTO_CASING, says);
        }
        for word in exposed.mapped {
            let says = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
            );
            self.find(at, &checks::EXPOSE_INVALID_FORMAT, says);
        }
        let shown: Vec<String> = exposed.ports.iter().map(ToString::to_string).collect();
        self.made(format!("EXPOSE {}", go::list(&shown)));
        self.state.defaults.exposed_ports.extend(exposed.ports);
        Ok(())
    }

    /// Tells of an earlier one in the same stage: only the last counts.
    fn once(&mut self, at: &Instruction, which: usize) {
        if let Some(before) = self.last[which].replace(at.lines) {
            let word = &at.keyword;
            let says = format!(
                "Multiple {word} instructions should not be used in the same stage because only the last one will be used"
            );
            self.shop.checks.find(&checks::MULTIPLE_INSTRUCTIONS, before, &at.comments, says);
        }
    }

    /// `CMD` and `ENTRYPOINT`.
    fn command(&mut self, at: &Instruction, line: &CommandLine, which: usize) -> Vec<String> {
        self.once(at, which);
        if !line.shell {
            return line.words.clone();
        }
        if self.state.defaults.shell.as_ref().is_none_or(Vec::is_empty) {
            let says = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                at.keyword
            );
            self.find(at, &checks::JSON_ARGS_RECOMMENDED, says);
        }
        self.with_shell(&line.words.join(" "))
    }

    /// A line behind the image's shell.
    pub(super) fn with_shell(&self, line: &str) -> Vec<String> {
        let shell = self.state.defaults.shell.clone().filter(|s| !s.is_empty());
        let mut args = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
        args.push(line.to_owned());
        args
    }

    /// `|2 A=1 B=2 ` in front of a history's command: the arguments that were declared.
    pub(super) fn declared(&self) -> String {
        let mut seen: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.state.arguments {
            let value = self.state.scope.value(name).or(value.as_deref()).unwrap_or_default();
            let line = format!("{name}={value}");
            match seen.iter_mut().find(|(n, _)| n == name) {
                Some(old) => old.1 = line,
                None => seen.push((name, line)),
            }
        }
        if seen.is_empty() {
            return String::new();
        }
        let lines: Vec<String> = seen.into_iter().map(|(_, line)| line).collect();
        format!("|{} {} ", lines.len(), lines.join(" "))
    }
}

/// As Docker 28's history shows it: Go's `%q` of the structure.
fn show_health(spec: &HealthSpec) -> String {
    let duration = |ns| quote(&go::format_duration(ns));
    format!(
        "&{{{} {} {} {} {} {}}}",
        quote_list(spec.test.as_deref().unwrap_or_default()),
        duration(spec.interval),
        duration(spec.timeout),
        duration(spec.start_period),
        duration(spec.start_interval),
        go::quote_rune(spec.retries)
    )
}

/// Names of signals, without `SIG` (moby/sys signal, Linux).
const SIGNALS: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];

/// A number but 0, or a name.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, most: u32| {
        name.strip_prefix(prefix).and_then(|n| n.parse().ok()).is_some_and(|n: u32| (1..=most).contains(&n))
    };
    SIGNALS.contains(&name) || name == "RTMAX" || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}
