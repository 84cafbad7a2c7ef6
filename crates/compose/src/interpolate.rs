//! Variables in values: `$X ${X} ${X:-d} ${X-d} ${X:?e} ${X?e} ${X:+a} ${X+a}`, nested, and `$$`. Pure.
//!
//! Follows compose-go's `template` to the letter, which finds an expression by a greedy pattern first and only then
//! looks for the brace that closes it: where they differ, people's files depend on it.

use crate::{
    error::{Fault, Place},
    node::{Data, Node},
    path::Path,
    text,
};
use minke_model::go;

/// How deep defaults may stand in defaults.
const DEPTH: usize = 50;
/// How long a value may become.
const LENGTH: usize = 8 << 20;
/// How many characters may be looked at for one value.
const WORK: usize = 1 << 34;

/// Gives the value of a variable.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The template, or the part of it, that is malformed.
    Invalid(String),
    /// A variable that must have a value.
    Missing { variable: String, reason: String },
    /// It grows without end.
    TooLong,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Invalid(template) => write!(f, "Invalid template: {template:?}"),
            Refusal::Missing { variable, reason } if reason.is_empty() => {
                write!(f, "required variable {variable} is missing a value")
            }
            Refusal::Missing { variable, reason } => {
                write!(f, "required variable {variable} is missing a value: {reason}")
            }
            Refusal::TooLong => f.write_str("value is too long once variables are filled in"),
        }
    }
}

/// One expression in a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// `$$`
    Escaped,
    /// `$NAME`
    Named(&'a str),
    /// `${…}`: what is between the braces as the greedy pattern sees it.
    Braced(&'a str),
    /// `${` and no sense.
    Invalid,
}

/// The expression that begins at the `$` with which `text` begins, and its length.
pub(crate) fn expression(text: &str) -> Option<(Found<'_>, usize)> {
    let rest = text.strip_prefix('$')?;
    if rest.starts_with('$') {
        return Some((Found::Escaped, 2));
    }
    if let Some(name) = name_of(rest) {
        return Some((Found::Named(name), 1 + name.len()));
    }
    let inner = rest.strip_prefix('{')?;
    let invalid = Some((Found::Invalid, 2));
    let Some(name) = name_of(inner) else { return invalid };
    let after = &inner[name.len()..];
    let operator = after.strip_prefix(':').unwrap_or(after);
    if operator.starts_with(['-', '+', '?']) {
        // Greedy: the last brace of the line.
        let line = operator.split('\n').next().unwrap_or("");
        if let Some(end) = line[1..].rfind('}') {
            let end = inner.len() - operator.len() + 1 + end;
            return Some((Found::Braced(&inner[..end]), end + 3));
        }
        return invalid;
    }
    match after.starts_with('}') {
        true => Some((Found::Braced(name), name.len() + 3)),
        false => invalid,
    }
}

/// The name at the beginning of `text`.
fn name_of(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0 && !text.starts_with(|c: char| c.is_ascii_digit())).then(|| &text[..end])
}

