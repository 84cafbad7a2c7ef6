//! The syntax of `.env` and `env_file`, as docker compose's fork of godotenv reads it. Pure.
//!
//! `KEY=value`, `KEY: value`, `export KEY=value`, `KEY` alone (its value is the caller's); `'…'` literal and `"…"`
//! with escapes and variables, both over several lines; comments after a blank.

use crate::interpolate::{Lookup, substitute};
use minke_model::go;
use std::collections::BTreeMap;

/// Variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Adds the variables of a file to `out`. What has no value, and what values name, is looked up first by `lookup`,
/// then among those before.
///
/// Fails with godotenv's sentence.
pub(crate) fn parse(text: &str, out: &mut Variables, lookup: Lookup<'_>) -> Result<(), String> {
    let mut parser = Parser { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    while parser.skip() {
        let (key, inherited) = parser.key()?;
        if key.contains(' ') {
            return Err(format!("line {}: key cannot contain a space", parser.line));
        }
        if inherited {
            if let Some(value) = lookup(&key) {
                out.insert(key, value);
            }
            continue;
        }
        let value = parser.value(out, lookup)?;
        out.insert(key, value);
    }
    Ok(())
}

struct Parser<'a> {
    rest: &'a str,
    /// For messages, from 1.
    line: usize,
}

/// A blank that does not end a line.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

impl<'a> Parser<'a> {
    /// Goes to the next statement. False at the end.
    fn skip(&mut self) -> bool {
        loop {
            let begin = self.rest.find(|c: char| !c.is_whitespace()).unwrap_or(self.rest.len());
            self.line += self.rest[..begin].matches('\n').count();
            self.rest = &self.rest[begin..];
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    /// Takes a key and what follows it. True where that is the end of the line.
    fn key(&mut self) -> Result<(String, bool), String> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(char::is_whitespace)
        {
            self.rest = after.trim_start_matches(is_blank);
        }
        let (mut key, mut offset, mut inherited) = ("", 0, false);
        for (at, c) in self.rest.char_indices() {
            match c {
                '=' | ':' | '\n' => {
                    (key, offset, inherited) = (&self.rest[..at], at + 1, c == '\n');
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if is_blank(c) || c.is_alphanumeric() => {}
                c => {
                    let line = self.rest.split('\n').next().unwrap_or("");
                    return Err(format!(
                        "line {}: unexpected character {} in variable name {}",
                        self.line,
                        go::quote(&c.to_string()),
                        go::quote(line)
                    ));
                }
            }
        }
        if self.rest.is_empty() {
            return Err("zero length string".to_owned());
        }
        // A last line without an end has no key: godotenv takes an empty one, whose value is the line.
        if inherited && !key.contains(' ') {
            self.line += 1;
        }
        let key = key.trim_end().to_owned();
        self.rest = self.rest[offset..].trim_start_matches(is_blank);
        Ok((key, inherited))
    }

    /// Takes a value.
    fn value(&mut self, out: &Variables, lookup: Lookup<'_>) -> Result<String, String> {
        let expand = |template: &str| {
            let find = |name: &str| lookup(name).or_else(|| out.get(name).cloned());
            substitute(template, &find, &mut |_| {}).map_err(|refusal| refusal.to_string())
        };
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            self.line += 1;
            let value = line.split_once(" #").map_or(line, |(value, _)| value);
            return expand(value.trim_end());
        };
        let mut value = String::new();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            self.line += usize::from(c == '\n');
            match c {
                c if c == quote && !escaped => {
                    self.rest = &self.rest[at + 1..];
                    return match quote {
                        '"' => expand(&unescape(&value)),
                        _ => Ok(value),
                    };
                }
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                c if escaped && c != quote => value.extend(['\\', c]),
                c => value.push(c),
            }
            escaped = false;
        }
        let line = self.rest.split('\n').next().unwrap_or("");
        Err(format!("line {}: unterminated quoted value {line}", self.line))
    }
}

/// Escapes of a double-quoted value: `\n` and its like, `\$`, and octal ones behind `\0`.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let (text, length) = match escape.chars().next() {
            Some('a') => ("\u{7}".to_owned(), 1),
            Some('b') => ("\u{8}".to_owned(), 1),
            Some('f') => ("\u{c}".to_owned(), 1),
            Some('n') => ("\n".to_owned(), 1),
            Some('r') => ("\r".to_owned(), 1),
            Some('t') => ("\t".to_owned(), 1),
            Some('v') => ("\u{b}".to_owned(), 1),
            Some('"') => ("\"".to_owned(), 1),
            Some('\\') => ("\\".to_owned(), 1),
            // The form in which expansion leaves it alone.
            Some('$') => ("$$".to_owned(), 1),
            Some('0') => {
                let digits = escape[1..].bytes().take(3).take_while(u8::is_ascii_digit).count();
                let octal = &escape[1..1 + digits];
                // Go wants exactly three octal digits.
                match u32::from_str_radix(octal, 8).ok().filter(|value| digits == 3 && *value <= 255) {
                    Some(value) => (char::from_u32(value).map(String::from).unwrap_or_default(), 1 + digits),
                    None => (format!("\\{octal}"), 1 + digits),
                }
            }
            _ => ("\\".to_owned(), 0),
        };
        out.push_str(&text);
        rest = &rest[at + 1 + length..];
    }
    out.push_str(rest);
    out
}

/// Variables of a file in the format `raw`: everything behind the first `=` is the value.
pub(crate) fn parse_raw(text: &str, out: &mut Variables, lookup: Lookup<'_>) -> Result<(), String> {
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value)));
        if key.contains(char::is_whitespace) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if let Some(value) = value.map(str::to_owned).or_else(|| lookup(key)) {
            out.insert(key.to_owned(), value);
        }
    }
    Ok(())
}
