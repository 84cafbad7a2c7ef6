//! Whether a tree is what a compose file may say: types, words, names, what must be there. Pure.
//!
//! Sentences are those of compose-go (`schema/schema.go`) and of its validator (santhosh-tekuri/jsonschema v6); unlike
//! them it tells all that is wrong, each with its place, and the known word that is nearest.

mod deploy;
mod service;
mod table;

use crate::node::{Data, Node, Spot};
use minke_model::go;

/// What a node may be.
pub(crate) enum Rule {
    Anything,
    /// One of some types.
    Kinds(&'static [Kind]),
    /// A whole number within bounds.
    Between(i64, i64),
    /// One of some words.
    Words(&'static [&'static str]),
    /// A text of some form.
    Like(Pattern),
    /// A list.
    List(&'static Rule),
    /// A list in which nothing stands twice.
    Set(&'static Rule),
    /// A mapping, where it is one; else one of the types.
    Map(&'static [Kind], &'static Shape),
    /// What one of some rules takes.
    OneOf(&'static [Rule]),
}

/// A type of JSON's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Integer,
    Number,
    Text,
    List,
    Map,
}

/// A form of texts.
#[derive(Clone, Copy)]
pub(crate) enum Pattern {
    ContainerName,
    PullPolicy,
}

/// What a mapping may have.
pub(crate) struct Shape {
    /// Keys and their rules.
    known: &'static [(&'static str, Rule)],
    /// The rule of all keys of some form.
    each: Option<(Names, &'static Rule)>,
    /// Whether there may be `x-…`.
    extensible: bool,
    /// Whether there may be anything else.
    open: bool,
    /// Keys that must be there.
    required: &'static [&'static str],
}

impl Shape {
    const CLOSED: Shape = Shape { known: &[], each: None, extensible: false, open: false, required: &[] };
}

/// A form of keys.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    Any,
    /// Letters, digits, `.`, `_`, `-`.
    Plain,
    /// Small letters.
    Lower,
}

impl Names {
    fn fits(self, key: &str) -> bool {
        match self {
            Names::Any => !key.is_empty(),
            Names::Plain => {
                !key.is_empty()
                    && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
            }
            Names::Lower => !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase()),
        }
    }
}

impl Pattern {
    /// Whether some part of `text` is of the form: the schema's patterns are not anchored.
    fn fits(self, text: &str) -> bool {
        match self {
            Pattern::ContainerName => {
                let chars: Vec<char> = text.chars().collect();
                let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
                chars.windows(2).any(|pair| pair[0].is_ascii_alphanumeric() && name(pair[1]))
            }
            Pattern::PullPolicy => {
                const WORDS: [&str; 8] =
                    ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
                let period = |(at, _): (usize, &str)| {
                    let rest = text[at + "every_".len()..].trim_start_matches(|c: char| c.is_ascii_digit());
                    rest.len() < text.len() - at - "every_".len()
                        && rest.starts_with(['w', 'd', 'h', 'm', 's'])
                };
                WORDS.iter().any(|word| text.contains(word)) || text.match_indices("every_").any(period)
            }
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Pattern::ContainerName => "'[a-zA-Z0-9][a-zA-Z0-9_.-]+'",
            Pattern::PullPolicy => {
                "'always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+'"
            }
        }
    }
}

/// One thing that is not allowed.
pub(crate) struct Violation {
    /// Compose's sentence.
    pub message: String,
    /// The known word that is nearest.
    pub suggestion: Option<String>,
    /// Where.
    pub spot: Spot,
    /// How deep it lies: compose tells the deepest.
    pub depth: usize,
}

/// All that a file says and may not, the deepest first, else as they stand.
pub(crate) fn violations(file: &Node) -> Vec<Violation> {
    let mut found = Vec::new();
    check(file, &table::FILE, &mut Vec::new(), &mut found);
    found.sort_by_key(|violation| std::cmp::Reverse(violation.depth));
    found
}

fn check(node: &Node, rule: &Rule, path: &mut Vec<String>, found: &mut Vec<Violation>) {
    if let (Data::Time(_), false) = (&node.data, matches!(rule, Rule::Anything)) {
        return found.push(violation(node, path, "invalid jsonType time.Time".to_owned()));
    }
    match rule {
        Rule::Anything => {}
        Rule::Kinds(kinds) => {
            is(node, kinds, path, found);
        }
        Rule::Between(least, most) => {
            if !is(node, &[Kind::Integer], path, found) {
                return;
            }
            let value = match node.data {
                Data::Int(n) => n as f64,
                Data::Float(x) => x,
                _ => return,
            };
            if value < *least as f64 {
                found.push(violation(node, path, format!("must be greater than or equal to {least}")));
            } else if value > *most as f64 {
                found.push(violation(node, path, format!("must be less than or equal to {most}")));
            }
        }
        Rule::Words(words) => {
            if !is(node, &[Kind::Text], path, found) {
                return;
            }
            if let Some(word) = node.as_text().filter(|word| !words.contains(word)) {
                let shown: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
                let message = match shown.as_slice() {
                    [one] => format!("value must be {one}"),
                    _ => format!("value must be one of {}", shown.join(", ")),
                };
                let suggestion = go::nearest(word, words.iter().copied());
                found.push(Violation { suggestion, ..violation(node, path, message) });
            }
        }
        Rule::Like(pattern) => {
            if !is(node, &[Kind::Text], path, found) {
                return;
            }
            if let Some(word) = node.as_text().filter(|word| !pattern.fits(word)) {
                let message = format!("{} does not match pattern {}", quoted(word), pattern.shown());
                found.push(violation(node, path, message));
            }
        }
        Rule::List(rule) => list(node, rule, false, path, found),
        Rule::Set(rule) => list(node, rule, true, path, found),
        Rule::Map(kinds, shape) => {
            if is(node, kinds, path, found) {
                map(node, shape, path, found);
            }
        }
        Rule::OneOf(rules) => {
            let mut best: Vec<Violation> = Vec::new();
            for rule in *rules {
                let mut here = Vec::new();
                check(node, rule, path, &mut here);
                if here.is_empty() {
                    return;
                }
                let depth = |found: &[Violation]| found.iter().map(|violation| violation.depth).max();
                if depth(&here) > depth(&best) {
                    best = here;
                }
            }
            found.append(&mut best);
        }
    }
}

