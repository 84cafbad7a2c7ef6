//! Dockerfile instructions that change an image's defaults: `--change` of commit and import.
//!
//! The few that Docker allows there, in the Dockerfile's own grammar: JSON lists or shell forms, quotes, variables
//! of `ENV`, and a backslash before a line's end.

use crate::{ImageError, Result};
use minke_model::{go, health::HealthSpec, image::ImageDefaults};

/// The defaults after the instructions, one or more lines each.
pub fn apply(mut defaults: ImageDefaults, instructions: &[String]) -> Result<ImageDefaults> {
    // As Docker's builder starts: a CMD of the old defaults goes with a new ENTRYPOINT, one that is given does not.
    let mut cmd_given = false;
    for line in lines(&instructions.join("\n")) {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let rest = rest.trim();
        let instruction = name.to_ascii_uppercase();
        if rest.is_empty() {
            return Err(bad(format!("{instruction} requires at least one argument")));
        }
        match instruction.as_str() {
            "CMD" => {
                defaults.cmd = Some(command(rest, &defaults));
                cmd_given = true;
            }
            "ENTRYPOINT" => {
                defaults.entrypoint = Some(command(rest, &defaults));
                if !cmd_given {
                    defaults.cmd = None;
                }
            }
            "ENV" => {
                for (name, value) in pairs("ENV", rest, &defaults)? {
                    set_env(&mut defaults.env, &name, &value);
                }
            }
            "LABEL" => {
                for (name, value) in pairs("LABEL", rest, &defaults)? {
                    defaults.labels.insert(name, value);
                }
            }
            "EXPOSE" => {
                for word in words(rest, &defaults) {
                    expose(&mut defaults, &word)?;
                }
            }
            "VOLUME" => {
                let volumes = json_list(rest).unwrap_or_else(|| words(rest, &defaults));
                if volumes.iter().any(|v| v.trim().is_empty()) {
                    return Err(bad("VOLUME specified can not be an empty string".into()));
                }
                defaults.volumes.extend(volumes);
            }
            "USER" => defaults.user = expand(rest, &defaults),
            "WORKDIR" => {
                let path = unquote(&expand(rest, &defaults));
                defaults.working_dir = join_path(&defaults.working_dir, &path);
            }
            "STOPSIGNAL" => defaults.stop_signal = Some(expand(rest, &defaults)),
            "ONBUILD" => {
                let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                match trigger.as_str() {
                    "ONBUILD" => {
                        return Err(bad("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()));
                    }
                    "MAINTAINER" | "FROM" => {
                        return Err(bad(format!("{trigger} isn't allowed as an ONBUILD trigger")));
                    }
                    _ => defaults.on_build.push(rest.to_owned()),
                }
            }
            "HEALTHCHECK" => defaults.healthcheck = Some(healthcheck(rest)?),
            _ => return Err(bad(format!("{name} is not a valid change command"))),
        }
    }
    Ok(defaults)
}

fn bad(detail: String) -> ImageError {
    ImageError::Instruction { detail }
}

/// Lines without comments, joined where they end in a backslash.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        if open.is_empty() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        match line.trim_end().strip_suffix('\\') {
            Some(part) => open.push_str(part),
            None => {
                open.push_str(line);
                lines.push(std::mem::take(&mut open).trim().to_owned());
            }
        }
    }
    if !open.trim().is_empty() {
        lines.push(open.trim().to_owned());
    }
    lines
}

/// A JSON list of texts, or `None` when it is none.
fn json_list(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// A command: a JSON list as it is, else a line for the image's shell.
fn command(text: &str, defaults: &ImageDefaults) -> Vec<String> {
    json_list(text).unwrap_or_else(|| {
        let mut shell = defaults.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
        shell.push(text.to_owned());
        shell
    })
}

/// `A=b C="d e"`, or the old `NAME the rest`.
fn pairs(instruction: &str, text: &str, defaults: &ImageDefaults) -> Result<Vec<(String, String)>> {
    let words = split_words(text);
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| bad(format!("{instruction} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), expand(value.trim(), defaults))]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(bad(format!("{instruction} names can not be blank"))),
        Some((name, value)) => Ok((unquote(&expand(name, defaults)), unquote(&expand(value, defaults)))),
        None => Err(bad(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))),
    };
    words.iter().map(pair).collect()
}

fn words(text: &str, defaults: &ImageDefaults) -> Vec<String> {
    let expanded = split_words(text).into_iter().map(|word| unquote(&expand(&word, defaults)));
    expanded.filter(|word| !word.is_empty()).collect()
}

/// Splits at blanks outside of quotes; quotes and backslashes stay.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', q) if q != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
            }
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.push(c);
            }
            (c, Some(q)) if c == q => {
                quote = None;
                word.push(c);
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Takes quotes and backslashes away.
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None) => plain.extend(chars.next()),
            // In double quotes only what would mean something is escaped.
            ('\\', Some('"')) => match chars.peek() {
                Some('"' | '\\' | '$') => plain.extend(chars.next()),
                _ => plain.push(c),
            },
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (c, _) => plain.push(c),
        }
    }
    plain
}

