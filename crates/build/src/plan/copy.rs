//! `COPY` and `ADD`: what is copied from where, and how (pure).

use super::{
    CopyOp, CopySource, Http, Mode, Op, Parents, Tree,
    stage::{Stage, Wrong},
    stages::Planned,
};
use crate::{
    checks,
    dockerfile::{
        expand::Expander,
        fault::Fault,
        instruction::{Copy, Heredoc},
    },
    git, glob,
    go::{self, quote},
};
use minke_image::reference::parse_digest;

/// Plans one `COPY` or `ADD`.
pub(super) fn plan(stage: &mut Stage<'_>, planned: &Planned, copy: &Copy, is_add: bool) -> Result<(), Wrong> {
    let at = &planned.instruction;
    let mut expand = |text: &Option<String>| match text {
        Some(text) => stage.expand(at, text).map(|text| Some(text).filter(|t| !t.is_empty())),
        None => Ok(None),
    };
    let owner = expand(&copy.chown)?;
    let mode_text = expand(&copy.chmod)?;
    let checksum = expand(&copy.checksum)?;
    let sources = copy.sources.iter().map(|s| stage.expand(at, s)).collect::<Result<Vec<_>, _>>()?;
    let said_destination = stage.expand(at, &copy.destination)?;
    let documents = documents(stage, planned, copy)?;

    let destination = destination(stage, &said_destination);
    let mode = mode_text.as_deref().map(mode).transpose()?;
    if checksum.is_some() {
        match &sources[..] {
            [one] if is_http(one) || git::parse(one).is_some() => {}
            [_] => return Err((Fault::ChecksumLocal, "--checksum".into(), None)),
            _ => return Err((Fault::ChecksumMany, "--checksum".into(), None)),
        }
    }
    let tree = match planned.sources.first() {
        Some(source) => Some(stage.shop.trees[*source].ok_or_else(|| {
            let from = copy.from.clone().unwrap_or_default();
            let current = stage.node.label.clone();
            (Fault::FromLater { from: from.clone(), current }, from, None)
        })?),
        None => None,
    };

    let mut said = String::from(if is_add { "ADD" } else { "COPY" });
    said.push_str(if copy.parents { " --parents" } else { "" });
    said.extend(owner.iter().map(|owner| format!(" --chown={owner}")));
    said.extend(mode_text.iter().map(|mode| format!(" --chmod={mode}")));
    let shown = stage.shop.expander.word(&at.source, &stage.state.scope).map(|out| out.text);
    let name = stage.name(planned, &shown.unwrap_or_else(|_| at.source.clone()));

    let mut made = Vec::new();
    for (source, written) in sources.iter().zip(&copy.sources) {
        said.push_str(&format!(" {source}"));
        let wrong = |fault| (fault, written.clone(), None);
        let fetched = fetched(source, copy, checksum.as_deref(), is_add).map_err(wrong)?;
        made.push(match fetched {
            Some((op, path, unpack)) => {
                let platform = stage.state.platform.clone();
                let tree = stage.shop.step(op, name.clone(), at.lines, false, &platform);
                CopySource::Files { tree, path, local: false, unpack, parents: None }
            }
            None => local(stage, planned, copy, source, tree, is_add),
        });
    }
    for Heredoc { name, content, .. } in documents {
        said.push_str(&format!(" <<{name}"));
        made.push(CopySource::Text { name, content });
    }
    said.push_str(&format!(" {said_destination} # buildkit"));

    let op = Op::Copy(CopyOp {
        base: stage.state.tree,
        sources: made,
        destination,
        owner,
        mode,
        link: copy.link,
        exclude: copy.exclude.clone(),
    });
    let platform = stage.state.platform.clone();
    let tree = stage.shop.step(op, name, at.lines, stage.node.no_cache, &platform);
    stage.layer(tree, said);
    Ok(())
}

/// Texts that stand in the Dockerfile, expanded unless their word was quoted.
fn documents(stage: &mut Stage<'_>, planned: &Planned, copy: &Copy) -> Result<Vec<Heredoc>, Wrong> {
    let how = Expander { ignore_quotes: true, ..Expander::new('\\') };
    let mut documents = copy.documents.clone();
    for document in documents.iter_mut().filter(|d| d.expand) {
        let out = how.word(&document.content, &stage.state.scope);
        let out = out.map_err(|reason| (Fault::ExpandOnly(reason), format!("<<{}", document.name), None))?;
        stage.tell_unset(&planned.instruction, &out);
        document.content = out.text;
    }
    Ok(documents)
}

/// Absolute; a trailing `/` or `/.` says that it is a directory.
fn destination(stage: &Stage<'_>, text: &str) -> String {
    let text = if matches!(text, "" | ".") { "./" } else { text };
    let mut path = stage.absolute(text);
    if text.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    } else if text.ends_with("/.") && !path.ends_with("/.") {
        path.push_str(if path == "/" { "." } else { "/." });
    }
    path
}

fn is_http(source: &str) -> bool {
    let url = source.starts_with("http://") || source.starts_with("https://");
    url && git::parse(source).is_none()
}

