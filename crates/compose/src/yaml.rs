//! YAML to a tree with places, by `yaml.v3`'s rules: what is a number, a boolean, a date; anchors and merge keys; and
//! compose's tags `!reset` and `!override`. Pure.
//!
//! The parser gives events with positions; everything that has a meaning is decided here.

mod indent;

use crate::{
    error::{Fault, Place},
    node::{Data, Map, Node, Spot},
    path::Path,
};
use indent::Padding;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use std::{borrow::Cow, collections::HashMap};

/// How deep values may be nested. Far more than the specification has, few enough for a stack.
const DEPTH: usize = 100;
/// How many values a file may have, with aliases followed.
const VALUES: usize = 400_000;

/// One document of a file.
pub(crate) struct Document {
    /// Its tree. Null where there is nothing in it.
    pub root: Node,
    /// Where `!reset` and `!override` stand: what lies below them is not merged with.
    pub resets: Vec<Path>,
}

/// A value as it is written: aliases not followed.
struct Raw {
    kind: RawKind,
    tag: String,
    spot: Spot,
}

enum RawKind {
    Scalar { text: String, plain: bool },
    List(Vec<usize>),
    Map(Vec<(usize, usize)>),
    Alias(usize),
}

/// Reads all documents of a file.
///
/// Fails with go-yaml's sentence.
pub(crate) fn parse(text: &str, file: u16, files: &[String]) -> Result<Vec<Document>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match documents(text, &HashMap::new(), file, files) {
        Err(fault) if STRICT.iter().any(|sentence| fault.message.contains(sentence)) => {
            // The parser wants flow collections and quoted texts indented, and comments apart, as YAML 1.2 does; go-yaml
            // does not.
            let (text, padding) = indent::padded(text);
            documents(&text, &padding, file, files)
        }
        result => result,
    }
}

/// What the parser says of something that does not stand far enough to the right, and of a comment that sticks.
const STRICT: [&str; 2] =
    ["invalid indentation", "comments must be separated from other tokens by whitespace"];

fn documents(text: &str, padding: &Padding, file: u16, files: &[String]) -> Result<Vec<Document>, Fault> {
    let mut reader = Raws { text, padding, file, files, values: Vec::new(), anchors: HashMap::new() };
    let mut documents = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, _) = event.map_err(|error| reader.malformed(&error))?;
        if !matches!(event, Event::DocumentStart(_)) {
            continue;
        }
        reader.values.clear();
        reader.anchors.clear();
        let root = reader.document(&mut parser)?;
        let mut resolver = Resolver { reader: &reader, resets: Vec::new(), left: VALUES, open: Vec::new() };
        let root = match root {
            Some(root) => resolver.node(root, &Path::root(), 0)?,
            None => None,
        };
        documents.push(Document { root: root.unwrap_or(Data::Null.into()), resets: resolver.resets });
    }
    Ok(documents)
}

/// The parser's words as go-yaml's, where those are known.
fn sentence(info: &str) -> String {
    match info {
        _ if info.ends_with("found a tab") => {
            return "found a tab character that violates indentation".to_owned();
        }
        "simple key expected" | "simple key expect ':'" => return "could not find expected ':'".to_owned(),
        _ if info.contains("tabs disallowed") || info.starts_with("unexpected character") => {
            return "found character that cannot start any token".to_owned();
        }
        _ => {}
    }
    let info = match info.strip_prefix("while ") {
        Some(context) => context.split_once(", ").map_or(info, |(_, problem)| problem),
        None => info,
    };
    match info.strip_prefix("expected ") {
        Some(what) => format!("did not find expected {what}"),
        None => info.to_owned(),
    }
}

/// All values of one document, by number.
struct Raws<'a> {
    text: &'a str,
    /// How far lines were moved to the right.
    padding: &'a Padding,
    file: u16,
    files: &'a [String],
    values: Vec<Raw>,
    /// The value of an anchor, by the parser's number for it.
    anchors: HashMap<usize, usize>,
}