/// Between single quotes, with Go's escapes.
fn quoted(text: &str) -> String {
    let quoted = go::quote(text);
    let inner = quoted.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(&quoted);
    format!("'{}'", inner.replace("\\\"", "\"").replace('\'', "\\'"))
}

fn violation(node: &Node, path: &[String], message: String) -> Violation {
    let message = format!("{} {message}", path.join("."));
    Violation { message, suggestion: None, spot: node.spot(), depth: path.len() }
}

/// Whether a node is of one of some types.
fn is(node: &Node, kinds: &[Kind], path: &[String], found: &mut Vec<Violation>) -> bool {
    let fits = |kind: &Kind| match (&node.data, kind) {
        (Data::Null, Kind::Null) | (Data::Bool(_), Kind::Bool) | (Data::Text(_), Kind::Text) => true,
        (Data::List(_), Kind::List) | (Data::Map(_), Kind::Map) => true,
        (Data::Int(_) | Data::Large(_), Kind::Integer | Kind::Number) | (Data::Float(_), Kind::Number) => {
            true
        }
        (Data::Float(x), Kind::Integer) => x.fract() == 0.0,
        _ => false,
    };
    if kinds.iter().any(fits) {
        return true;
    }
    let mut names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    let wanted = match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    };
    found.push(violation(node, path, format!("must be a {wanted}")));
    false
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "boolean",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Text => "string",
            Kind::List => "array",
            Kind::Map => "mapping",
        }
    }
}

fn list(node: &Node, rule: &Rule, set: bool, path: &mut Vec<String>, found: &mut Vec<Violation>) {
    if !is(node, &[Kind::List], path, found) {
        return;
    }
    let entries = node.as_list().unwrap_or_default();
    for (at, entry) in entries.iter().enumerate() {
        path.push(at.to_string());
        check(entry, rule, path, found);
        path.pop();
    }
    if !set {
        return;
    }
    let mut seen: Vec<(&Node, usize)> = Vec::with_capacity(entries.len());
    let mut texts = std::collections::HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        // Texts, which may be many, are looked up; the rest is few.
        let before = match &entry.data {
            Data::Text(text) => texts.insert(text.as_str(), at),
            _ => seen.iter().find(|(other, _)| other.data == entry.data).map(|(_, at)| *at),
        };
        if let Some(before) = before {
            let message = format!("items at {before} and {at} are equal");
            let place = violation(node, path, message);
            return found.push(Violation { spot: entry.spot(), ..place });
        }
        if !matches!(entry.data, Data::Text(_)) && seen.len() < 1000 {
            seen.push((entry, at));
        }
    }
}

fn map(node: &Node, shape: &Shape, path: &mut Vec<String>, found: &mut Vec<Violation>) {
    let Some(map) = node.as_map() else { return };
    let missing: Vec<String> =
        shape.required.iter().filter(|key| !map.contains_key(**key)).map(|key| format!("'{key}'")).collect();
    match missing.as_slice() {
        [] => {}
        [one] => found.push(violation(node, path, format!("missing property {one}"))),
        _ => found.push(violation(node, path, format!("missing properties {}", missing.join(", ")))),
    }
    for (key, value) in map {
        let rule = match shape.known.iter().find(|(known, _)| known == key) {
            Some((_, rule)) => Some(rule),
            None if shape.extensible && key.starts_with("x-") => Some(&Rule::Anything),
            None => shape.each.as_ref().filter(|(names, _)| names.fits(key)).map(|(_, rule)| *rule),
        };
        match rule {
            Some(rule) => {
                path.push(key.clone());
                check(value, rule, path, found);
                path.pop();
            }
            None if shape.open => {}
            None => {
                let message = format!("additional properties {} not allowed", quoted(key));
                let suggestion = go::nearest(key, shape.known.iter().map(|(known, _)| *known));
                let place = violation(node, path, message);
                found.push(Violation { suggestion, spot: value.spot(), depth: path.len() + 1, ..place });
            }
        }
    }
}
