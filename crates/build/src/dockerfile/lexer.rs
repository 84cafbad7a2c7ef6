//! From lines to statements: comments go, continued lines join, here-documents are gathered (pure).

use super::{
    arguments::{self, Arguments, At, is_blank},
    directive::Reader,
    fault::Fault,
    heredoc,
    instruction::Heredoc,
};
use crate::error::{DockerfileError, Lines, Source};
use std::str::SplitInclusive;

/// Longest line, in bytes, its end not counted.
const MAX_LINE: usize = 65535;

/// An instruction, its words told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// As spelt.
    pub(super) keyword: String,
    /// Words that begin with `--`, quotes off.
    pub(super) flags: Vec<String>,
    /// What follows.
    pub(super) arguments: Arguments,
    /// The continued lines as one.
    pub(super) source: String,
    pub(super) documents: Vec<Heredoc>,
    pub(super) lines: Lines,
    pub(super) comments: Vec<String>,
}

/// A file of statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lexed {
    pub(super) statements: Vec<Statement>,
    pub(super) escape: char,
    /// Last lines of statements that were continued over empty lines.
    pub(super) empty_continuations: Vec<u32>,
}

/// Lexes a whole file.
pub(super) fn lex(source: &Source) -> Result<Lexed, DockerfileError> {
    let mut lexer = Lexer {
        source,
        lines: source.text.split_inclusive('\n'),
        number: 0,
        escape: '\\',
        directives: Reader::new("#"),
        empty_continuations: Vec::new(),
    };
    let mut statements = Vec::new();
    while let Some(statement) = lexer.statement()? {
        statements.push(statement);
    }
    if statements.is_empty() {
        return Err(lexer.fault(Lines::one(lexer.number.max(1)), "", Fault::NoInstructions));
    }
    Ok(Lexed { statements, escape: lexer.escape, empty_continuations: lexer.empty_continuations })
}

struct Lexer<'a> {
    source: &'a Source,
    lines: SplitInclusive<'a, char>,
    number: u32,
    escape: char,
    directives: Reader,
    empty_continuations: Vec<u32>,
}