impl Raws<'_> {
    fn spot(&self, marker: &Marker) -> Spot {
        let (line, column) = (marker.line() as u32, marker.col() as u32);
        let column = column.saturating_sub(self.padding.get(&line).copied().unwrap_or(0)) + 1;
        Spot { file: self.file, line, column }
    }

    /// What the parser refused.
    fn malformed(&self, error: &ScanError) -> Fault {
        let spot = self.spot(error.marker());
        let mut message = sentence(error.info());
        if message.contains("unknown anchor") {
            let line = self.text.lines().nth(spot.line.saturating_sub(1) as usize).unwrap_or("");
            let name = line.chars().skip(error.marker().col()).skip_while(|c| *c == '*');
            let name: String = name.take_while(|c| !c.is_whitespace() && !",[]{}".contains(*c)).collect();
            message = format!("unknown anchor '{name}' referenced");
            return self.fault(spot, format!("yaml: {message}"));
        }
        self.fault(spot, format!("yaml: line {}: {message}", spot.line))
    }

    fn fault(&self, spot: Spot, message: String) -> Fault {
        Fault::at(Place::of(spot, self.files), message)
    }

    /// Reads until the end of the document. The open collections are a stack of our own.
    fn document<'i>(
        &mut self,
        parser: &mut Parser<'i, saphyr_parser::StrInput<'i>>,
    ) -> Result<Option<usize>, Fault> {
        let mut open: Vec<(usize, Option<usize>)> = Vec::new();
        let mut root = None;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.malformed(&error))?;
            let spot = self.spot(&span.start);
            let (kind, anchor, tag, opens) = match event {
                Event::DocumentEnd | Event::StreamEnd => break,
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    continue;
                }
                Event::Alias(anchor) => (RawKind::Alias(anchor), 0, None, false),
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain;
                    (RawKind::Scalar { text: text.into_owned(), plain }, anchor, tag, false)
                }
                Event::SequenceStart(anchor, tag) => (RawKind::List(Vec::new()), anchor, tag, true),
                Event::MappingStart(anchor, tag) => (RawKind::Map(Vec::new()), anchor, tag, true),
                _ => continue,
            };
            if self.values.len() >= VALUES || open.len() >= DEPTH {
                return Err(
                    self.fault(spot, format!("yaml: line {}: document is too large or too deep", spot.line))
                );
            }
            let number = self.values.len();
            self.values.push(Raw { kind, tag: tag_name(tag), spot });
            if anchor > 0 {
                self.anchors.insert(anchor, number);
            }
            match open.last_mut() {
                None => root = Some(number),
                Some((parent, key)) => match &mut self.values[*parent].kind {
                    RawKind::List(list) => list.push(number),
                    RawKind::Map(map) => match key.take() {
                        None => *key = Some(number),
                        Some(key) => map.push((key, number)),
                    },
                    _ => {}
                },
            }
            if opens {
                open.push((number, None));
            }
        }
        Ok(root)
    }
}

/// `!reset`, `!!str`; empty where there is none.
fn tag_name(tag: Option<Cow<'_, Tag>>) -> String {
    match tag {
        None => String::new(),
        Some(tag) if tag.is_yaml_core_schema() => format!("!!{}", tag.suffix),
        Some(tag) => format!("{}{}", tag.handle, tag.suffix),
    }
}

/// Follows aliases, merges, and gives scalars their types.
struct Resolver<'a> {
    reader: &'a Raws<'a>,
    resets: Vec<Path>,
    /// How many values may still come.
    left: usize,
    /// Aliases being followed.
    open: Vec<usize>,
}

