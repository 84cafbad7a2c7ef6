//! Moves lines that go on a flow collection or a quoted text to the right, where blanks mean nothing, and takes away
//! comments that stick to a quote or bracket, so that a strict parser takes what go-yaml takes. Pure.

use std::collections::HashMap;

/// By how many blanks lines were moved, by line from 1.
pub(super) type Padding = HashMap<u32, u32>;

/// The text with such lines moved behind all others.
pub(super) fn padded(text: &str) -> (String, Padding) {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let width = text.lines().map(indent).max().unwrap_or(0) + 2;
    let (mut out, mut padding) = (String::with_capacity(text.len()), Padding::new());
    let mut state = State::default();
    // A lone carriage return ends a line, too.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if state.inside() && !line.trim().is_empty() {
            out.extend(std::iter::repeat_n(' ', width));
            padding.insert(number, width as u32);
        }
        match state.line(line.trim_end_matches('\n')) {
            None => out.push_str(line),
            Some(end) => {
                out.extend(line.chars().take(end));
                out.push('\n');
            }
        }
    }
    (out, padding)
}

/// Where in the text we are.
#[derive(Default)]
struct State {
    /// How many flow collections are open.
    flow: usize,
    /// The quote that is open.
    quote: Option<char>,
    /// The indent of what a block of text belongs to.
    block: Option<usize>,
}

impl State {
    fn inside(&self) -> bool {
        self.flow > 0 || self.quote.is_some()
    }

    /// Goes over a line. Tells where a comment begins that sticks to what is before it.
    fn line(&mut self, line: &str) -> Option<usize> {
        let chars: Vec<char> = line.chars().collect();
        let indent = chars.iter().take_while(|c| **c == ' ').count();
        match self.block {
            Some(_) if line.trim().is_empty() => return None,
            Some(parent) if indent > parent => return None,
            _ => self.block = None,
        }
        // Whether a token may begin here, and the column of what a block of text would belong to.
        let (mut begins, mut parent, mut at) = (true, indent, 0);
        // Whether a quote or a bracket has just been closed.
        let mut closed = false;
        while at < chars.len() {
            let (c, next) = (chars[at], chars.get(at + 1));
            let blank_next = next.is_none_or(|c| c.is_whitespace());
            let mut closes = false;
            match (self.quote, c) {
                (Some('"'), '\\') => at += 1,
                (Some('\''), '\'') if next == Some(&'\'') => at += 1,
                (Some(quote), c) => {
                    closes = c == quote;
                    if closes {
                        self.quote = None;
                    }
                    begins = false;
                }
                (None, c) if c.is_whitespace() => {}
                (None, '#') if at == 0 || chars[at - 1].is_whitespace() => return None,
                (None, '#') if closed => return Some(at),
                (None, '"' | '\'') if begins => self.quote = Some(c),
                (None, '[' | '{') if begins => self.flow += 1,
                (None, ']' | '}') if self.flow > 0 => {
                    self.flow -= 1;
                    closes = true;
                    begins = false;
                }
                (None, ',') if self.flow > 0 => begins = true,
                (None, ':')
                    if blank_next || self.flow > 0 && next.is_some_and(|c| "[]{},\"'".contains(*c)) =>
                {
                    begins = true;
                }
                (None, '-' | '?') if begins && blank_next => parent = at,
                (None, '|' | '>') if begins && self.flow == 0 => {
                    self.block = Some(parent);
                    return None;
                }
                // A tag or an anchor stands before its value.
                (None, '!' | '&') if begins => {
                    while at + 1 < chars.len() && !chars[at + 1].is_whitespace() {
                        at += 1;
                    }
                }
                (None, _) => {
                    if begins && self.flow == 0 {
                        parent = at;
                    }
                    begins = false;
                }
            }
            closed = closes;
            at += 1;
        }
        None
    }
}
