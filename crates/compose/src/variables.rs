//! Which variables a model names, with their defaults: what `config --variables` shows. Pure.

use crate::{
    interpolate::{Found, closing_brace, expression},
    print,
    project::Format,
    value::Value,
};
use std::collections::BTreeMap;

/// How deep defaults are looked at.
const DEPTH: usize = 50;

/// A variable that a model names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What stands for it where it is not set.
    pub default_value: String,
    /// What stands for it where it is set.
    pub presence_value: String,
    /// Whether it must be set.
    pub required: bool,
}

/// All variables of a model that was loaded without interpolation, by name.
pub fn variables(model: &Value) -> BTreeMap<String, Variable> {
    let mut found = Vec::new();
    gather(model, &mut found);
    found.into_iter().map(|variable| (variable.name.clone(), variable)).collect()
}

/// As `config --variables --format` prints them: by `yaml.v3` and `encoding/json` with four blanks.
pub fn print_variables(variables: &BTreeMap<String, Variable>, format: Format) -> String {
    let mut out = String::new();
    let text = |text: &str| Value::Text(text.to_owned());
    for (name, variable) in variables {
        let texts = [
            ("Name", text(&variable.name)),
            ("DefaultValue", text(&variable.default_value)),
            ("PresenceValue", text(&variable.presence_value)),
            ("Required", Value::Bool(variable.required)),
        ];
        match format {
            Format::Yaml => {
                out += &format!("{}:\n", print::yaml(&text(name)).trim_end_matches('\n'));
                for (key, value) in texts {
                    out += &format!("    {}: {}", key.to_lowercase(), print::yaml(&value));
                }
            }
            Format::Json => {
                let lines =
                    texts.map(|(key, value)| format!("        \"{key}\": {}", print::json(&value, false)));
                let comma = if out.is_empty() { "" } else { ",\n" };
                out += &format!(
                    "{comma}    {}: {{\n{}\n    }}",
                    print::json(&text(name), false),
                    lines.join(",\n")
                );
            }
        }
    }
    match (format, variables.is_empty()) {
        (Format::Yaml, true) => "{}\n".to_owned(),
        (Format::Yaml, false) => out,
        (Format::Json, true) => "{}\n".to_owned(),
        (Format::Json, false) => format!("{{\n{out}\n}}\n"),
    }
}

fn gather(value: &Value, found: &mut Vec<Variable>) {
    match value {
        Value::Text(text) => extract(text, found, 0),
        Value::List(list) => list.iter().for_each(|value| gather(value, found)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| gather(value, found)),
        _ => {}
    }
}

/// Those of one text, and of its defaults.
fn extract(text: &str, found: &mut Vec<Variable>, depth: usize) {
    if depth > DEPTH {
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at..];
        let Some((expression, length)) = expression(rest) else {
            rest = &rest[1..];
            continue;
        };
        let whole = &rest[..length];
        let (inner, used) = match expression {
            Found::Escaped | Found::Invalid => ("", length),
            Found::Named(name) => (name, length),
            // What is behind the closing brace is looked at next.
            Found::Braced(inner) => {
                closing_brace(whole).map_or((inner, length), |end| (&whole[2..end], end + 1))
            }
        };
        rest = &rest[used..];
        if inner.is_empty() {
            continue;
        }
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, operator) = inner.split_at(end);
        let argument = operator.trim_start_matches(':').get(1..).unwrap_or("");
        let mut variable = Variable { name: name.to_owned(), ..Variable::default() };
        match operator.trim_start_matches(':').chars().next() {
            Some('?') => variable.required = true,
            Some('-') => variable.default_value = argument.to_owned(),
            Some('+') => variable.presence_value = argument.to_owned(),
            _ => {}
        }
        let nested = [variable.default_value.clone(), variable.presence_value.clone()];
        found.push(variable);
        nested.iter().for_each(|argument| extract(argument, found, depth + 1));
    }
}
