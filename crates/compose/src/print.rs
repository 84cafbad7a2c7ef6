//! Values as text: YAML as `yaml.v3` writes it with an indent of 2, and JSON as `encoding/json` does. Pure.

use crate::{
    node::Data,
    value::{Value, general, json_float},
    yaml::resolve,
};

/// How long a key may be that stands before its colon without a question mark.
const SIMPLE_KEY: usize = 128;

/// As YAML, with a newline at the end.
pub(crate) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Map(entries) if !entries.is_empty() => block_map(&mut out, entries, 0, false),
        Value::List(list) if !list.is_empty() => block_list(&mut out, list, 0, false),
        value => {
            scalar(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

/// Entries of a mapping, each on its line. The first may stand behind a dash.
fn block_map(out: &mut String, entries: &[(String, Value)], indent: usize, behind: bool) {
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 || !behind {
            pad(out, indent);
        }
        let simple = key.len() <= SIMPLE_KEY && !key.contains(BREAKS);
        if !simple {
            out.push_str("? ");
            text(out, key, indent + 2, false);
            out.push('\n');
            pad(out, indent);
            out.push(':');
        } else {
            text(out, key, indent, true);
            out.push(':');
        }
        member(out, value, indent);
    }
}

/// What stands behind a colon.
fn member(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            block_map(out, entries, indent + 2, false);
        }
        Value::List(list) if !list.is_empty() => {
            out.push('\n');
            block_list(out, list, indent + 2, false);
        }
        value => {
            out.push(' ');
            scalar(out, value, indent + 2);
            out.push('\n');
        }
    }
}