/// The step that fetches a repository or a file, the path of it that is copied, and whether that is unpacked.
fn fetched(
    source: &str,
    copy: &Copy,
    checksum: Option<&str>,
    is_add: bool,
) -> Result<Option<(Op, String, bool)>, Fault> {
    let repository = git::parse(source).transpose().map_err(Fault::GitUrl)?.filter(|url| !url.like_a_path);
    if let Some(url) = repository {
        if !is_add {
            return Err(Fault::CopyGit);
        }
        let mut git = url.git;
        git.keep_git_dir = match (copy.keep_git_dir, url.keep_git_dir) {
            (Some(flag), Some(name)) if flag != name => return Err(Fault::KeepGitDir),
            (flag, name) => name.or(flag).unwrap_or_default(),
        };
        git.checksum = match (checksum, git.checksum) {
            (Some(flag), Some(name)) if flag != name => return Err(Fault::ChecksumTwice(flag.into(), name)),
            (flag, name) => name.or(flag.map(str::to_owned)),
        };
        return Ok(Some((Op::Git(git), "/".into(), false)));
    }
    if !is_http(source) {
        return Ok(None);
    }
    if !is_add {
        return Err(Fault::CopyUrl);
    }
    if checksum.is_some_and(|c| parse_digest(c).is_err()) {
        return Err(Fault::Digest("invalid checksum digest format"));
    }
    let file = file_name(source);
    let op =
        Op::Http(Http { url: source.to_owned(), file: file.clone(), checksum: checksum.map(str::to_owned) });
    Ok(Some((op, format!("/{file}"), copy.unpack.unwrap_or_default())))
}

/// The last part of a URL's path.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    match go::base(path) {
        "." | "/" | ".." => "__unnamed__".into(),
        name => name.to_owned(),
    }
}

fn local(
    stage: &mut Stage<'_>,
    planned: &Planned,
    copy: &Copy,
    source: &str,
    tree: Option<Tree>,
    is_add: bool,
) -> CopySource {
    let tree = match tree {
        Some(tree) => tree,
        None => {
            check_ignored(stage, planned, source, is_add);
            let platform = stage.state.platform.clone();
            stage.shop.context(source, &platform)
        }
    };
    let (path, parents) = match copy.parents {
        false => (go::join("/", source), None),
        true => {
            // What stands before `/./` is not kept.
            let (pivot, pattern) = source.split_once("/./").unwrap_or(("/", source));
            let pattern = go::join("/", pattern);
            let plain = !glob::has_wildcards(pivot) && !glob::has_wildcards(&pattern);
            let required = plain.then(|| go::join("/", &go::join(pivot, &pattern)));
            let pattern = pattern.trim_start_matches('/').to_owned();
            (go::join("/", pivot), Some(Parents { pattern, required }))
        }
    };
    let unpack = copy.unpack.unwrap_or(is_add);
    CopySource::Files { tree, path, local: true, unpack, parents }
}

/// Tells of a source that .dockerignore leaves out. With exceptions nobody can say.
fn check_ignored(stage: &mut Stage<'_>, planned: &Planned, source: &str, is_add: bool) {
    let ignore = &stage.shop.ignore;
    if ignore.is_empty() || ignore.has_exceptions() {
        return;
    }
    let path = go::clean(source);
    if matches!(path.as_str(), "." | "/") && !ignore.takes_root() {
        return;
    }
    if ignore.matches(&path) {
        let verb = if is_add { "Add" } else { "Copy" };
        let says = format!("Attempting to {verb} file {} that is excluded by .dockerignore", quote(&path));
        stage.find(&planned.instruction, &checks::COPY_IGNORED_FILE, says);
    }
}

/// `--chmod`: octal, or as chmod(1) takes it.
fn mode(text: &str) -> Result<Mode, Wrong> {
    let wrong = || (Fault::Chmod(text.to_owned()), "--chmod".to_owned(), None);
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
        return bits.map(Mode::Octal).ok_or_else(wrong);
    }
    if text.split(',').all(is_clause) {
        return Ok(Mode::Symbolic(text.to_owned()));
    }
    Err(wrong())
}

/// `[ugoa]…[+-=][rwxXst]…` or `[ugoa]…[+-=][ugo]`, the second part any number of times (POSIX chmod).
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if !actions.starts_with(['+', '-', '=']) {
        return false;
    }
    actions.split(['+', '-', '=']).skip(1).all(|permissions| {
        matches!(permissions, "u" | "g" | "o") || permissions.chars().all(|c| "rwxXst".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_both_kinds() {
        assert_eq!(mode("0644"), Ok(Mode::Octal(0o644)));
        for good in ["u=rwX,go=rX", "+x", "a-w", "u+s,g=u", "go="] {
            assert_eq!(mode(good), Ok(Mode::Symbolic(good.into())), "{good}");
        }
        for bad in ["u", "x", "u=q", "99", "17777", "u=rw,", "-1"] {
            assert_eq!(mode(bad).map_err(|w| w.0), Err(Fault::Chmod(bad.into())), "{bad}");
        }
    }

    #[test]
    fn files_of_urls() {
        assert_eq!(file_name("https://x/a/b.txt?q=/z#f"), "b.txt");
        assert_eq!(file_name("https://x/"), "__unnamed__");
        assert_eq!(file_name("https://x"), "__unnamed__");
    }
}
