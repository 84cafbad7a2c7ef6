//! Templates over a task: `{{.Task.Slot}}` and the like, in host names, environment, volume names and, with
//! `--template-driver golang`, in secrets and configs. Pure.
//!
//! The part of Go's text/template that Swarm's documentation shows: fields, `index`, `join`, `env`, `secret`,
//! `config`, string literals, pipes into nothing, comments and trimmed space (swarmkit, `template/context.go`).

use crate::assign::{AssignedTask, NodeState};
use minke_model::{ClusterNodeId, image::Platform, task::Slot};
use std::{borrow::Cow, collections::BTreeMap};

/// What a template may ask about.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    fields: BTreeMap<&'static str, String>,
    labels: &'a BTreeMap<String, String>,
    /// `NAME` to value, for `env`: none where a template may not ask.
    pub env: BTreeMap<String, String>,
    /// Target to data, for `secret`.
    pub secrets: BTreeMap<String, String>,
    /// Target to data, for `config`.
    pub configs: BTreeMap<String, String>,
}

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl<'a> Context<'a> {
    /// What a task on a node knows of itself.
    pub fn of(task: &'a AssignedTask, node: &ClusterNodeId, hostname: &str, platform: &Platform) -> Self {
        let slot = match &task.task.slot {
            Slot::Number(n) => n.to_string(),
            Slot::Node(node) => node.to_string(),
        };
        let fields = BTreeMap::from([
            (".Service.ID", task.task.service.to_string()),
            (".Service.Name", task.service_name.clone()),
            (".Node.ID", node.to_string()),
            (".Node.Hostname", hostname.to_owned()),
            (".Node.Platform.Architecture", platform.architecture.clone()),
            (".Node.Platform.OS", platform.os.clone()),
            (".Task.ID", task.task.id.to_string()),
            (".Task.Name", task.container_name()),
            (".Task.Slot", slot),
        ]);
        Context {
            fields,
            labels: &task.service_labels,
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
        }
    }

    /// With what templates of files may ask for beside: the environment, and the task's own secrets and configs.
    pub fn with_files(mut self, task: &AssignedTask, env: &[String], state: &NodeState) -> Self {
        self.env = env.iter().filter_map(|e| e.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        let container = &task.spec.container;
        for reference in &container.secrets {
            if let (Some(file), Some(data)) = (&reference.file, state.secrets.get(&reference.id)) {
                self.secrets.insert(file.path.clone(), text(&data.data));
            }
        }
        for reference in &container.configs {
            if let (Some(file), Some(data)) = (&reference.file, state.configs.get(&reference.id)) {
                self.configs.insert(file.path.clone(), text(&data.data));
            }
        }
        self
    }

    /// Fills in.
    ///
    /// # Errors
    /// What cannot be understood, or names what is not there.
    pub fn expand<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, TemplateError> {
        if !text.contains("{{") {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let mut before = &rest[..start];
            let inner = &rest[start + 2..];
            let end = inner
                .find("}}")
                .ok_or_else(|| TemplateError(format!("unclosed action in template {text:?}")))?;
            let (mut action, mut after) = (&inner[..end], &inner[end + 2..]);
            if let Some(trimmed) = action.strip_prefix("- ") {
                (action, before) = (trimmed, before.trim_end());
            }
            if let Some(trimmed) = action.strip_suffix(" -") {
                (action, after) = (trimmed, after.trim_start());
            }
            out.push_str(before);
            out.push_str(&self.action(action.trim())?);
            rest = after;
        }
        out.push_str(rest);
        Ok(Cow::Owned(out))
    }

    fn action(&self, action: &str) -> Result<String, TemplateError> {
        if action.starts_with("/*") && action.ends_with("*/") {
            return Ok(String::new());
        }
        let words = words(action)?;
        let known = |map: &BTreeMap<String, String>, what: &str, name: &Word| {
            let name = self.value(name)?;
            map.get(&name).cloned().ok_or_else(|| TemplateError(format!("{what} target {name} not found")))
        };
        match words.as_slice() {
            [one @ (Word::Field(_) | Word::Text(_))] => self.value(one),
            [Word::Name(name), map, key] if name == "index" => {
                if *map != Word::Field(".Service.Labels".into()) {
                    return Err(TemplateError(format!("cannot index {map:?} in template")));
                }
                // As Go's: what is not in a map is its zero value.
                Ok(self.labels.get(&self.value(key)?).cloned().unwrap_or_default())
            }
            [Word::Name(name), separator, of @ ..] if name == "join" && !of.is_empty() => {
                let parts = of.iter().map(|word| self.value(word)).collect::<Result<Vec<_>, _>>()?;
                Ok(parts.join(&self.value(separator)?))
            }
            [Word::Name(name), of] if name == "env" => {
                Ok(self.env.get(&self.value(of)?).cloned().unwrap_or_default())
            }
            [Word::Name(name), of] if name == "secret" => known(&self.secrets, "secret", of),
            [Word::Name(name), of] if name == "config" => known(&self.configs, "config", of),
            _ => Err(TemplateError(format!("cannot understand {{{{{action}}}}} in template"))),
        }
    }

    fn value(&self, word: &Word) -> Result<String, TemplateError> {
        match word {
            Word::Text(text) => Ok(text.clone()),
            Word::Field(field) if field == ".Service.Labels" => {
                let pairs: Vec<_> = self.labels.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                Ok(format!("map[{}]", pairs.join(" ")))
            }
            Word::Field(field) => match self.fields.get(field.as_str()) {
                Some(value) => Ok(value.clone()),
                None => self.label(field).ok_or_else(|| {
                    TemplateError(format!(
                        "can't evaluate field {} in template",
                        field.trim_start_matches('.')
                    ))
                }),
            },
            Word::Name(name) => Err(TemplateError(format!("function {name:?} not defined"))),
        }
    }

    /// `.Service.Labels.key`.
    fn label(&self, field: &str) -> Option<String> {
        let key = field.strip_prefix(".Service.Labels.")?;
        Some(self.labels.get(key).cloned().unwrap_or_else(|| "<no value>".into()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Field(String),
    Text(String),
    Name(String),
}

fn words(action: &str) -> Result<Vec<Word>, TemplateError> {
    let mut words = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => quoted(rest)?,
            '`' => {
                let end = rest[1..]
                    .find('`')
                    .ok_or_else(|| TemplateError("unterminated raw quoted string".into()))?;
                (Word::Text(rest[1..=end].to_owned()), &rest[end + 2..])
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let text = rest[..end].to_owned();
                (if first == '.' { Word::Field(text) } else { Word::Name(text) }, &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn quoted(text: &str) -> Result<(Word, &str), TemplateError> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((Word::Text(out), &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, c)) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err(TemplateError("unterminated quoted string".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let fields = BTreeMap::from([(".Task.Slot", "3".to_owned()), (".Service.Name", "web".to_owned())]);
        let env = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        let secrets = BTreeMap::from([("s".to_owned(), "hidden".to_owned())]);
        let context = Context { fields, labels: &labels, env, secrets, configs: BTreeMap::new() };
        context.expand(text).map(Cow::into_owned).map_err(|e| e.to_string())
    }

    #[test]
    fn what_swarms_documentation_shows_is_filled_in() {
        for (template, want) in [
            ("plain {", "plain {"),
            ("{{.Service.Name}}-{{ .Task.Slot }}", "web-3"),
            ("a {{- .Task.Slot -}} b", "a3b"),
            (r#"{{index .Service.Labels "tier"}}{{index .Service.Labels "none"}}"#, "front"),
            ("{{.Service.Labels.tier}}", "front"),
            (r#"{{join "." .Service.Name .Task.Slot "x"}}"#, "web.3.x"),
            (r#"{{env "A"}} {{secret "s"}}"#, "b hidden"),
            ("{{/* nothing */}}", ""),
        ] {
            // `{{- ` needs its space: `a3b` is what Go makes of it.
            assert_eq!(expand(template).as_deref(), Ok(want), "{template}");
        }
    }

    #[test]
    fn what_it_cannot_mean_is_refused() {
        for (template, want) in [
            ("{{.Task.Slot", "unclosed action"),
            ("{{.Task.Mood}}", "can't evaluate field Task.Mood"),
            ("{{mood}}", "cannot understand"),
            (r#"{{config "s"}}"#, "config target s not found"),
            (r#"{{env "A}}"#, "unterminated"),
        ] {
            assert!(expand(template).is_err_and(|e| e.contains(want)), "{template}: {:?}", expand(template));
        }
    }
}
