//! A template's text becomes nodes: Go's `text/template`, as far as docker's users write it.
//!
//! Pure. Errors are Go's sentences, since scripts and people search for them.

use super::lex::{Token, TokenKind, tokens};
use std::collections::HashMap;
use std::fmt;

/// How deep blocks and parentheses may nest: a bound for what a user types.
const DEPTH: usize = 100;

/// A part of a template.
#[derive(Debug)]
pub(crate) enum Node {
    /// Text as it stands.
    Text(String),
    /// `{{pipeline}}`.
    Action(Pipe),
    /// `{{if}}`.
    If(Pipe, Vec<Node>, Vec<Node>),
    /// `{{with}}`.
    With(Pipe, Vec<Node>, Vec<Node>),
    /// `{{range}}`.
    Range(Pipe, Vec<Node>, Vec<Node>),
    /// `{{template "name" pipeline}}`.
    Template(String, Option<Pipe>, usize),
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
}

/// Commands, each fed by the one before.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Variables that take the result.
    pub(crate) variables: Vec<String>,
    /// Whether they exist already (`=`).
    pub(crate) assign: bool,
    /// The commands.
    pub(crate) commands: Vec<Command>,
}

/// An operand with its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    /// The first is what is called or read.
    pub(crate) operands: Vec<Operand>,
}

/// One word of a command, and where it stands.
#[derive(Debug)]
pub(crate) struct Operand {
    /// What it is.
    pub(crate) kind: OperandKind,
    /// Its offset in the template.
    pub(crate) at: usize,
}

