//! `RUN`: what runs, and what it sees (pure).

use super::{
    Op, Owner, RunMount, RunOp, Tree,
    stage::{Stage, Wrong, whole},
    stages::Planned,
};
use crate::{
    args::{self, Scope},
    dockerfile::{
        expand::{Expander, Variables},
        fault::Fault,
        heredoc,
        instruction::{Heredoc, Run, RunNetwork},
        mount::{self, Mount, MountType},
    },
    go::{self, list},
};

/// Where a script that stands in the Dockerfile is seen.
const SCRIPTS: &str = "/dev/pipes/";

/// Plans one `RUN`.
pub(super) fn plan(stage: &mut Stage<'_>, planned: &Planned, run: &Run) -> Result<(), Wrong> {
    let at = &planned.instruction;
    if let Some(device) = run.devices.first() {
        return Err((Fault::Device(device.clone()), device.clone(), None));
    }
    if run.insecure && !stage.options.allow_insecure {
        return Err((Fault::Insecure, "--security".into(), None));
    }
    if run.network == RunNetwork::Host && !stage.options.allow_host_network {
        return Err((Fault::NetworkHost, "--network".into(), None));
    }
    let mut mounts = Vec::new();
    let mut masked = Vec::new();
    for (flag, source) in run.mounts.iter().zip(&planned.sources) {
        let mut unset = Vec::new();
        let (expander, scope) = (stage.shop.expander, stage.state.scope.clone());
        let mount = mount::parse(flag, &mut |text| {
            let out = args::word(&expander, text, &scope).map_err(|(fault, _)| fault)?;
            let text = out.text.clone();
            unset.push(out);
            Ok(text)
        })?;
        unset.iter().for_each(|out| stage.tell_unset(at, out));
        masked.extend(mount.env.clone().filter(|_| mount.kind == MountType::Secret));
        mounts.push(one(stage, mount, flag.from.as_deref(), *source)?);
    }

    let mut shown = at.source.clone();
    let (args, script) = command(stage, run, &mut shown)?;
    mounts.extend(script);
    // What comes from a secret is shown as such.
    let shown = {
        let mut scope: Scope = stage.state.scope.clone();
        masked.iter().for_each(|name| scope.set(name, "****"));
        let how = Expander { keep_quotes: true, keep_unset: true, ..stage.shop.expander };
        how.word(&shown, &scope as &dyn Variables).map(|out| out.text).unwrap_or(shown)
    };
    let name = stage.name(planned, &shown);
    let state = &stage.state;
    let created_by = format!("RUN {}{} # buildkit", stage.declared(), args.join(" "));
    let network = if run.network == RunNetwork::Default { stage.options.network } else { run.network };
    let op = Op::Run(RunOp {
        base: state.tree,
        args,
        env: state.scope.lines(),
        cwd: go::clean(&stage.absolute("")),
        user: state.defaults.user.clone(),
        mounts,
        network,
        insecure: run.insecure,
        proxy: stage.shop.proxy.clone(),
    });
    let platform = state.platform.clone();
    let tree = stage.shop.step(op, name, at.lines, stage.node.no_cache, &platform);
    stage.layer(tree, created_by);
    Ok(())
}

/// What runs; a script of the Dockerfile that begins with `#!` becomes a file.
fn command(
    stage: &Stage<'_>,
    run: &Run,
    shown: &mut String,
) -> Result<(Vec<String>, Option<RunMount>), Wrong> {
    let words = &run.line.words;
    if !run.line.shell {
        return Ok((words.clone(), None));
    }
    let Some(first) = run.line.documents.first() else {
        return Ok((stage.with_shell(&words.join(" ")), None));
    };
    let [line] = &words[..] else { return whole(Fault::RunHeredoc(list(words))) };
    if heredoc::parse(line).is_none() {
        // The shell reads its documents itself.
        let mut whole = line.clone();
        for Heredoc { name, content, .. } in &run.line.documents {
            whole.push_str(&format!("\n{content}{name}"));
        }
        return Ok((stage.with_shell(&whole), None));
    }
    shown.push_str(&format!(" ({})", summary(&first.content)));
    let content =
        if first.strip_tabs { heredoc::without_tabs(&first.content) } else { first.content.clone() };
    if !content.starts_with("#!") {
        return Ok((stage.with_shell(&content), None));
    }
    let target = go::join(SCRIPTS, &first.name);
    let script = RunMount::Text { target: target.clone(), content, mode: 0o755 };
    // BuildKit puts even a script behind the shell, which then runs it by its path.
    Ok((stage.with_shell(&target), Some(script)))
}

/// The first line, and dots for more.
fn summary(content: &str) -> String {
    let mut lines = content.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}

fn one(stage: &mut Stage<'_>, mount: Mount, from: Option<&str>, source: usize) -> Result<RunMount, Wrong> {
    let owner = |mode| Owner {
        uid: mount.uid.unwrap_or_default(),
        gid: mount.gid.unwrap_or_default(),
        mode: mount.mode.unwrap_or(mode),
    };
    match mount.kind {
        MountType::Secret => {
            let id = [&mount.source, &mount.id].into_iter().find(|id| !id.is_empty()).cloned();
            let id = id.unwrap_or_else(|| go::base(&mount.target).to_owned());
            let target = match (&mount.env, mount.target.as_str()) {
                (Some(_), "") => None,
                (None, "") => Some(format!("/run/secrets/{}", go::base(&id))),
                (_, target) => Some(go::clean(&stage.absolute(target))),
            };
            let owner = owner(0o400);
            return Ok(RunMount::Secret { id, target, env: mount.env, required: mount.required, owner });
        }
        MountType::Ssh => {
            let id = if mount.id.is_empty() { "default".to_owned() } else { mount.id.clone() };
            let target = Some(&mount.target).filter(|t| !t.is_empty()).map(|t| go::clean(&stage.absolute(t)));
            return Ok(RunMount::Ssh { id, target, required: mount.required, owner: owner(0o600) });
        }
        MountType::Bind | MountType::Cache | MountType::Tmpfs => {}
    }
    let target = go::clean(&stage.absolute(&mount.target));
    if target == "/" {
        return Err((Fault::MountTarget(target), "--mount".into(), None));
    }
    if mount.kind == MountType::Tmpfs {
        return Ok(RunMount::Tmpfs { target, size: mount.size });
    }
    let tree = match (from, mount.kind) {
        (Some(from), _) => {
            let later = || Fault::MountLater { from: from.to_owned(), target: mount.target.clone() };
            stage.shop.trees[source].ok_or_else(|| (later(), from.to_owned(), None))?
        }
        (None, MountType::Cache) => Tree::Empty,
        (None, _) => {
            let platform = stage.state.platform.clone();
            stage.shop.context(&mount.source, &platform)
        }
    };
    let source = go::join("/", &mount.source);
    Ok(match mount.kind {
        MountType::Cache => RunMount::Cache {
            id: if mount.id.is_empty() { go::clean(&mount.target) } else { mount.id.clone() },
            sharing: mount.sharing.unwrap_or_default(),
            tree,
            source,
            target,
            read_only: mount.read_only,
            owner: owner(0o755),
        },
        _ => RunMount::Bind { tree, source, target, read_only: mount.read_only },
    })
}
