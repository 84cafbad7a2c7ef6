//! `.dockerignore`: which files of a context are left out (pure).
//!
//! Not gitignore's rules but moby/patternmatcher's: patterns are relative to the root, a matched directory takes all
//! below it along, and the last pattern that matches decides, `!` being the other way round.

use crate::{
    glob::{self, Part},
    go::clean,
};

/// Why patterns cannot be used. moby's sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// `!` alone.
    #[error("illegal exclusion pattern: \"!\"")]
    Nothing,
    /// No pattern.
    #[error("syntax error in pattern")]
    Pattern,
}

/// The name of the ignore file of one Dockerfile alone; it counts instead of `.dockerignore`.
pub fn name_for(dockerfile: &str) -> String {
    format!("{dockerfile}.dockerignore")
}

/// Patterns in order.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// What is known of a directory when its entries are asked about: which patterns took it.
#[derive(Clone, Debug, Default)]
pub struct Above(Vec<bool>);

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// `!`
    keeps: bool,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Exact,
    /// `a/**`
    Prefix(String),
    /// `**/a`, `**a`
    Suffix(String),
    Parts(Vec<Part>),
}

impl Ignore {
    /// The patterns of a file: one a line, `#` begins a comment.
    pub fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        Self::new(&lines(bytes))
    }

    /// Takes patterns as they are.
    pub fn new(patterns: &[String]) -> Result<Self, IgnoreError> {
        let patterns = patterns.iter().map(|p| p.trim()).filter(|p| !p.is_empty()).map(Pattern::parse);
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Nothing is ignored.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Some pattern begins with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|p| p.keeps)
    }

    /// Everything at the root is ignored, by `*` or the like.
    pub fn takes_root(&self) -> bool {
        self.patterns.iter().any(|p| !p.keeps && matches!(p.text.as_str(), "*" | "**" | "**/*"))
    }

    /// Whether the file at `path` (relative, with slashes) is left out.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_below(path, &Above::default()).0
    }

    /// The same for one entry of a directory about which `above` is known, and what is then known of the entry.
    pub fn matches_below(&self, path: &str, above: &Above) -> (bool, Above) {
        let mut ignored = false;
        let mut seen = vec![false; self.patterns.len()];
        for (at, pattern) in self.patterns.iter().enumerate() {
            let mut taken = above.0.get(at).copied().unwrap_or_default();
            if !taken {
                // It could change nothing.
                if pattern.keeps != ignored {
                    continue;
                }
                taken = pattern.matches(path)
                    || (above.0.is_empty() && parents(path).any(|p| pattern.matches(p)));
            }
            seen[at] = taken;
            if taken {
                ignored = !pattern.keeps;
            }
        }
        (ignored, Above(seen))
    }

    /// Whether something below the ignored directory at `path` may still be kept: else it need not be read.
    pub fn may_keep_below(&self, path: &str) -> bool {
        let dir = format!("{path}/");
        self.patterns.iter().filter(|p| p.keeps).any(|p| {
            let fixed = p.text.find(['*', '?', '[', '\\']).unwrap_or(p.text.len());
            let (fixed, whole) = (&p.text[..fixed], fixed == p.text.len());
            // Below what is kept whole, all is.
            fixed.starts_with(&dir)
                || (dir.starts_with(fixed) && (!whole || dir[fixed.len()..].starts_with('/')))
        })
    }
}

/// The directories above `path`, from the top.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Lines that are patterns, cleaned, relative.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let pattern = |line: &str| {
        if line.starts_with('#') {
            return None;
        }
        let line = line.trim();
        let (keeps, path) = match line.strip_prefix('!') {
            Some(rest) => ("!", rest.trim()),
            None => ("", line),
        };
        if line.is_empty() {
            return None;
        }
        let path = if path.is_empty() { String::new() } else { clean(path) };
        let path = if path.len() > 1 { path.strip_prefix('/').unwrap_or(&path) } else { &path };
        Some(format!("{keeps}{path}"))
    };
    text.lines().filter_map(pattern).collect()
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, IgnoreError> {
        let cleaned = clean(text);
        let (keeps, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(IgnoreError::Nothing),
            Some(rest) => (true, rest.to_owned()),
            None => (false, cleaned),
        };
        glob::parse(&text).map_err(|_| IgnoreError::Pattern)?;
        Ok(Self { keeps, how: How::of(&text).map_err(|_| IgnoreError::Pattern)?, text })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.how {
            How::Exact => path == self.text,
            How::Prefix(prefix) => path.starts_with(prefix),
            How::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            How::Parts(parts) => glob::all(parts, path),
        }
    }
}