/// What a word is.
#[derive(Debug)]
pub(crate) enum OperandKind {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A`
    Variable(String, Vec<String>),
    /// A function's name.
    Function(String),
    /// `true`, `false`
    Bool(bool),
    /// A whole number and how it was written.
    Int(i64, String),
    /// Another number.
    Float(f64, String),
    /// A text and how it was written.
    Text(String, String),
    /// `(pipeline).A`
    Pipe(Box<Pipe>, Vec<String>),
}

/// A parsed template with the ones that it defines.
#[derive(Debug)]
pub(crate) struct Template {
    /// Its own parts.
    pub(crate) nodes: Vec<Node>,
    /// Named parts.
    pub(crate) defined: HashMap<String, Vec<Node>>,
    /// Its source, for places in errors.
    pub(crate) source: String,
    /// Its name in errors; docker's are mostly without.
    pub(crate) name: &'static str,
}

/// Parses `source`; `known` tells which functions exist.
pub(crate) fn parse(
    name: &'static str,
    source: &str,
    known: &dyn Fn(&str) -> bool,
) -> Result<Template, String> {
    let tokens = tokens(source).map_err(|(at, why)| place(name, source, at, &why))?;
    let mut parser = Parser {
        tokens,
        next: 0,
        known,
        variables: vec!["$".into()],
        loops: 0,
        depth: 0,
        defined: HashMap::new(),
    };
    let (nodes, end) = parser.nodes().map_err(|(at, why)| place(name, source, at, &why))?;
    match end {
        End::Eof => Ok(Template { nodes, defined: parser.defined, source: source.to_owned(), name }),
        End::Closed(at) => Err(place(name, source, at, "unexpected {{end}}")),
        End::Else(at) => Err(place(name, source, at, "unexpected {{else}}")),
    }
}

fn place(name: &str, source: &str, at: usize, why: &str) -> String {
    let line = 1 + source.as_bytes()[..at.min(source.len())].iter().filter(|&&byte| byte == b'\n').count();
    format!("template: {name}:{line}: {why}")
}

/// A sentence and where.
type Wrong = (usize, String);

/// What ended a list of nodes.
enum End {
    Eof,
    Closed(usize),
    Else(usize),
}

struct Parser<'a> {
    tokens: Vec<Token>,
    next: usize,
    known: &'a dyn Fn(&str) -> bool,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    defined: HashMap<String, Vec<Node>>,
}

impl Parser<'_> {
    fn peek(&self) -> &TokenKind {
        &self.tokens[self.next].kind
    }

    fn at(&self) -> usize {
        self.tokens[self.next].at
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].clone();
        if token.kind != TokenKind::Eof {
            self.next += 1;
        }
        token
    }

    /// Skips spaces and looks at what follows.
    fn skip(&mut self) -> &TokenKind {
        while self.tokens[self.next].kind == TokenKind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Wrong> {
        Err((self.at(), why.into()))
    }

    fn unexpected<T>(&mut self, context: &str) -> Result<T, Wrong> {
        let token = self.take();
        Err((token.at, format!("unexpected {} in {context}", token.kind)))
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End), Wrong> {
        let mut nodes = Vec::new();
        loop {
            let token = self.take();
            match token.kind {
                TokenKind::Eof => return Ok((nodes, End::Eof)),
                TokenKind::Text(text) => nodes.push(Node::Text(text)),
                TokenKind::Left => {
                    let at = self.at();
                    let word = match self.skip() {
                        TokenKind::Word(word) => word.clone(),
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" => {
                            self.take();
                            self.close("end")?;
                            return Ok((nodes, End::Closed(at)));
                        }
                        "else" => {
                            self.take();
                            return Ok((nodes, End::Else(at)));
                        }
                        _ => nodes.extend(self.action(&word)?),
                    }
                }
                kind => return Err((token.at, format!("unexpected {kind} in input"))),
            }
        }
    }

    /// What stands between `{{` and `}}`, with the blocks that follow.
    fn action(&mut self, word: &str) -> Result<Option<Node>, Wrong> {
        let scope = self.variables.len();
        let node = match word {
            "if" | "with" | "range" => {
                self.take();
                let node = self.control(word)?;
                self.variables.truncate(scope);
                node
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return self.wrong(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                self.take();
                self.close(word)?;
                if word == "break" { Node::Break } else { Node::Continue }
            }
            "define" | "block" => {
                self.take();
                let (at, name) = self.name(word)?;
                let pipe = if word == "block" { Some(self.pipeline("block clause")?) } else { None };
                self.close(word)?;
                let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
                let (body, end) = self.block()?;
                self.variables = outer;
                if let End::Else(at) = end {
                    return Err((at, "unexpected {{else}} in define clause".into()));
                }
                self.defined.insert(name.clone(), body);
                match pipe {
                    Some(pipe) => Node::Template(name, Some(pipe), at),
                    None => return Ok(None),
                }
            }
            "template" => {
                self.take();
                let (at, name) = self.name(word)?;
                let pipe = if *self.skip() == TokenKind::Right {
                    None
                } else {
                    Some(self.pipeline("template clause")?)
                };
                self.close(word)?;
                Node::Template(name, pipe, at)
            }
            _ if *self.peek() == TokenKind::Comment => {
                self.take();
                self.close("comment")?;
                return Ok(None);
            }
            _ => {
                let pipe = self.pipeline("command")?;
                self.close("command")?;
                Node::Action(pipe)
            }
        };
        Ok(Some(node))
    }

    fn name(&mut self, context: &str) -> Result<(usize, String), Wrong> {
        self.skip();
        let token = self.take();
        match token.kind {
            TokenKind::Quoted(name, _) => Ok((token.at, name)),
            kind => Err((token.at, format!("unexpected {kind} in {context} clause"))),
        }
    }

    fn close(&mut self, context: &str) -> Result<(), Wrong> {
        match self.skip() {
            TokenKind::Right => {
                self.take();
                Ok(())
            }
            _ => self.unexpected(context),
        }
    }

    fn block(&mut self) -> Result<(Vec<Node>, End), Wrong> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.wrong("template is nested too deeply");
        }
        let result = self.nodes()?;
        self.depth -= 1;
        match result.1 {
            End::Eof => self.wrong("unexpected EOF"),
            _ => Ok(result),
        }
    }

    fn control(&mut self, word: &str) -> Result<Node, Wrong> {
        let pipe = self.pipeline(word)?;
        self.close(word)?;
        self.loops += usize::from(word == "range");
        let (body, end) = self.block()?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            End::Else(_) => self.otherwise(word)?,
            _ => Vec::new(),
        };
        Ok(match word {
            "if" => Node::If(pipe, body, otherwise),
            "with" => Node::With(pipe, body, otherwise),
            _ => Node::Range(pipe, body, otherwise),
        })
    }

    /// What follows `{{else`: its end, or another condition.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, Wrong> {
        if let TokenKind::Word(next) = self.skip().clone()
            && next == word
            && word != "range"
        {
            self.take();
            return Ok(vec![self.control(word)?]);
        }
        self.close("else")?;
        let (body, end) = self.block()?;
        match end {
            End::Else(at) => Err((at, "expected end; found {{else}}".into())),
            _ => Ok(body),
        }
    }

    fn pipeline(&mut self, context: &str) -> Result<Pipe, Wrong> {
        let mut pipe = Pipe { variables: Vec::new(), assign: false, commands: Vec::new() };
        self.skip();
        self.declarations(&mut pipe, context)?;
        loop {
            match self.skip() {
                TokenKind::Right | TokenKind::CloseParen => {
                    if pipe.commands.is_empty() {
                        return self.wrong(format!("missing value for {context}"));
                    }
                    break;
                }
                TokenKind::Pipe => {
                    if pipe.commands.is_empty() {
                        return self.wrong(format!("missing value for {context}"));
                    }
                    self.take();
                    if matches!(self.skip(), TokenKind::Right | TokenKind::CloseParen) {
                        return self.wrong(format!("missing value for {context}"));
                    }
                }
                _ => {
                    let command = self.command(context)?;
                    pipe.commands.push(command);
                }
            }
        }
        // Declared once their value is read: a variable is not known in its own value.
        if !pipe.assign {
            self.variables.extend(pipe.variables.iter().cloned());
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), Wrong> {
        let start = self.next;
        let mut names = Vec::new();
        while let TokenKind::Variable(name) = self.skip().clone() {
            self.take();
            names.push(name);
            if *self.skip() != TokenKind::Comma || context != "range" || names.len() > 1 {
                break;
            }
            self.take();
        }
        match self.skip() {
            TokenKind::Declare if !names.is_empty() => {
                self.take();
                pipe.variables = names;
            }
            TokenKind::Assign if !names.is_empty() => {
                self.take();
                pipe.variables = names;
                pipe.assign = true;
            }
            _ => self.next = start,
        }
        Ok(())
    }

    fn command(&mut self, context: &str) -> Result<Command, Wrong> {
        let mut operands = Vec::new();
        loop {
            match self.skip() {
                TokenKind::Pipe | TokenKind::Right | TokenKind::CloseParen => break,
                _ => operands.push(self.operand(context)?),
            }
        }
        if operands.is_empty() {
            return self.wrong("empty command");
        }
        Ok(Command { operands })
    }

    fn operand(&mut self, context: &str) -> Result<Operand, Wrong> {
        let token = self.take();
        let mut at = token.at;
        let mut kind = match token.kind {
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Word(word) => match word.as_str() {
                "true" => OperandKind::Bool(true),
                "false" => OperandKind::Bool(false),
                "nil" => OperandKind::Nil,
                _ if (self.known)(&word) => OperandKind::Function(word),
                _ => return Err((at, format!("function {word:?} not defined"))),
            },
            TokenKind::Field(name) => OperandKind::Field(vec![name]),
            TokenKind::Variable(name) if self.variables.contains(&name) => {
                OperandKind::Variable(name, Vec::new())
            }
            TokenKind::Variable(name) => return Err((at, format!("undefined variable {name:?}"))),
            TokenKind::Quoted(text, raw) => OperandKind::Text(text, raw),
            TokenKind::Number(raw) => number(&raw).ok_or((at, format!("bad number syntax: {raw:?}")))?,
            TokenKind::OpenParen => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return self.wrong("template is nested too deeply");
                }
                let pipe = self.pipeline("parenthesized pipeline")?;
                self.depth -= 1;
                match self.skip() {
                    TokenKind::CloseParen => self.take(),
                    _ => return self.unexpected("parenthesized pipeline"),
                };
                OperandKind::Pipe(Box::new(pipe), Vec::new())
            }
            kind => {
                return Err((
                    at,
                    format!(
                        "unexpected {kind} in {}",
                        if context == "command" { "command" } else { "operand" }
                    ),
                ));
            }
        };
        // Go gives a chain the place of its second link.
        let mut first = true;
        while let TokenKind::Field(name) = self.peek().clone() {
            let link = self.take();
            match &mut kind {
                OperandKind::Field(path) | OperandKind::Variable(_, path) | OperandKind::Pipe(_, path) => {
                    path.push(name)
                }
                OperandKind::Dot
                | OperandKind::Bool(_)
                | OperandKind::Int(..)
                | OperandKind::Float(..)
                | OperandKind::Text(..)
                | OperandKind::Nil
                | OperandKind::Function(_) => {
                    return Err((
                        link.at,
                        format!("unexpected . after term {:?}", Operand { kind, at }.to_string()),
                    ));
                }
            }
            if std::mem::take(&mut first) {
                at = link.at;
            }
        }
        Ok(Operand { kind, at })
    }
}

/// Whole numbers in any of Go's bases, other numbers, characters.
fn number(raw: &str) -> Option<OperandKind> {
    if let Some(quoted) = raw.strip_prefix('\'') {
        let mut chars = quoted.strip_suffix('\'')?.chars();
        let c = chars.next()?;
        return chars.next().is_none().then(|| OperandKind::Int(c as i64, raw.to_owned()));
    }
    let plain = raw.replace('_', "");
    if let Ok(value) = crate::cli::flag::parse_int(&plain, 64) {
        return Some(OperandKind::Int(value, raw.to_owned()));
    }
    plain.parse().ok().map(|value| OperandKind::Float(value, raw.to_owned()))
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |f: &mut fmt::Formatter<'_>, path: &[String]| {
            path.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Field(fields) => path(f, fields),
            OperandKind::Variable(name, fields) => {
                f.write_str(name)?;
                path(f, fields)
            }
            OperandKind::Function(name) => f.write_str(name),
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Int(_, raw) | OperandKind::Float(_, raw) | OperandKind::Text(_, raw) => {
                f.write_str(raw)
            }
            OperandKind::Pipe(pipe, fields) => {
                write!(f, "({pipe})")?;
                path(f, fields)
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, operand) in self.operands.iter().enumerate() {
            write!(f, "{}{operand}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if at > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}
