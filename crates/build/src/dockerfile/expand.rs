//! What `$` and quotes mean in an instruction: words are expanded as a POSIX shell would, with BuildKit's additions (pure).
//!
//! `$a` `${a}` `${a-d}` `${a:-d}` `${a+w}` `${a:+w}` `${a?m}` `${a:?m}` `${a#p}` `${a##p}` `${a%p}` `${a%%p}`
//! `${a/p/r}` `${a//p/r}`. Source: the Dockerfile reference, “Environment replacement”.

use super::{fault::ExpandFault, pattern::Pattern};
use std::collections::BTreeSet;

/// Largest result, in bytes: `ENV a=$a$a` in a row doubles.
const MAX_BYTES: usize = 1 << 20;

/// Deepest `${a:-${b:-…}}`.
const MAX_DEPTH: usize = 64;

/// Where variables come from.
pub trait Variables {
    /// The value of `name`, if it is set.
    fn value(&self, name: &str) -> Option<&str>;
}

/// Nothing is set.
#[derive(Clone, Copy, Debug)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn value(&self, _: &str) -> Option<&str> {
        None
    }
}

/// How words are expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expander {
    /// `\`, or a backtick.
    pub escape: char,
    /// Quotes stay in the result.
    pub keep_quotes: bool,
    /// Escape characters stay in the result.
    pub keep_escapes: bool,
    /// Quotes are letters like others (here-documents).
    pub ignore_quotes: bool,
    /// What is not set stays as written.
    pub keep_unset: bool,
}

/// A word, expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The result.
    pub text: String,
    /// Variables that were used and set.
    pub matched: BTreeSet<String>,
    /// Variables that were used and not set.
    pub unmatched: BTreeSet<String>,
}

impl Expander {
    /// The usual one: quotes and escapes are taken off.
    pub fn new(escape: char) -> Self {
        Self { escape, keep_quotes: false, keep_escapes: false, ignore_quotes: false, keep_unset: false }
    }

    /// `word` as one word.
    pub fn word(&self, word: &str, variables: &dyn Variables) -> Result<Expanded, ExpandFault> {
        let mut run = Run::new(self, word, variables);
        let out = run.until(None, self.keep_escapes)?;
        Ok(Expanded { text: out.text, matched: run.matched, unmatched: run.unmatched })
    }

    /// `text` split at blanks outside of quotes, after expansion.
    pub fn words(&self, text: &str, variables: &dyn Variables) -> Result<Vec<String>, ExpandFault> {
        let mut run = Run::new(self, text, variables);
        let out = run.until(None, self.keep_escapes)?;
        Ok(out.into_words())
    }
}

