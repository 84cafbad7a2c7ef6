//! What a frontend can be asked instead of to build: which stages a Dockerfile has, what one takes, what is wrong
//! with it (BuildKit `frontend/subrequests`). Pure.

use super::fault;
use minke_engine::build::{
    BuildError, Built, Lines,
    dockerfile::{
        Dockerfile,
        instruction::{Command, Instruction, Stage},
    },
    error::Source,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;

const DESCRIBE: &str = "frontend.subrequests.describe";
const OUTLINE: &str = "frontend.outline";
const TARGETS: &str = "frontend.targets";
const LINT: &str = "frontend.lint";
/// Of all answers.
const VERSION: &str = "1.0.0";

/// Whether there is such a question.
pub(crate) fn check(question: &str) -> Result<(), Status> {
    match [DESCRIBE, OUTLINE, TARGETS, LINT].contains(&question) {
        true => Ok(()),
        false => Err(fault::unknown_question(question)),
    }
}

/// The answer, as a result's metadata. `planned` is what planning all stages gave.
pub(crate) fn answer(
    question: &str,
    planned: Result<&Built, &BuildError>,
    target: Option<&str>,
    build_args: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Vec<u8>>, Status> {
    let (value, text, code) = match question {
        DESCRIBE => {
            let (value, text) = described();
            (value, text, None)
        }
        LINT => {
            let value = findings(planned)?;
            let found = value["buildError"].is_object()
                || value["warnings"].as_array().is_some_and(|w| !w.is_empty());
            let text = warnings(planned);
            (value, text, Some(if found { "1" } else { "0" }))
        }
        TARGETS | OUTLINE => {
            // What cannot be planned, for want of an image, can still be read.
            let source = match planned {
                Ok(built) => &built.source,
                Err(e) => e.place().map(|(source, _)| source).ok_or_else(|| fault::status(e))?,
            };
            let file = Dockerfile::parse(&source.file, source.text.as_bytes());
            let file = file.map_err(|e| fault::status(&BuildError::from(e)))?;
            let (value, text) = match question {
                TARGETS => targets(&file),
                _ => outline(&file, target, build_args)?,
            };
            (value, text, None)
        }
        other => return Err(fault::unknown_question(other)),
    };
    let pretty = serde_json::to_vec_pretty(&value).map_err(|e| Status::internal(e.to_string()))?;
    let mut metadata = BTreeMap::from([
        ("result.json".to_owned(), pretty),
        ("result.txt".to_owned(), text.into_bytes()),
        ("version".to_owned(), VERSION.into()),
    ]);
    if let Some(code) = code {
        metadata.insert("result.statuscode".into(), code.into());
    }
    Ok(metadata)
}

fn described() -> (Value, String) {
    let questions = [
        (OUTLINE, "List all parameters current build target supports"),
        (TARGETS, "List all targets current build supports"),
        (DESCRIBE, "List available subrequest types"),
    ];
    let mut text = String::from("NAME                 VERSION DESCRIPTION\n");
    let mut value = Vec::new();
    for (name, description) in questions {
        let short = name.trim_start_matches("frontend.");
        text.push_str(&format!("{short:<20} {VERSION}   {description}\n"));
        let opts = match name {
            OUTLINE => json!([{ "name": "target", "description": "Target build stage" }]),
            _ => Value::Null,
        };
        value.push(json!({
            "name": name,
            "version": VERSION,
            "type": "rpc",
            "description": description,
            "opts": opts,
            "inputs": null,
            "metadata": [
                { "name": "result.json", "description": "" },
                { "name": "result.txt", "description": "" },
            ],
            "refs": null,
        }));
    }
    (Value::Array(value), text)
}

fn location(lines: Lines) -> Value {
    json!({ "ranges": [fault::range(lines)] })
}

fn findings(planned: Result<&Built, &BuildError>) -> Result<Value, Status> {
    let (found, source, error) = match planned {
        Ok(built) => (&built.findings[..], &built.source, None),
        Err(e) => {
            let (source, lines) = e.place().ok_or_else(|| fault::status(e))?;
            let error = json!({ "message": e.to_string(), "location": location(lines) });
            (e.findings(), source, Some(error))
        }
    };
    let warnings: Vec<Value> = found
        .iter()
        .map(|finding| {
            let mut warning = json!({
                "ruleName": finding.rule,
                "description": finding.description,
                "detail": finding.message,
                "location": match finding.lines.first {
                    0 => json!({}),
                    _ => location(finding.lines),
                },
            });
            if !finding.url.is_empty() {
                warning["url"] = json!(finding.url);
            }
            warning
        })
        .collect();
    let mut answer = json!({ "warnings": warnings, "sources": [fault::info(source)] });
    if let Some(error) = error {
        answer["buildError"] = error;
    }
    Ok(answer)
}

/// Findings as people read them.
fn warnings(planned: Result<&Built, &BuildError>) -> String {
    let (found, source) = match planned {
        Ok(built) => (&built.findings[..], &built.source),
        Err(e) => match e.place() {
            Some((source, _)) => (e.findings(), source),
            None => return String::new(),
        },
    };
    let mut text = String::new();
    for finding in found {
        text.push_str(&format!("\nWARNING: {}", finding.rule));
        if !finding.url.is_empty() {
            text.push_str(&format!(" - {}", finding.url));
        }
        text.push_str(&format!("\n{}\n", finding.message));
        text.push_str(&excerpt(source, finding.lines));
    }
    text
}

/// Lines with those around them (BuildKit `solver/errdefs/source.go`).
fn excerpt(source: &Source, lines: Lines) -> String {
    let all: Vec<&str> = source.text.split('\n').collect();
    let (first, last) = (lines.first as usize, lines.last.max(lines.first) as usize);
    if first < 1 || first > all.len() {
        return String::new();
    }
    let (mut from, mut to) = (first, last.min(all.len()));
    let most = if from == to { 4 } else { 2 };
    let mut around = 0;
    while around < most {
        if from > 1 {
            from -= 1;
            around += 1;
        }
        if to != all.len() {
            to += 1;
            around += 1;
        }
        around += 1;
    }
    let mut text = format!("{}:{first}\n--------------------\n", source.file);
    for number in from..=to {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        text.push_str(&format!(" {number:3} | {mark} {}\n", all[number - 1]));
    }
    text.push_str("--------------------\n");
    text
}

/// What a comment says of a name: `# name what it is`.
fn description(comments: &[String], name: &str) -> String {
    let said = comments.iter().find_map(|comment| comment.trim().strip_prefix(name)?.strip_prefix(' '));
    said.map(|said| said.trim().to_owned()).unwrap_or_default()
}

fn targets(file: &Dockerfile) -> (Value, String) {
    let mut text = String::from("TARGET DESCRIPTION\n");
    let mut targets = Vec::new();
    for (number, stage) in file.stages.iter().enumerate() {
        let default = number + 1 == file.stages.len();
        let name = stage.name.clone().unwrap_or_default();
        let description = description(&stage.comments, &name);
        let shown = match (name.is_empty(), default) {
            (true, true) => "(default)".to_owned(),
            (false, true) => format!("{name} (default)"),
            _ => name.clone(),
        };
        text.push_str(&format!("{shown} {description}\n"));
        let mut target = json!({ "base": stage.base, "location": location(stage.lines) });
        for (key, value) in [("name", name), ("description", description)] {
            if !value.is_empty() {
                target[key] = json!(value);
            }
        }
        if default {
            target["default"] = json!(true);
        }
        if let Some(platform) = &stage.platform {
            target["platform"] = json!(platform);
        }
        targets.push(target);
    }
    (json!({ "targets": targets, "sources": [sources(&file.source)] }), text)
}

fn sources(source: &Source) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(source.text.as_bytes())
}

/// The stages that a stage needs, itself included.
fn needed(file: &Dockerfile, target: usize) -> BTreeSet<usize> {
    let find = |name: &str, before: usize| {
        let named = |stage: &Stage| stage.name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(name));
        let by_name = file.stages[..before].iter().rposition(named);
        by_name.or_else(|| name.parse().ok().filter(|number| *number < before))
    };
    let mut needed = BTreeSet::new();
    let mut open = vec![target];
    while let Some(number) = open.pop() {
        if !needed.insert(number) {
            continue;
        }
        let stage = &file.stages[number];
        open.extend(find(&stage.base, number));
        for instruction in &stage.instructions {
            match &instruction.command {
                Command::Copy(copy) => open.extend(copy.from.iter().filter_map(|from| find(from, number))),
                Command::Run(run) => {
                    let froms = run.mounts.iter().filter_map(|mount| mount.from.as_deref());
                    open.extend(froms.filter_map(|from| find(from, number)));
                }
                _ => {}
            }
        }
    }
    needed
}

