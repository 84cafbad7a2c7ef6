//! A template's text becomes tokens.

use std::fmt;

/// A token and its offset.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: TokenKind,
    /// Where it begins.
    pub(crate) at: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Left,
    /// `}}`
    Right,
    /// A comment's text.
    Comment,
    /// Spaces inside an action: they end an operand.
    Space,
    /// `.` alone
    Dot,
    /// `.Name`
    Field(String),
    /// `$`, `$name`
    Variable(String),
    /// A keyword or function.
    Word(String),
    /// A number or character, as written.
    Number(String),
    /// A text, and as written.
    Quoted(String, String),
    /// `|`
    Pipe,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// The end.
    Eof,
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenKind::Text(text)
            | TokenKind::Word(text)
            | TokenKind::Number(text)
            | TokenKind::Quoted(_, text) => write!(f, "{text:?}"),
            TokenKind::Field(name) => write!(f, "<.{name}>"),
            TokenKind::Variable(name) => write!(f, "{name:?}"),
            TokenKind::Left => f.write_str("\"{{\""),
            TokenKind::Right => f.write_str("\"}}\""),
            TokenKind::Comment => f.write_str("comment"),
            TokenKind::Space => f.write_str("\" \""),
            TokenKind::Dot => f.write_str("<.>"),
            TokenKind::Pipe => f.write_str("\"|\""),
            TokenKind::OpenParen => f.write_str("\"(\""),
            TokenKind::CloseParen => f.write_str("\")\""),
            TokenKind::Comma => f.write_str("\",\""),
            TokenKind::Declare => f.write_str("\":=\""),
            TokenKind::Assign => f.write_str("\"=\""),
            TokenKind::Eof => f.write_str("EOF"),
        }
    }
}

/// Cuts `source` into tokens. An error is a sentence and where.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, (usize, String)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut trim = false;
    loop {
        let left = source[at..].find("{{").map(|offset| at + offset);
        let mut text = &source[at..left.unwrap_or(source.len())];
        if trim {
            text = text.trim_start();
        }
        let Some(left) = left else {
            push_text(&mut tokens, text, at);
            tokens.push(Token { kind: TokenKind::Eof, at: source.len() });
            return Ok(tokens);
        };
        let mut inside = left + 2;
        if source[inside..].starts_with('-') && source[inside + 1..].starts_with([' ', '\t', '\r', '\n']) {
            text = text.trim_end();
            inside += 2;
        }
        push_text(&mut tokens, text, at);
        tokens.push(Token { kind: TokenKind::Left, at: left });
        (at, trim) = action(source, inside, &mut tokens)?;
    }
}

fn push_text(tokens: &mut Vec<Token>, text: &str, at: usize) {
    if !text.is_empty() {
        tokens.push(Token { kind: TokenKind::Text(text.to_owned()), at });
    }
}

/// The tokens up to `}}`; where the text goes on, and whether its leading space goes.
fn action(source: &str, mut at: usize, tokens: &mut Vec<Token>) -> Result<(usize, bool), (usize, String)> {
    let wrong = |at: usize, why: &str| Err((at, why.to_owned()));
    if source[at..].starts_with("/*") {
        let Some(end) = source[at..].find("*/") else { return wrong(at, "unclosed comment") };
        tokens.push(Token { kind: TokenKind::Comment, at });
        at += end + 2;
    }
    loop {
        let rest = &source[at..];
        let Some(c) = rest.chars().next() else { return wrong(at, "unclosed action") };
        if rest.starts_with("}}") {
            tokens.push(Token { kind: TokenKind::Right, at });
            return Ok((at + 2, false));
        }
        if c.is_whitespace() {
            let spaces = rest.len() - rest.trim_start().len();
            if rest[spaces..].starts_with("-}}") {
                tokens.push(Token { kind: TokenKind::Right, at: at + spaces });
                return Ok((at + spaces + 3, true));
            }
            tokens.push(Token { kind: TokenKind::Space, at });
            at += spaces;
            continue;
        }
        let name_length =
            |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (kind, length) = match c {
            '|' => (TokenKind::Pipe, 1),
            '(' => (TokenKind::OpenParen, 1),
            ')' => (TokenKind::CloseParen, 1),
            ',' => (TokenKind::Comma, 1),
            '=' => (TokenKind::Assign, 1),
            ':' if rest.starts_with(":=") => (TokenKind::Declare, 2),
            ':' => return wrong(at, "expected :="),
            '"' => {
                let (text, length) = quoted(rest).ok_or((at, "unterminated quoted string".to_owned()))?;
                (TokenKind::Quoted(text, rest[..length].to_owned()), length)
            }
            '`' => {
                let Some(end) = rest[1..].find('`') else {
                    return wrong(at, "unterminated raw quoted string");
                };
                (TokenKind::Quoted(rest[1..=end].to_owned(), rest[..end + 2].to_owned()), end + 2)
            }
            '\'' => {
                let Some(end) = rest[1..].find('\'') else {
                    return wrong(at, "unterminated character constant");
                };
                (TokenKind::Number(rest[..end + 2].to_owned()), end + 2)
            }
            '$' => {
                let length = 1 + name_length(&rest[1..]);
                (TokenKind::Variable(rest[..length].to_owned()), length)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => match name_length(&rest[1..]) {
                0 => (TokenKind::Dot, 1),
                length => (TokenKind::Field(rest[1..=length].to_owned()), 1 + length),
            },
            '.' | '+' | '-' | '0'..='9' => {
                let tail = rest[1..]
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
                    .unwrap_or(rest.len() - 1);
                (TokenKind::Number(rest[..=tail].to_owned()), tail + 1)
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = name_length(rest);
                (TokenKind::Word(rest[..length].to_owned()), length)
            }
            c => return Err((at, format!("unrecognized character in action: U+{:04X} '{c}'", c as u32))),
        };
        tokens.push(Token { kind, at });
        at += length;
    }
}

/// A text in double quotes: its value and how long it stands in the source.
fn quoted(source: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = source.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, at + 1)),
            '\n' => return None,
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'a' => text.push('\u{7}'),
                'x' => {
                    let digits: String = [chars.next()?.1, chars.next()?.1].iter().collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                'u' => {
                    let digits: String =
                        [chars.next()?.1, chars.next()?.1, chars.next()?.1, chars.next()?.1].iter().collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => text.push(other),
            },
            c => text.push(c),
        }
    }
    None
}