/// What was made so far: one text, and the same as words.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// A letter that splits words if it is blank.
    fn plain(&mut self, c: char) {
        self.text.push(c);
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Text that never splits words.
    fn raw(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn into_words(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

/// One expansion, under way.
struct Run<'a> {
    how: &'a Expander,
    rest: std::str::Chars<'a>,
    variables: &'a dyn Variables,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
    depth: usize,
    made: usize,
}

impl<'a> Run<'a> {
    fn new(how: &'a Expander, text: &'a str, variables: &'a dyn Variables) -> Self {
        let (matched, unmatched) = Default::default();
        Self { how, rest: text.chars(), variables, matched, unmatched, depth: 0, made: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn at_end(&self) -> bool {
        self.rest.as_str().is_empty()
    }

    /// All up to `stop`, which is taken too; to the end if there is none.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool) -> Result<Output, ExpandFault> {
        let mut out = Output::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.rest.next();
                return Ok(out);
            }
            match c {
                '\'' if !self.how.ignore_quotes => out.raw(&self.single_quoted()?),
                '"' if !self.how.ignore_quotes => out.raw(&self.double_quoted(keep_escapes)?),
                '$' => self.dollar()?.chars().for_each(|c| out.plain(c)),
                '<' => out.raw(&self.arrows()),
                c if c == self.how.escape => {
                    self.rest.next();
                    if keep_escapes {
                        out.raw(c.encode_utf8(&mut [0; 4]));
                    }
                    let Some(escaped) = self.rest.next() else { break };
                    out.raw(escaped.encode_utf8(&mut [0; 4]));
                }
                c => {
                    self.rest.next();
                    out.plain(c);
                }
            }
        }
        match stop {
            None => Ok(out),
            Some(_) => Err(ExpandFault::Brace),
        }
    }

    /// `'…'`: nothing in it means anything.
    fn single_quoted(&mut self) -> Result<String, ExpandFault> {
        self.rest.next();
        let text = self.rest.as_str();
        let end = text.find('\'').ok_or(ExpandFault::SingleQuote)?;
        self.rest = text[end + 1..].chars();
        Ok(if self.how.keep_quotes { format!("'{}'", &text[..end]) } else { text[..end].to_owned() })
    }

    /// `"…"`: variables and the escapes of `"`, `$` and the escape itself.
    fn double_quoted(&mut self, keep_escapes: bool) -> Result<String, ExpandFault> {
        self.rest.next();
        let mut out = String::new();
        loop {
            match self.peek().ok_or(ExpandFault::DoubleQuote)? {
                '"' => {
                    self.rest.next();
                    return Ok(if self.how.keep_quotes { format!("\"{out}\"") } else { out });
                }
                '$' => out.push_str(&self.dollar()?),
                c => {
                    self.rest.next();
                    let escaped = self.peek().filter(|n| ['"', '$', self.how.escape].contains(n));
                    match (c == self.how.escape, escaped) {
                        (true, Some(escaped)) => {
                            self.rest.next();
                            out.extend(keep_escapes.then_some(c));
                            out.push(escaped);
                        }
                        _ => out.push(c),
                    }
                }
            }
        }
    }

    /// `<`, or `<<` with the blanks behind it: a here-document's word may stand apart.
    fn arrows(&mut self) -> String {
        self.rest.next();
        if self.peek() != Some('<') {
            return "<".into();
        }
        self.rest.next();
        let text = self.rest.as_str();
        let blanks = text.len() - text.trim_start_matches(['\t', '\r', ' ']).len();
        self.rest = text[blanks..].chars();
        format!("<<{}", &text[..blanks])
    }

    /// What a `$` and the following stand for.
    fn dollar(&mut self) -> Result<String, ExpandFault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpandFault::Nested);
        }
        let value = self.substitution()?;
        self.depth -= 1;
        self.made += value.len();
        if self.made > MAX_BYTES {
            return Err(ExpandFault::Large);
        }
        Ok(value)
    }

    fn substitution(&mut self) -> Result<String, ExpandFault> {
        self.rest.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            let value = self.lookup(&name);
            return Ok(match value {
                None if self.how.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.rest.next();
        match self.peek() {
            None => return Err(ExpandFault::Brace),
            Some('{' | '}' | ':') => return Err(ExpandFault::Bad),
            Some(_) => {}
        }
        let name = self.name();
        let Some(mut modifier) = self.rest.next() else {
            return Err(ExpandFault::Brace);
        };
        match modifier {
            '}' => {
                let value = self.lookup(&name);
                return Ok(match value {
                    None if self.how.keep_unset => format!("${{{name}}}"),
                    value => value.unwrap_or_default(),
                });
            }
            '/' => return self.replace(&name),
            _ => {}
        }
        let mut written = String::from(modifier);
        let empty_is_unset = modifier == ':';
        if empty_is_unset {
            modifier = self.rest.next().ok_or(ExpandFault::Brace)?;
            written.push(modifier);
        }
        let trims = matches!(modifier, '#' | '%');
        if !matches!(modifier, '-' | '+' | '?' | '#' | '%') || (trims && empty_is_unset) {
            return Err(ExpandFault::Modifier(written));
        }
        let word = self.until(Some('}'), trims)?.text;
        let value = self.lookup(&name);
        if self.how.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let missing = value.as_ref().is_none_or(|v| empty_is_unset && v.is_empty());
        let unset = value.is_none();
        let value = value.unwrap_or_default();
        Ok(match modifier {
            '-' if missing => word,
            '-' => value,
            '+' if missing => String::new(),
            '+' => word,
            '?' if missing => {
                let state = if unset { "is not allowed to be unset" } else { "is not allowed to be empty" };
                let message = if word.is_empty() { state.to_owned() } else { word };
                return Err(ExpandFault::Required { name, message });
            }
            '?' => value,
            // `##` and `%%` take the longest match.
            _ => {
                let longest = word.starts_with(modifier);
                let pattern = Pattern::parse(if longest { &word[1..] } else { &word })?;
                if modifier == '#' {
                    pattern.trim_start(&value, longest)
                } else {
                    pattern.trim_end(&value, longest)
                }
            }
        })
    }

    /// `${name/pattern/replacement}`, behind the first `/`.
    fn replace(&mut self, name: &str) -> Result<String, ExpandFault> {
        let all = self.peek() == Some('/');
        if all {
            self.rest.next();
        }
        let at_end = |run: &Self, e, fault| if run.at_end() { fault } else { e };
        let pattern = self.until(Some('/'), true);
        let pattern = pattern.map_err(|e| at_end(self, e, ExpandFault::Slash))?.text;
        let replacement = self.until(Some('}'), true)?.text;
        let Some(value) = self.lookup(name) else {
            return Ok(match self.how.keep_unset {
                true => format!("${{{name}/{pattern}/{replacement}}}"),
                false => String::new(),
            });
        };
        Pattern::parse(&pattern)?.replace(&value, &replacement, all, MAX_BYTES).ok_or(ExpandFault::Large)
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.variables.value(name).map(str::to_owned);
        let seen = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        seen.insert(name.to_owned());
        value
    }

    /// Letters, digits and `_`; or digits only; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let text = self.rest.as_str();
        let end_of = |is: fn(char) -> bool| text.find(|c| !is(c)).unwrap_or(text.len());
        let end = match self.peek() {
            Some(c) if c.is_numeric() => end_of(char::is_numeric),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => end_of(|c| c.is_alphanumeric() || c == '_'),
        };
        self.rest = text[end..].chars();
        text[..end].to_owned()
    }
}

#[cfg(test)]
mod tests;