impl How {
    fn of(text: &str) -> Result<Self, glob::BadPattern> {
        let plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
        if plain(text) {
            return Ok(How::Exact);
        }
        if let Some(suffix) = text.strip_prefix("**").filter(|s| plain(s)) {
            return Ok(How::Suffix(suffix.to_owned()));
        }
        if let Some(prefix) = text.strip_suffix("**").filter(|p| plain(p)) {
            return Ok(How::Prefix(prefix.to_owned()));
        }
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() { Part::Rest } else { Part::Deep }
                }
                '*' => Part::Star,
                '?' => Part::Any,
                '[' => glob::class(&mut chars)?,
                '\\' => Part::Letter(chars.next().unwrap_or('\\')),
                c => Part::Letter(c),
            });
        }
        Ok(How::Parts(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(patterns: &[&str], path: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        Ignore::new(&patterns).unwrap().matches(path)
    }

    #[test]
    fn one_pattern() {
        for (pattern, path, is) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("dir", "dir/file", true),
            ("dir", "dir2", false),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file", "myfile", false),
            ("**file", "myfile", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*", "a/dir/file.txt", true),
            ("a/b/*.txt", "a/b/file.txt", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("*", "a/b", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc?def", "abc/def", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*b", "a*b", true),
            ("./a/../b", "b", true),
            ("a(b)c/def", "a(b)c/def", true),
            ("foo**", "foobar/x", true),
        ] {
            assert_eq!(ignored(&[pattern], path), is, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_that_matches_decides() {
        for (patterns, path, is) in [
            (&["**", "!util/docker/web"][..], "util/docker/web/foo", false),
            (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
            (&["**", "!dist/proxy.py"], "dist/proxy.py", false),
            (&["!a", "a"], "a", true),
            (&["*.md", "!README*.md", "README-secret.md"], "README.md", false),
            (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
            (&["docs", "!docs/README.md"], "docs/README.md", false),
            (&["docs", "!docs/README.md"], "docs/x", true),
        ] {
            assert_eq!(ignored(patterns, path), is, "{patterns:?} {path}");
        }
    }

    #[test]
    fn a_walk_from_above_says_the_same_as_whole_paths() {
        let lines = lines(b"/a/**/x\n!a/b/x/keep\n*.o\n!**/main.o\n");
        let ignore = Ignore::new(&lines).unwrap();
        for path in ["a/b/x/keep", "a/b/x/other", "a/c.o", "a/b/main.o", "z.o", "a/x/y/z"] {
            let mut above = Above::default();
            let mut last = false;
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            for end in ends {
                (last, above) = ignore.matches_below(&path[..end], &above);
            }
            assert_eq!(last, ignore.matches(path), "{path}");
        }
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let text = "\u{feff}# no\n\n /a/b/ \r\n! /c\n ./d\n#no\nx # yes\n";
        assert_eq!(lines(text.as_bytes()), ["a/b", "!c", "d", "x # yes"]);
        assert_eq!(Ignore::parse(b"!").err(), Some(IgnoreError::Nothing));
        assert_eq!(Ignore::parse(b"a[").err(), Some(IgnoreError::Pattern));
        assert_eq!(name_for("docker/web.Dockerfile"), "docker/web.Dockerfile.dockerignore");
    }

    #[test]
    fn what_is_below_an_ignored_directory_is_read_only_if_something_may_be_kept() {
        let ignore = Ignore::parse(b"node_modules\ndocs\n!docs/a/b\n!src/*.c\n").unwrap();
        for (dir, may) in
            [("node_modules", false), ("docs", true), ("docs/a", true), ("docs/x", false), ("src", true)]
        {
            assert_eq!(ignore.may_keep_below(dir), may, "{dir}");
        }
    }
}