/// Entries of a list, each behind its dash.
fn block_list(out: &mut String, list: &[Value], indent: usize, behind: bool) {
    for (at, value) in list.iter().enumerate() {
        if at > 0 || !behind {
            pad(out, indent);
        }
        out.push_str("- ");
        match value {
            Value::Map(entries) if !entries.is_empty() => block_map(out, entries, indent + 2, true),
            Value::List(list) if !list.is_empty() => block_list(out, list, indent + 2, true),
            value => {
                scalar(out, value, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A value on one line, or a block of text.
fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Large(n) => out.push_str(&n.to_string()),
        Value::Float(x) => out.push_str(&float(*x, format!("{x:e}"))),
        Value::Single(x) => out.push_str(&float(f64::from(*x), format!("{x:e}"))),
        Value::Text(value) => text(out, value, indent, false),
        Value::Moment(moment) => out.push_str(moment),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

fn float(x: f64, shortest: String) -> String {
    match general(x, shortest) {
        inf if inf == "+Inf" => ".inf".to_owned(),
        inf if inf == "-Inf" => "-.inf".to_owned(),
        nan if nan == "NaN" => ".nan".to_owned(),
        other => other,
    }
}

/// What ends a line.
const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// What of a text decides how it may be written (`yaml_emitter_analyze_scalar`).
struct Look {
    plain: bool,
    single: bool,
    block: bool,
}

fn look(text: &str) -> Look {
    if text.is_empty() {
        return Look { plain: true, single: true, block: false };
    }
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut edges, mut trailing_space, mut breaks) = (false, false, false);
    let (mut break_space, mut space_break, mut special, mut tabs) = (false, false, false, false);
    let (mut after_space, mut after_break, mut after_blank) = (false, false, true);
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let before_blank = next.is_none_or(|c| c == ' ' || c == '\t' || BREAKS.contains(&c));
        indicators |= match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`'
                if first =>
            {
                true
            }
            '?' | ':' | '-' if first => before_blank,
            ':' => before_blank,
            '#' => after_blank,
            _ => false,
        };
        match c {
            '\t' => tabs = true,
            c if !printable(c) => special = true,
            _ => {}
        }
        let (space, line_break) = (c == ' ', BREAKS.contains(&c));
        if space || line_break {
            edges |= first || next.is_none();
            trailing_space |= space && next.is_none();
            break_space |= space && after_break;
            space_break |= line_break && after_space;
            breaks |= line_break;
        }
        (after_space, after_break) = (space, line_break);
        after_blank = space || line_break || c == '\t';
        first = false;
    }
    let odd = space_break || special || tabs;
    Look {
        plain: !(edges || break_space || odd || breaks || indicators),
        single: !(break_space || odd),
        block: !(trailing_space || space_break || special),
    }
}

/// What `yaml.v3` writes without an escape. Nothing beyond the basic plane.
fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// A text, plain, quoted, or as a block.
fn text(out: &mut String, value: &str, indent: usize, key: bool) {
    let look = look(value);
    let string = matches!(resolve(value), Data::Text(_)) && !old_boolean(value) && !sexagesimal(value);
    if value.contains('\n') {
        match look.block && !key {
            true => literal(out, value, indent),
            false => double(out, value),
        }
        return;
    }
    // A mark for what is not text is quoted doubly, what only looks odd singly where it can.
    match (string, look.plain, look.single) {
        (false, _, _) => double(out, value),
        (true, true, _) => out.push_str(value),
        (true, false, true) => {
            out.push('\'');
            for c in value.chars() {
                out.push(c);
                match c {
                    '\'' => out.push(c),
                    // Such a break is one, and the next line is indented.
                    '\u{2028}' | '\u{2029}' => pad(out, indent),
                    _ => {}
                }
            }
            out.push('\'');
        }
        (true, false, false) => double(out, value),
    }
}

/// Words that were booleans in YAML 1.1.
fn old_boolean(text: &str) -> bool {
    matches!(text, "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON")
        || matches!(text, "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF")
}

/// Numbers that were to the base of 60 in YAML 1.1: `22:22`.
fn sexagesimal(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or("");
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let sixty = |part: &str| match part.as_bytes() {
        [b] => b.is_ascii_digit(),
        [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
        _ => false,
    };
    whole.contains(':')
        && first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && parts.all(sixty)
        && digits(fraction)
}

fn double(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if printable(c) => out.push(c),
            c if (c as u32) <= 0xff => out.push_str(&format!("\\x{:02X}", c as u32)),
            c if (c as u32) <= 0xffff => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push_str(&format!("\\U{:08X}", c as u32)),
        }
    }
    out.push('"');
}

/// A block of lines. The caller ends the last one.
fn literal(out: &mut String, value: &str, indent: usize) {
    out.push('|');
    if value.starts_with([' ', '\n']) {
        out.push('2');
    }
    let body = match value.strip_suffix('\n') {
        None => {
            out.push('-');
            value
        }
        Some("") => {
            out.push('+');
            ""
        }
        Some(body) => {
            if body.ends_with('\n') {
                out.push('+');
            }
            body
        }
    };
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

/// As JSON, indented by two blanks, or on one line.
pub(crate) fn json(value: &Value, pretty: bool) -> String {
    let mut out = String::new();
    json_value(&mut out, value, pretty.then_some(0));
    out
}

fn json_value(out: &mut String, value: &Value, depth: Option<usize>) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Large(n) => out.push_str(&n.to_string()),
        Value::Float(x) if !x.is_finite() => out.push_str("null"),
        Value::Float(x) => out.push_str(&json_float(*x, format!("{x:e}"))),
        Value::Single(x) => out.push_str(&json_float(f64::from(*x), format!("{x:e}"))),
        Value::Text(text) | Value::Moment(text) => json_text(out, text),
        Value::List(list) => {
            json_all(out, ['[', ']'], list.len(), depth, |out, at, depth| json_value(out, &list[at], depth));
        }
        Value::Map(entries) => json_all(out, ['{', '}'], entries.len(), depth, |out, at, depth| {
            json_text(out, &entries[at].0);
            out.push_str(if depth.is_some() { ": " } else { ":" });
            json_value(out, &entries[at].1, depth);
        }),
    }
}

/// Some things between brackets.
fn json_all(
    out: &mut String,
    brackets: [char; 2],
    count: usize,
    depth: Option<usize>,
    one: impl Fn(&mut String, usize, Option<usize>),
) {
    let inner = depth.map(|depth| depth + 1);
    let line = |out: &mut String, depth: Option<usize>| {
        if let Some(depth) = depth {
            out.push('\n');
            pad(out, 2 * depth);
        }
    };
    out.push(brackets[0]);
    for at in 0..count {
        if at > 0 {
            out.push(',');
        }
        line(out, inner);
        one(out, at, inner);
    }
    if count > 0 {
        line(out, depth);
    }
    out.push(brackets[1]);
}

/// With the escapes of `encoding/json`, which also keeps HTML apart.
fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