fn outline(
    file: &Dockerfile,
    target: Option<&str>,
    build_args: &BTreeMap<String, String>,
) -> Result<(Value, String), Status> {
    let last = file.stages.len().saturating_sub(1);
    let named = |name: &str| {
        let by_name =
            file.stages.iter().position(|s| s.name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(name)));
        by_name.or_else(|| name.parse().ok().filter(|number| *number <= last))
    };
    let number = match target {
        None => last,
        Some(name) => {
            named(name).ok_or_else(|| Status::unknown(format!("target stage {name:?} could not be found")))?
        }
    };
    let stage = &file.stages[number];
    let needed: Vec<&Stage> = needed(file, number).into_iter().map(|n| &file.stages[n]).collect();
    let bases: Vec<&str> = needed.iter().map(|stage| stage.source.as_str()).collect();
    let names = |instruction: &&Instruction| match &instruction.command {
        Command::Arg(arguments) => {
            arguments.iter().any(|a| bases.iter().any(|base| base.contains('$') && base.contains(&a.name)))
        }
        _ => false,
    };
    let of_stages = needed.iter().flat_map(|stage| &stage.instructions);
    let mut seen = BTreeSet::new();
    let (mut args, mut secrets, mut ssh) = (Vec::new(), Vec::new(), Vec::new());
    for instruction in file.arguments.iter().filter(names).chain(of_stages) {
        match &instruction.command {
            Command::Arg(arguments) => {
                for argument in arguments.iter().filter(|a| seen.insert(format!("arg {}", a.name))) {
                    let given = build_args.get(&argument.name).cloned();
                    let default = argument.default.as_ref().map(|d| d.trim_matches(['"', '\'']).to_owned());
                    let mut arg = json!({ "name": argument.name, "location": location(instruction.lines) });
                    let value = given.or(default).unwrap_or_default();
                    for (key, value) in [("value", value), ("description", argument.description.clone())] {
                        if !value.is_empty() {
                            arg[key] = json!(value);
                        }
                    }
                    args.push(arg);
                }
            }
            Command::Run(run) => {
                for mount in &run.mounts {
                    let (kind, id, required) = mount_of(&mount.text);
                    let list = match kind.as_str() {
                        "secret" => &mut secrets,
                        "ssh" => &mut ssh,
                        _ => continue,
                    };
                    if seen.insert(format!("{kind} {id}")) {
                        let mut entry = json!({ "name": id, "location": location(instruction.lines) });
                        if required {
                            entry["required"] = json!(true);
                        }
                        list.push(entry);
                    }
                }
            }
            _ => {}
        }
    }
    let mut value = json!({ "sources": [sources(&file.source)] });
    let name = stage.name.clone().unwrap_or_default();
    let description = description(&stage.comments, &name);
    let mut text = match name.is_empty() {
        true => String::new(),
        false => format!("TARGET: {name}\n\n"),
    };
    for (key, list) in [("args", args), ("secrets", secrets), ("ssh", ssh)] {
        for entry in &list {
            text.push_str(&format!("{key}: {}\n", entry["name"].as_str().unwrap_or_default()));
        }
        if !list.is_empty() {
            value[key] = Value::Array(list);
        }
    }
    for (key, said) in [("name", name), ("description", description)] {
        if !said.is_empty() {
            value[key] = json!(said);
        }
    }
    Ok((value, text))
}