impl Resolver<'_> {
    /// The node of a value; none where it is reset.
    fn node(&mut self, number: usize, path: &Path, depth: usize) -> Result<Option<Node>, Fault> {
        let raw = &self.reader.values[number];
        if self.left == 0 || depth > DEPTH {
            let message = "yaml: document contains excessive aliasing";
            return Err(self.reader.fault(raw.spot, message.to_owned()));
        }
        self.left -= 1;
        match raw.tag.as_str() {
            "!reset" => {
                self.resets.push(path.clone());
                return Ok(None);
            }
            "!override" => self.resets.push(path.clone()),
            _ => {}
        }
        let data = match &raw.kind {
            RawKind::Alias(anchor) => return self.alias(*anchor, raw.spot, path, depth),
            RawKind::Scalar { text, plain } => match scalar(&raw.tag, text, *plain) {
                Some(data) => data,
                None => {
                    let message = format!(
                        "yaml: unmarshal errors:\n  line {}: cannot decode !!str `{text}` as a {}",
                        raw.spot.line, raw.tag
                    );
                    return Err(self.reader.fault(raw.spot, message));
                }
            },
            RawKind::List(list) => {
                let mut nodes = Vec::with_capacity(list.len());
                for (at, number) in list.iter().enumerate() {
                    nodes.extend(self.node(*number, &path.next(&at.to_string()), depth + 1)?);
                }
                Data::List(nodes)
            }
            RawKind::Map(entries) => Data::Map(self.mapping(entries, path, depth)?),
        };
        Ok(Some(Node { data, at: raw.spot, key: Spot::default() }))
    }

    /// What an alias stands for.
    fn alias(&mut self, anchor: usize, spot: Spot, path: &Path, depth: usize) -> Result<Option<Node>, Fault> {
        let Some(target) = self.reader.anchors.get(&anchor).copied() else {
            return Err(self
                .reader
                .fault(spot, format!("yaml: line {}: unknown anchor referenced", spot.line)));
        };
        if self.open.contains(&target) {
            let message = format!("cycle detected: node at path {path} references itself");
            return Err(self.reader.fault(spot, message));
        }
        self.open.push(target);
        let node = self.node(target, path, depth + 1);
        self.open.pop();
        node
    }

    /// The entries of a mapping, those of its merge key behind its own.
    fn mapping(&mut self, entries: &[(usize, usize)], path: &Path, depth: usize) -> Result<Map, Fault> {
        let mut map = Map::new();
        let mut lines: HashMap<&str, u32> = HashMap::new();
        let mut merged = Vec::new();
        for (key, value) in entries {
            let key = &self.reader.values[*key];
            let RawKind::Scalar { text, plain } = &key.kind else {
                let at = if path.is_root() { "at top level".to_owned() } else { format!("in {path}") };
                return Err(self.reader.fault(key.spot, format!("non-string key {at}: {{}}")));
            };
            if let Some(line) = lines.insert(text, key.spot.line) {
                let file = &self.reader.files[usize::from(key.spot.file)];
                let message = format!(
                    "failed to parse {file}: line {}: mapping key {text:?} already defined at line {line}",
                    key.spot.line
                );
                return Err(self.reader.fault(key.spot, message));
            }
            if text == "<<" && *plain && matches!(key.tag.as_str(), "" | "!" | "!!merge") {
                merged.extend(self.node(*value, path, depth + 1)?.map(|node| (node, key.spot)));
                continue;
            }
            let shown = match scalar(&key.tag, text, *plain) {
                Some(Data::Text(_)) | None => None,
                Some(Data::Null) => Some("interface {}(nil)".to_owned()),
                Some(data) => Some(Node::from(data).plain()),
            };
            if let Some(shown) = shown {
                let at = if path.is_root() { "at top level".to_owned() } else { format!("in {path}") };
                return Err(self.reader.fault(key.spot, format!("non-string key {at}: {shown}")));
            }
            if let Some(node) = self.node(*value, &path.next(text), depth + 1)? {
                map.insert(text.clone(), Node { key: key.spot, ..node });
            }
        }
        for (node, spot) in merged {
            let parts = match node.data {
                Data::Map(part) => vec![part],
                Data::List(list) => {
                    let part = |node: Node| match node.data {
                        Data::Map(part) => Ok(part),
                        _ => Err(self.reader.fault(spot, MERGE.to_owned())),
                    };
                    list.into_iter().map(part).collect::<Result<_, _>>()?
                }
                _ => return Err(self.reader.fault(spot, MERGE.to_owned())),
            };
            for (key, node) in parts.into_iter().flatten() {
                map.entry(key).or_insert(node);
            }
        }
        Ok(map)
    }
}

