//! What each line of a log carries: labels, environment and a tag, as `labels`, `labels-regex`, `env`, `env-regex` and
//! `tag` of the log options ask (moby `daemon/logger/loginfo.go`, `loggerutils/log_tag.go`). Pure.

use minke_model::{Container, go::quote};
use regex_lite::Regex;
use std::collections::BTreeMap;

/// Names and values, sorted, as dockerd writes them.
///
/// # Errors
/// Go's sentence about a pattern or a template that cannot be read.
pub(super) fn of(record: &Container) -> Result<Vec<(String, String)>, String> {
    let options = &record.spec.log.options;
    let named =
        |key: &str| options.get(key).map(|names| names.split(',').collect::<Vec<_>>()).unwrap_or_default();
    let pattern = |key: &str| options.get(key).filter(|p| !p.is_empty()).map(|p| compile(p)).transpose();
    let mut all = BTreeMap::new();
    let (names, matching) = (named("labels"), pattern("labels-regex")?);
    let mut take = |names: &[&str], matching: &Option<Regex>, name: &str, value: &str| {
        if names.contains(&name) || matching.as_ref().is_some_and(|p| p.is_match(name)) {
            all.insert(name.to_owned(), value.to_owned());
        }
    };
    for (name, value) in &record.spec.labels {
        take(&names, &matching, name, value);
    }
    let env: Vec<_> = record.spec.process.env.iter().filter_map(|e| e.split_once('=')).collect();
    // Without an environment dockerd does not look at its pattern.
    if !env.is_empty() {
        let (names, matching) = (named("env"), pattern("env-regex")?);
        env.iter().for_each(|(name, value)| take(&names, &matching, name, value));
    }
    if let Some(tag) = options.get("tag").filter(|tag| !tag.is_empty()) {
        let tag = expand(tag, record)?;
        if !tag.is_empty() {
            all.insert("tag".to_owned(), tag);
        }
    }
    Ok(all.into_iter().collect())
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let refused = |why: String| format!("error parsing regexp: {why}");
    match (Regex::new(pattern), fault(pattern)) {
        (Ok(_), Some(Fault { why, always: true })) => Err(refused(why)),
        (Ok(regex), _) => Ok(regex),
        (Err(e), fault) => Err(refused(fault.map_or_else(|| e.to_string(), |fault| fault.why))),
    }
}

/// What Go's regexp says of a pattern.
struct Fault {
    why: String,
    /// Also where others find nothing amiss.
    always: bool,
}

/// The usual faults, in Go's words.
fn fault(pattern: &str) -> Option<Fault> {
    let fault = |why: String| Some(Fault { why, always: false });
    let (mut round, mut square, mut escaped) = (0i32, None, false);
    let mut before = None;
    for (at, c) in pattern.char_indices() {
        // What stands for itself is no operator to what follows.
        let literal = escaped || square.is_some();
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => square = None,
            _ if literal => {}
            '[' => square = Some(at),
            '(' => round += 1,
            ')' => round -= 1,
            '*' | '+' if matches!(before, Some('*' | '+')) => {
                let both = before.into_iter().chain([c]).collect::<String>();
                let why = format!("invalid nested repetition operator: `{both}`");
                return Some(Fault { why, always: true });
            }
            '*' | '+' | '?' if matches!(before, None | Some('|')) || (before == Some('(') && c != '?') => {
                return fault(format!("missing argument to repetition operator: `{c}`"));
            }
            _ => {}
        }
        if round < 0 {
            return fault(format!("unexpected ): `{pattern}`"));
        }
        before = Some(if literal { ' ' } else { c });
    }
    match square {
        Some(at) => fault(format!("missing closing ]: `{}`", &pattern[at..])),
        None if round > 0 => fault(format!("missing closing ): `{pattern}`")),
        None if escaped => fault("trailing backslash at end of expression: ``".to_owned()),
        None => None,
    }
}