/// The kind of a `--mount`, its id, and whether it must be there.
fn mount_of(text: &str) -> (String, String, bool) {
    let fields = minke_model::go::csv_fields(text).unwrap_or_default();
    let mut found = BTreeMap::new();
    for field in &fields {
        let (key, value) = field.split_once('=').unwrap_or((field, "true"));
        found.insert(key.trim().to_lowercase(), value.to_owned());
    }
    let get = |key: &str| found.get(key).cloned();
    let kind = get("type").unwrap_or_else(|| "bind".into());
    let target = get("target").or_else(|| get("dst")).or_else(|| get("destination"));
    let base = target.and_then(|path| path.rsplit('/').next().map(str::to_owned));
    let fallback = if kind == "ssh" { Some("default".to_owned()) } else { base };
    let id = get("id").or_else(|| get("source")).or_else(|| get("src")).or(fallback).unwrap_or_default();
    (kind, id, get("required").is_some_and(|required| required == "true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "ARG TAG=3\n# base what all share\nFROM alpine:$TAG AS base\nARG A=1\n\
        RUN --mount=type=secret,id=s,required=true true\nFROM scratch AS other\nARG B\nFROM base\nARG C=\"x y\"\n\
        RUN --mount=type=ssh true\n";

    fn parsed() -> Dockerfile {
        Dockerfile::parse("Dockerfile", FILE.as_bytes()).unwrap()
    }

    #[test]
    fn stages_are_listed_with_what_is_said_of_them() {
        let (value, text) = targets(&parsed());
        assert_eq!(value["targets"][0]["name"], "base");
        assert_eq!(value["targets"][0]["description"], "what all share");
        assert_eq!(value["targets"][2]["default"], true);
        assert!(text.ends_with("(default) \n"));
    }

    #[test]
    fn an_outline_has_what_the_target_and_its_bases_take() {
        let given = BTreeMap::from([("A".to_owned(), "2".to_owned())]);
        let (value, _) = outline(&parsed(), None, &given).unwrap();
        let names: Vec<&str> =
            value["args"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["TAG", "A", "C"]);
        assert_eq!(value["args"][1]["value"], "2");
        assert_eq!(value["args"][2]["value"], "x y");
        assert_eq!(value["secrets"][0]["name"], "s");
        assert_eq!(value["ssh"][0]["name"], "default");
        assert!(outline(&parsed(), Some("nope"), &given).is_err());
    }

    #[test]
    fn other_questions_are_refused_by_name() {
        assert!(check("frontend.lint").is_ok());
        assert_eq!(
            check("frontend.x").map_err(|e| e.message().to_owned()),
            Err("unsupported request frontend.x".into())
        );
    }

    #[test]
    fn an_excerpt_shows_the_lines_around() {
        let source = Source { file: "Dockerfile".into(), text: "a\nb\nc\nd\ne\nf".into() };
        let shown = excerpt(&source, Lines::one(3));
        assert_eq!(
            shown,
            "Dockerfile:3\n--------------------\n   1 |     a\n   2 |     b\n   3 | >>> c\n   4 |     d\n   5 |     e\n--------------------\n"
        );
    }
}
