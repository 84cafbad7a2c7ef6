//! Names of git repositories, as `ADD` and build contexts take them (pure).
//!
//! `https://…/x.git`, `git://…`, `ssh://…`, `git@host:path`, with `#branch:directory` or `?branch=…&subdir=…`.
//! Source: docs.docker.com/build/concepts/context, “Git repositories”, “URL queries”.

use crate::{
    go::{join, parse_bool, quote},
    plan::Git,
};

/// A repository's name, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitUrl {
    /// What to fetch; `keep_git_dir` and `submodules` are what they are where nothing is said.
    pub git: Git,
    /// Whether the name says to keep `.git`.
    pub keep_git_dir: Option<bool>,
    /// `github.com/a/b`: as well a local path. Only build contexts take it for a repository.
    pub like_a_path: bool,
}

/// `text` as a repository: none if it is something else, an error if its query is wrong (BuildKit's sentence).
pub fn parse(text: &str) -> Option<Result<GitUrl, String>> {
    if text.starts_with("./") || text.starts_with("../") {
        return None;
    }
    let like_a_path = text.starts_with("github.com/");
    let (whole, fragment) = text.split_once('#').map_or((text, ""), |(whole, fragment)| (whole, fragment));
    let (remote, query) = whole.split_once('?').map_or((whole, ""), |(remote, query)| (remote, query));
    if !like_a_path {
        match remote.split_once("://") {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "git" | "ssh" => {}
                "http" | "https" if rest.contains('/') && remote.ends_with(".git") => {}
                _ => return None,
            },
            None if is_scp_like(remote) => {}
            None => return None,
        }
    }
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut url = GitUrl {
        git: Git {
            remote: remote.to_owned(),
            reference: decode(reference),
            directory: join("/", &decode(directory)).trim_start_matches('/').to_owned(),
            checksum: None,
            keep_git_dir: false,
            submodules: true,
        },
        keep_git_dir: None,
        like_a_path,
    };
    Some(url.read_query(query).map(|()| url))
}

/// `user@host:path`.
fn is_scp_like(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |w: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        w.starts_with(|c: char| c.is_ascii_alphanumeric()) && w.chars().all(inner)
    };
    word(user) && word(host) && !path.is_empty()
}

impl GitUrl {
    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let (mut tag, mut branch) = (None, None);
        let mut seen: Vec<String> = Vec::new();
        for part in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (decode(key), decode(value));
            if seen.contains(&key) {
                return Err(format!("query {} has multiple values", quote(&key)));
            }
            seen.push(key.clone());
            let switch = || match value.as_str() {
                "" => Ok(true),
                text => parse_bool(text).ok_or_else(|| format!("invalid {key} value: {}", quote(text))),
            };
            match key.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(switch()?),
                "submodules" => self.git.submodules = switch()?,
                // The commit is verified anyway; how it is fetched is ours.
                "fetch-by-commit" => {
                    switch()?;
                }
                _ if value.is_empty() => return Err(format!("query {} has no value", quote(&key))),
                "ref" => agree("ref", &mut self.git.reference, value)?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "subdir" => agree("subdir", &mut self.git.directory, value)?,
                "checksum" | "commit" => self.git.checksum = Some(value),
                // Times are no part of what a build keeps of its sources.
                "mtime" if value == "checkout" || value == "commit" => {}
                "mtime" => {
                    return Err(format!(
                        "invalid mtime value: {} (must be \"checkout\" or \"commit\")",
                        quote(&value)
                    ));
                }
                _ => return Err(format!("unexpected query {}", quote(&key))),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".into());
        }
        let full = |prefix: &str, name: String| {
            if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
        };
        if let Some(tag) = tag {
            agree("ref", &mut self.git.reference, full("refs/tags/", tag))?;
        }
        if let Some(branch) = branch {
            agree("ref", &mut self.git.reference, full("refs/heads/", branch))?;
        }
        Ok(())
    }
}

/// Sets `old` to `new`, unless it says something else already.
fn agree(what: &str, old: &mut String, new: String) -> Result<(), String> {
    if !old.is_empty() && *old != new {
        return Err(format!("{what} conflicts: {} vs {}", quote(old), quote(&new)));
    }
    *old = new;
    Ok(())
}

/// `%41` is `A`; what is no escape stays.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (*byte == b'%').then(|| Some((digit(0)? * 16 + digit(1)?) as u8)).flatten() {
            Some(value) => {
                out.push(value);
                rest = &tail[2..];
            }
            None => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> Option<(String, String, String)> {
        let url = parse(text)?.unwrap();
        Some((url.git.remote, url.git.reference, url.git.directory))
    }

    #[test]
    fn repositories_and_what_is_none() {
        let is = |text, remote: &str, reference: &str, directory: &str| {
            assert_eq!(show(text), Some((remote.into(), reference.into(), directory.into())), "{text}");
        };
        is("https://github.com/a/b.git#v1:sub/dir", "https://github.com/a/b.git", "v1", "sub/dir");
        is("https://github.com/a/b.git#:../up", "https://github.com/a/b.git", "", "up");
        is("git@github.com:a/b.git#main", "git@github.com:a/b.git", "main", "");
        is("git://x/y", "git://x/y", "", "");
        is("ssh://git@x/y", "ssh://git@x/y", "", "");
        is("https://x/y.git?branch=dev&subdir=d", "https://x/y.git", "refs/heads/dev", "d");
        is("https://x/y.git?tag=v1", "https://x/y.git", "refs/tags/v1", "");
        assert!(parse("github.com/a/b").unwrap().unwrap().like_a_path);
        for none in ["https://x/y.tar.gz", "file", "./git@x:y", "ftp://x/y.git", "a:b", "https://x.git"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn wrong_queries_say_why() {
        let sentence = |query: &str| parse(&format!("https://x/y.git?{query}")).unwrap().unwrap_err();
        assert_eq!(sentence("x=1"), "unexpected query \"x\"");
        assert_eq!(sentence("ref"), "query \"ref\" has no value");
        assert_eq!(sentence("ref=a&ref=b"), "query \"ref\" has multiple values");
        assert_eq!(sentence("tag=a&branch=b"), "branch conflicts with tag");
        assert_eq!(sentence("ref=a&tag=b"), "ref conflicts: \"a\" vs \"refs/tags/b\"");
        assert_eq!(sentence("submodules=x"), "invalid submodules value: \"x\"");
        let url = parse("https://x/y.git?keep-git-dir&submodules=false&commit=ab").unwrap().unwrap();
        assert_eq!((url.keep_git_dir, url.git.submodules), (Some(true), false));
        assert_eq!(url.git.checksum.as_deref(), Some("ab"));
    }
}