/// A tag with its fields filled in: `{{.Name}}/{{.ID}}`, `{{.Name | upper}}`.
fn expand(tag: &str, record: &Container) -> Result<String, String> {
    let (mut out, mut at) = (String::new(), 0);
    while let Some(open) = tag[at..].find("{{") {
        out.push_str(&tag[at..at + open]);
        let start = at + open + 2;
        let line = tag[..start].matches('\n').count() + 1;
        let refused = |why: String| format!("template: log-tag:{line}: {why}");
        let length = tag[start..].find("}}").ok_or_else(|| refused("unclosed action".to_owned()))?;
        let action = tag[start..start + length].trim();
        at = start + length + 2;
        if action.is_empty() {
            return Err(refused("missing value for command".to_owned()));
        }
        if action.starts_with("/*") {
            continue;
        }
        let mut parts = action.split('|').map(str::trim);
        let operand = parts.next().unwrap_or_default();
        let functions: Vec<&str> = parts.collect();
        if let Some(unknown) = functions.iter().find(|name| !FUNCTIONS.contains(name)) {
            return Err(refused(format!("function {} not defined", quote(unknown))));
        }
        let Some(field) = operand.strip_prefix('.').filter(|field| field.chars().all(is_of_name)) else {
            let name = operand.split(|c| !is_of_name(c)).next().unwrap_or_default();
            return Err(refused(match name {
                "" => format!("unexpected {} in command", quote(operand)),
                _ => format!("function {} not defined", quote(name)),
            }));
        };
        let value = value(field, record).ok_or_else(|| {
            let column = start + tag[start..].find('.').unwrap_or(0);
            format!(
                "template: log-tag:{line}:{column}: executing \"log-tag\" at <{operand}>: can't evaluate field {field} in type *logger.Info"
            )
        })?;
        out.push_str(&functions.iter().fold(value, |value, function| match *function {
            "lower" => value.to_lowercase(),
            "upper" => value.to_uppercase(),
            _ => quote(&value),
        }));
    }
    out.push_str(&tag[at..]);
    Ok(out)
}

/// Those of dockerd's functions that take one value (moby `daemon/logger/templates`).
const FUNCTIONS: [&str; 3] = ["json", "lower", "upper"];

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A field or method of dockerd's `logger.Info`.
fn value(field: &str, record: &Container) -> Option<String> {
    let image = record.image_id.as_ref();
    Some(match field {
        "ID" => record.id.short().to_owned(),
        "FullID" | "ContainerID" => record.id.to_string(),
        "Name" => record.name.clone(),
        "ContainerName" => format!("/{}", record.name),
        "ImageID" => image.map(|id| id.to_string().chars().take(12).collect()).unwrap_or_default(),
        "ImageFullID" | "ContainerImageID" => image.map(ToString::to_string).unwrap_or_default(),
        "ImageName" | "ContainerImageName" => record.spec.image.clone(),
        "DaemonName" => "docker".to_owned(),
        "Command" => record.args.join(" "),
        "ContainerEntrypoint" => record.args.first().cloned().unwrap_or_default(),
        "ContainerArgs" => format!("[{}]", record.args.get(1..).unwrap_or_default().join(" ")),
        "ContainerEnv" => format!("[{}]", record.spec.process.env.join(" ")),
        "LogPath" => String::new(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use minke_model::{ContainerId, ContainerSpec, ContainerStatus, Timestamp};

    fn container(options: &[(&str, &str)]) -> Container {
        let mut spec = ContainerSpec::of("busybox");
        spec.labels.insert("team".into(), "blue".into());
        spec.process.env = vec!["A_ONE=1".into(), "B=2".into()];
        spec.log.options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Container {
            id: ContainerId::random(),
            name: "web".into(),
            created: Timestamp::zero(),
            image_id: None,
            args: vec!["sh".into(), "-c".into()],
            spec,
            mounts: Vec::new(),
            status: ContainerStatus::created(),
        }
    }

    #[test]
    fn lines_carry_what_is_asked_for_in_order() {
        let all = of(&container(&[
            ("labels", "team"),
            ("env-regex", "^A_"),
            ("tag", "{{.Name|upper}}:{{ .Command }}"),
        ]));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(all.unwrap(), [pair("A_ONE", "1"), pair("tag", "WEB:sh -c"), pair("team", "blue")]);
        assert_eq!(of(&container(&[("tag", "")])).unwrap(), []);
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_gos_words() {
        for (key, text, sentence) in [
            ("env-regex", "(", "error parsing regexp: missing closing ): `(`"),
            ("labels-regex", "a[b", "error parsing regexp: missing closing ]: `[b`"),
            ("labels-regex", "*", "error parsing regexp: missing argument to repetition operator: `*`"),
            ("labels-regex", "a)", "error parsing regexp: unexpected ): `a)`"),
            ("labels-regex", "a**", "error parsing regexp: invalid nested repetition operator: `**`"),
            ("tag", "{{.ID", "template: log-tag:1: unclosed action"),
            ("tag", "{{.ID | x}}", "template: log-tag:1: function \"x\" not defined"),
            ("tag", "{{foo}}", "template: log-tag:1: function \"foo\" not defined"),
            (
                "tag",
                "x{{.Foo}}",
                "template: log-tag:1:3: executing \"log-tag\" at <.Foo>: can't evaluate field Foo in type *logger.Info",
            ),
        ] {
            assert_eq!(of(&container(&[(key, text)])).unwrap_err(), sentence, "{text}");
        }
        for fine in ["(?i)team", "t[*+]+e", r"\**team", "te*?am"] {
            of(&container(&[("labels-regex", fine)])).unwrap();
        }
        // Nobody looks at the pattern of an environment that is not there.
        let mut bare = container(&[("env-regex", "(")]);
        bare.spec.process.env.clear();
        assert_eq!(of(&bare).unwrap(), []);
    }
}