/// Puts values of `ENV` in for `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+instead}`.
fn expand(text: &str, defaults: &ImageDefaults) -> String {
    let value_of = |name: &str| {
        defaults.env.iter().rev().find_map(|e| e.split_once('=').filter(|(n, _)| *n == name)).map(|(_, v)| v)
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut single = false;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\'' => {
                single = !single;
                out.push(c);
            }
            '\\' if !single => {
                let next = rest.chars().next();
                // The backslash stays for `unquote`, but for a dollar, which it has done its work on.
                if next != Some('$') {
                    out.push(c);
                }
                if let Some(next) = next {
                    out.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
            '$' if !single && rest.starts_with('{') && rest.contains('}') => {
                let (inner, after) = rest[1..].split_once('}').unwrap_or((&rest[1..], ""));
                rest = after;
                let (name, modifier) = inner.split_once(':').map_or((inner, ""), |(n, m)| (n, m));
                let value = value_of(name).filter(|v| !v.is_empty());
                match (modifier.chars().next(), value) {
                    (Some('-'), None) => out.push_str(&modifier[1..]),
                    (Some('+'), Some(_)) => out.push_str(&modifier[1..]),
                    (Some('+'), None) => {}
                    (_, value) => out.push_str(value.unwrap_or_default()),
                }
            }
            '$' if !single => {
                let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                match length {
                    0 => out.push('$'),
                    _ => out.push_str(value_of(&rest[..length]).unwrap_or_default()),
                }
                rest = &rest[length..];
            }
            other => out.push(other),
        }
    }
    out
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    match env.iter_mut().find(|e| e.split('=').next() == Some(name)) {
        Some(old) => *old = line,
        None => env.push(line),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn expose(defaults: &mut ImageDefaults, word: &str) -> Result<()> {
    let wrong = || bad(format!("invalid containerPort: {word}"));
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if first > last {
        return Err(wrong());
    }
    for number in first..=last {
        defaults.exposed_ports.insert(format!("{number}/{protocol}").parse().map_err(|_| wrong())?);
    }
    Ok(())
}

fn join_path(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let clean = crate::path::clean_in_root(joined.as_bytes());
    format!("/{}", String::from_utf8_lossy(&clean))
}

/// `NONE`, or options and `CMD …`.
fn healthcheck(text: &str) -> Result<HealthSpec> {
    let mut spec = HealthSpec::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        rest = after.trim_start();
        let (name, value) =
            option.split_once('=').ok_or_else(|| bad(format!("Missing a value on flag: {option}")))?;
        let wrong = || bad(format!("invalid value {value:?} for flag {name}"));
        match name {
            "interval" => spec.interval = go::parse_duration(value).map_err(|_| wrong())?,
            "timeout" => spec.timeout = go::parse_duration(value).map_err(|_| wrong())?,
            "start-period" => spec.start_period = go::parse_duration(value).map_err(|_| wrong())?,
            "start-interval" => spec.start_interval = go::parse_duration(value).map_err(|_| wrong())?,
            "retries" => spec.retries = value.parse().map_err(|_| wrong())?,
            _ => return Err(bad(format!("unknown flag: {name}"))),
        }
    }
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    spec.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => Some(vec!["NONE".into()]),
        "NONE" => return Err(bad("HEALTHCHECK NONE takes no arguments".into())),
        "CMD" if rest.is_empty() => return Err(bad("Missing command after HEALTHCHECK CMD".into())),
        "CMD" => Some(match json_list(rest) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".into(), rest.to_owned()],
        }),
        other => return Err(bad(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(spec)
}

#[cfg(test)]
mod tests;