impl<'a> Lexer<'a> {
    /// The next line, its end included.
    fn line(&mut self) -> Result<Option<&'a str>, DockerfileError> {
        let Some(line) = self.lines.next() else { return Ok(None) };
        self.number += 1;
        if line.trim_end_matches('\n').len() > MAX_LINE {
            return Err(self.fault(Lines::one(self.number), "", Fault::LongLine));
        }
        Ok(Some(line))
    }

    fn fault(&self, lines: Lines, word: &str, fault: Fault) -> DockerfileError {
        DockerfileError::new(self.source, lines, word, fault)
    }

    fn statement(&mut self) -> Result<Option<Statement>, DockerfileError> {
        let mut comments = Vec::new();
        while let Some(line) = self.line()? {
            let line = line.trim_end_matches(['\r', '\n']).trim_start();
            if line.starts_with('#') {
                self.comment(line, &mut comments)?;
                continue;
            }
            // Directives stand above all else.
            let _ = self.directives.line(line);
            let first = self.number;
            let (text, continues) = self.continued(line);
            if text.is_empty() && !continues {
                continue;
            }
            let text = self.join(text, continues)?;
            return self.gather(text, first, comments).map(Some);
        }
        Ok(None)
    }

    fn comment(&mut self, line: &str, comments: &mut Vec<String>) -> Result<(), DockerfileError> {
        let here = Lines::one(self.number);
        match self.directives.line(line).map_err(|fault| self.fault(here, "", fault))? {
            Some(("escape", value)) => match value {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                _ => return Err(self.fault(here, value, Fault::EscapeToken(value.into()))),
            },
            Some(_) => {}
            None => match line.trim_start_matches('#').trim() {
                "" => comments.clear(),
                text => comments.push(text.to_owned()),
            },
        }
        Ok(())
    }

    /// `line` without the escape at its end, and whether it had one. Two are none.
    fn continued<'b>(&self, line: &'b str) -> (&'b str, bool) {
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(head) if !head.ends_with(self.escape) => (head, true),
            _ => (line, false),
        }
    }

    /// Takes further lines while they continue. Comments between them go, and so do empty lines.
    fn join(&mut self, first: &str, mut continues: bool) -> Result<String, DockerfileError> {
        let mut text = first.to_owned();
        let mut empty = false;
        while continues {
            let Some(line) = self.line()? else { break };
            let line = line.trim_end_matches(['\r', '\n']);
            match line.trim_start() {
                "" => empty = true,
                comment if comment.starts_with('#') => {}
                _ => {
                    let (part, more) = self.continued(line);
                    text.push_str(part);
                    continues = more;
                }
            }
        }
        if empty {
            self.empty_continuations.push(self.number);
        }
        Ok(text)
    }

    /// Splits the statement and takes its here-documents.
    fn gather(
        &mut self,
        text: String,
        first: u32,
        comments: Vec<String>,
    ) -> Result<Statement, DockerfileError> {
        let lines = Lines { first, last: self.number };
        let mut statement =
            split(&text, self.escape).map_err(|(fault, word)| self.fault(lines, &word, fault))?;
        statement.comments = comments;
        if text.contains("<<") && takes_documents(&statement, self.escape) {
            for mut document in heredoc::of_line(&text) {
                self.document(&mut document, lines)?;
                statement.documents.push(document);
            }
        }
        statement.lines = Lines { first, last: self.number };
        Ok(statement)
    }

    /// Takes lines up to the one that is `document`'s name.
    fn document(&mut self, document: &mut Heredoc, lines: Lines) -> Result<(), DockerfileError> {
        while let Some(line) = self.line()? {
            let mut end = line.trim_end_matches(['\r', '\n']);
            if document.strip_tabs {
                end = end.trim_start_matches('\t');
            }
            if end == document.name {
                return Ok(());
            }
            document.content.push_str(line);
        }
        // All to the end of the file is its text.
        let lines = Lines { last: self.number, ..lines };
        Err(self.fault(lines, "<<", Fault::UnterminatedHeredoc))
    }
}

/// Whether here-documents of its line are the instruction's: the shell form of `RUN`, `COPY`, `ADD`, also behind
/// `ONBUILD`.
fn takes_documents(statement: &Statement, escape: char) -> bool {
    let takes = |keyword: &str, arguments: &Arguments| {
        matches!(keyword.to_ascii_uppercase().as_str(), "ADD" | "COPY" | "RUN")
            && !matches!(arguments, Arguments::Json(_))
    };
    match &statement.arguments {
        Arguments::Words(words) if statement.keyword.eq_ignore_ascii_case("ONBUILD") => {
            let inner = words.first().and_then(|line| split_one(line, escape).ok());
            inner.is_some_and(|inner| takes(&inner.keyword, &inner.arguments))
        }
        arguments => takes(&statement.keyword, arguments),
    }
}

/// An instruction's word, flags and arguments. `ONBUILD`'s instruction must be whole too.
pub(super) fn split(text: &str, escape: char) -> At<Statement> {
    let statement = split_one(text, escape)?;
    if statement.keyword.eq_ignore_ascii_case("ONBUILD")
        && let Arguments::Words(words) = &statement.arguments
        && let Some(inner) = words.first()
    {
        split_one(inner, escape)?;
    }
    Ok(statement)
}

fn split_one(text: &str, escape: char) -> At<Statement> {
    let line = text.trim();
    let (keyword, rest) = line.split_once(is_blank).unwrap_or((line, ""));
    let (flags, rest) = flags(rest, escape);
    let arguments = arguments::parse(&keyword.to_ascii_uppercase(), rest.trim(), escape)?;
    Ok(Statement {
        keyword: keyword.to_owned(),
        flags,
        arguments,
        source: text.to_owned(),
        documents: Vec::new(),
        lines: Lines::default(),
        comments: Vec::new(),
    })
}

/// Words that begin with `--`, up to the first that does not, or to `--` alone.
fn flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(q) if c == q => quote = None,
                _ if c == escape => word.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => word.push(c),
            }
        }
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

#[cfg(test)]
mod tests;