/// The index of the brace that closes the first one. The character behind an opening brace is not looked at.
pub(crate) fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut open, mut at) = (0i32, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            b'{' => {
                open += 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The operator of an expression: it stands behind the name. Any, where there is none.
fn operator(text: &str) -> &'static str {
    const OPERATORS: [&str; 6] = [":?", "?", ":-", "-", ":+", "+"];
    let rest = text.trim_start_matches(['$', '{']);
    let rest = &rest[name_of(rest).map_or(0, str::len)..];
    OPERATORS.into_iter().find(|operator| rest.starts_with(operator)).unwrap_or(":?")
}

/// Fills in a template. `unset` hears of variables that have no value.
pub(crate) fn substitute(
    template: &str,
    lookup: Lookup<'_>,
    unset: &mut dyn FnMut(&str),
) -> Result<String, Refusal> {
    fill(template, lookup, unset, 0)
}

fn fill(
    template: &str,
    lookup: Lookup<'_>,
    unset: &mut dyn FnMut(&str),
    depth: usize,
) -> Result<String, Refusal> {
    // Each expression looks at the rest of its line.
    if depth > DEPTH || template.len().saturating_mul(template.matches('$').count()) > WORK {
        return Err(Refusal::TooLong);
    }
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    // What the greedy pattern saw behind a closing brace is a template of its own to whoever reads a refusal; and how
    // much text follows it.
    let mut behind = ("", usize::MAX);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some((_, length)) = expression(rest) else {
            out.push('$');
            rest = &rest[1..];
            continue;
        };
        let (value, used) =
            replace(&rest[..length], lookup, unset, depth).map_err(|refusal| match refusal {
                Refusal::Invalid(part) if part.is_empty() => {
                    let template = if rest.len() > behind.1 { behind.0 } else { template };
                    Refusal::Invalid(template.to_owned())
                }
                other => other,
            })?;
        out.push_str(&value);
        if used < length {
            behind = (&rest[used..length], rest.len() - length);
        }
        rest = &rest[used..];
        if out.len() > LENGTH {
            return Err(Refusal::TooLong);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of one expression, and its length: what stands behind its closing brace is for the caller.
fn replace(
    found: &str,
    lookup: Lookup<'_>,
    unset: &mut dyn FnMut(&str),
    depth: usize,
) -> Result<(String, usize), Refusal> {
    let operator = operator(found);
    let own = closing_brace(found).map_or(found, |end| &found[..=end]);
    let inner = match expression(own) {
        Some((Found::Escaped, _)) => return Ok(("$".to_owned(), found.len())),
        Some((Found::Named(name), _)) => return Ok((value_of(name, lookup, unset), found.len())),
        Some((Found::Braced(inner), _)) => inner,
        Some((Found::Invalid, _)) | None => return Err(Refusal::Invalid(String::new())),
    };
    let Some((name, argument)) = inner.split_once(operator) else {
        return Ok((value_of(inner, lookup, unset), found.len()));
    };
    // Filled in whether it is needed or not, as compose does.
    let argument = fill(argument, lookup, unset, depth + 1)?;
    let value = lookup(name);
    let is_set = match operator.starts_with(':') {
        true => value.as_ref().is_some_and(|value| !value.is_empty()),
        false => value.is_some(),
    };
    let value = match (operator.ends_with('+'), operator.ends_with('?'), is_set) {
        (true, _, true) | (false, false, false) => argument,
        (false, true, false) => return Err(Refusal::Missing { variable: name.to_owned(), reason: argument }),
        _ => value.unwrap_or_default(),
    };
    Ok((value, own.len()))
}

fn value_of(name: &str, lookup: Lookup<'_>, unset: &mut dyn FnMut(&str)) -> String {
    lookup(name).unwrap_or_else(|| {
        unset(name);
        String::new()
    })
}

/// To what an attribute's text is turned.
#[derive(Clone, Copy)]
enum Cast {
    Int,
    /// The same, by another name in messages.
    Int64,
    Float,
    Bool,
}

/// Attributes whose text is turned into another type (compose-go `loader/interpolate.go`).
const CASTS: &[(&str, Cast)] = &[
    ("services.*.cpu_count", Cast::Int64),
    ("services.*.cpu_percent", Cast::Float),
    ("services.*.cpu_period", Cast::Int64),
    ("services.*.cpu_quota", Cast::Int64),
    ("services.*.cpu_rt_period", Cast::Int64),
    ("services.*.cpu_rt_runtime", Cast::Int64),
    ("services.*.cpus", Cast::Float),
    ("services.*.cpu_shares", Cast::Int64),
    ("services.*.init", Cast::Bool),
    ("services.*.deploy.replicas", Cast::Int),
    ("services.*.deploy.update_config.parallelism", Cast::Int),
    ("services.*.deploy.update_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.rollback_config.parallelism", Cast::Int),
    ("services.*.deploy.rollback_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.restart_policy.max_attempts", Cast::Int),
    ("services.*.deploy.placement.max_replicas_per_node", Cast::Int),
    ("services.*.healthcheck.retries", Cast::Int),
    ("services.*.healthcheck.disable", Cast::Bool),
    ("services.*.oom_kill_disable", Cast::Bool),
    ("services.*.oom_score_adj", Cast::Int64),
    ("services.*.pids_limit", Cast::Int64),
    ("services.*.ports.[].target", Cast::Int),
    ("services.*.privileged", Cast::Bool),
    ("services.*.read_only", Cast::Bool),
    ("services.*.scale", Cast::Int),
    ("services.*.stdin_open", Cast::Bool),
    ("services.*.tty", Cast::Bool),
    ("services.*.ulimits.*", Cast::Int),
    ("services.*.ulimits.*.hard", Cast::Int),
    ("services.*.ulimits.*.soft", Cast::Int),
    ("services.*.volumes.[].read_only", Cast::Bool),
    ("services.*.volumes.[].volume.nocopy", Cast::Bool),
    ("networks.*.external", Cast::Bool),
    ("networks.*.internal", Cast::Bool),
    ("networks.*.attachable", Cast::Bool),
    ("networks.*.enable_ipv4", Cast::Bool),
    ("networks.*.enable_ipv6", Cast::Bool),
    ("volumes.*.external", Cast::Bool),
    ("secrets.*.external", Cast::Bool),
    ("configs.*.external", Cast::Bool),
];

/// What interpolation says: faults and warnings, each with its place.
pub(crate) struct Said<'a> {
    /// The names of the files that places count.
    pub files: &'a [String],
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is worth a word.
    pub warnings: Vec<Fault>,
}

/// Fills in all texts of a tree and turns some into other types. Goes on after a fault, to tell all of them.
pub(crate) fn interpolate(node: &mut Node, lookup: Lookup<'_>, said: &mut Said<'_>) {
    walk(node, &Path::root(), lookup, said);
}

fn walk(node: &mut Node, path: &Path, lookup: Lookup<'_>, said: &mut Said<'_>) {
    match &mut node.data {
        Data::Text(template) => {
            let place = || Place::of(node.at, said.files);
            let mut unset = Vec::new();
            let value = substitute(template, lookup, &mut |name| unset.push(name.to_owned()));
            for name in unset {
                let message = format!("The {name:?} variable is not set. Defaulting to a blank string.");
                said.warnings.push(Fault::at(place(), message));
            }
            let value = match value {
                Ok(value) => value,
                Err(Refusal::Invalid(template)) => {
                    let message = format!(
                        "invalid interpolation format for {path}.\nYou may need to escape any $ with another \
                         $.\n{template}"
                    );
                    said.faults.push(Fault::at(place(), message));
                    return;
                }
                Err(refusal) => {
                    let message = format!("error while interpolating {path}: {refusal}");
                    said.faults.push(Fault::at(place(), message));
                    return;
                }
            };
            match path.find(CASTS).map(|cast| convert(&value, *cast)) {
                None => *template = value,
                Some(Ok(data)) => {
                    if let (Data::Bool(yes), false) =
                        (&data, matches!(value.to_lowercase().as_str(), "true" | "false"))
                    {
                        let lower = value.to_lowercase();
                        let message =
                            format!("{lower:?} for boolean is not supported by YAML 1.2, please use `{yes}`");
                        said.warnings.push(Fault::at(place(), message));
                    }
                    node.data = data;
                }
                Some(Err(reason)) => {
                    let message = format!(
                        "error while interpolating {path}: failed to cast to expected type: {reason}"
                    );
                    said.faults.push(Fault::at(place(), message));
                }
            }
        }
        Data::List(list) => {
            let path = path.next("[]");
            list.iter_mut().for_each(|node| walk(node, &path, lookup, said));
        }
        Data::Map(map) => {
            for (key, node) in map {
                walk(node, &path.next(key), lookup, said);
            }
        }
        _ => {}
    }
}

fn convert(value: &str, cast: Cast) -> Result<Data, String> {
    match cast {
        Cast::Int | Cast::Int64 => match value.parse() {
            Ok(n) => Ok(Data::Int(n)),
            Err(_) => {
                let function = if matches!(cast, Cast::Int) { "Atoi" } else { "ParseInt" };
                Err(format!("strconv.{function}: parsing {}: invalid syntax", go::quote(value)))
            }
        },
        Cast::Float => match value.parse() {
            Ok(x) => Ok(Data::Float(x)),
            Err(_) => Err(format!("strconv.ParseFloat: parsing {}: invalid syntax", go::quote(value))),
        },
        Cast::Bool => text::boolean(value).map(Data::Bool).ok_or_else(|| format!("invalid boolean: {value}")),
    }
}