const MERGE: &str = "yaml: map merge requires map or sequence of maps as the value";

/// A scalar's type. None where its tag does not fit.
fn scalar(tag: &str, text: &str, plain: bool) -> Option<Data> {
    let string = || Data::Text(text.to_owned());
    match tag {
        "" if plain => Some(resolve(text)),
        "" | "!" | "!!str" | "!!binary" => Some(string()),
        "!!bool" | "!!int" | "!!null" | "!!timestamp" | "!!float" => match (tag, resolve(text)) {
            ("!!bool", data @ Data::Bool(_))
            | ("!!int", data @ (Data::Int(_) | Data::Large(_)))
            | ("!!null", data @ Data::Null)
            | ("!!timestamp", data @ Data::Time(_))
            | ("!!float", data @ Data::Float(_)) => Some(data),
            ("!!float", Data::Int(n)) => Some(Data::Float(n as f64)),
            _ => None,
        },
        _ => Some(string()),
    }
}

/// What a plain scalar is (`resolve.go`).
pub(crate) fn resolve(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Data::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Data::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'.' => text.parse().ok().filter(|_| text.len() > 1 && is_float(text)).map(Data::Float),
        b'0'..=b'9' | b'+' | b'-' if is_timestamp(text) => Some(Data::Time(text.to_owned())),
        b'0'..=b'9' | b'+' | b'-' => number(&text.replace('_', "")),
        _ => None,
    };
    number.unwrap_or_else(|| Data::Text(text.to_owned()))
}

/// An integer of any base, or a float.
fn number(text: &str) -> Option<Data> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let whole =
        digits.chars().all(|c| c.is_ascii_alphanumeric()).then(|| i128::from_str_radix(digits, base).ok());
    match whole.flatten().map(|n| if negative { -n } else { n }) {
        Some(n) => Some(match (i64::try_from(n), u64::try_from(n)) {
            (Ok(n), _) => Data::Int(n),
            (_, Ok(n)) => Data::Large(n),
            _ => Data::Float(n as f64),
        }),
        None => is_float(text).then(|| text.parse().ok().map(Data::Float)).flatten(),
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)))
}

/// `2001-12-14`, `2001-12-14t21:59:43.10-05:00`, `2001-12-14 21:59:43`: four digits of a year, and a date that exists.
pub(crate) fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let year: u32 = text[..4].parse().unwrap_or(0);
    let mut rest = &text[5..];
    let take = |rest: &mut &str, most: usize| {
        let end = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, after) = rest.split_at(end);
        *rest = after;
        digits.parse::<u32>().ok()
    };
    let Some(month) = take(&mut rest, 2) else { return false };
    let Some(after) = rest.strip_prefix('-') else { return false };
    rest = after;
    let Some(day) = take(&mut rest, 2) else { return false };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    if !(1..=days).contains(&day) {
        return false;
    }
    if rest.is_empty() {
        return true;
    }
    let zoned = rest.starts_with(['T', 't']);
    let Some(time) = rest.strip_prefix(['T', 't', ' ']) else { return false };
    rest = time;
    for (at, limit) in [24, 60, 60].into_iter().enumerate() {
        if at > 0 {
            let Some(after) = rest.strip_prefix(':') else { return false };
            rest = after;
        }
        if take(&mut rest, 2).is_none_or(|value| value >= limit) {
            return false;
        }
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if end == 0 {
            return false;
        }
        rest = &fraction[end..];
    }
    match zoned {
        false => rest.is_empty(),
        true if rest == "Z" => true,
        true => {
            let Some(zone) = rest.strip_prefix(['+', '-']) else { return false };
            matches!(zone.as_bytes(), [a, b, b':', c, d] if [a, b, c, d].iter().all(|c| c.is_ascii_digit()))
        }
    }
}
