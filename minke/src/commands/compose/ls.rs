//! `compose ls`: the projects that there are.

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::tabs;
use crate::format::value::Value;
use minke_compose::label;
use serde_json::json;
use std::collections::BTreeMap;

/// `ls`
pub(super) static COMMAND: Command = command!(LsFlags, ls, {
    name: "ls",
    usage: "[OPTIONS]",
    about: "List projects",
    arity: Arity::None,
});

flags! {
    /// Flags of `ls`.
    struct LsFlags {
        all: bool ["all" 'a'], "Show stopped projects too";
        filter: Filters ["filter"], "Only what matches (name=…)";
        format: String ["format"] = "table", "\"table\" or \"json\"";
        quiet: bool ["quiet" 'q'], "Show names only";
    }
}

/// A project: how many of its containers are in which state, and its files.
#[derive(Default)]
struct Listed {
    states: BTreeMap<String, usize>,
    files: Vec<String>,
}

fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
    if let Some((name, _)) = flags.filter.0.iter().find(|(name, _)| name != "name") {
        return Err(Failure::new(format!("invalid filter '{name}'")));
    }
    let filters = json!({"label": [label::PROJECT, label::CONFIG_HASH]});
    let mut query = vec![("filters", filters.to_string())];
    if flags.all {
        query.push(("all", "1".to_owned()));
    }
    let containers = cli.client()?.get("/containers/json", &query)?;
    let mut projects: BTreeMap<&str, Listed> = BTreeMap::new();
    for container in containers.items() {
        let labels = container.at("Labels");
        let project = projects.entry(labels.at_key(label::PROJECT).as_text()).or_default();
        *project.states.entry(container.text("State").to_owned()).or_default() += 1;
        for file in labels.at_key(label::CONFIG_FILES).as_text().split(',') {
            if !project.files.iter().any(|known| known == file) {
                project.files.push(file.to_owned());
            }
        }
    }
    let wanted =
        |name: &str| flags.filter.0.is_empty() || flags.filter.0.iter().any(|(_, part)| name.contains(part));
    projects.retain(|name, _| wanted(name));
    if flags.quiet {
        return show(&projects.keys().map(|name| format!("{name}\n")).collect::<String>());
    }
    let status = |project: &Listed| {
        project.states.iter().map(|(state, count)| format!("{state}({count})")).collect::<Vec<_>>().join(", ")
    };
    match flags.format.as_str() {
        "json" => {
            let list = (projects.iter())
                .map(|(name, project)| {
                    Value::Struct(vec![
                        ("Name".into(), (*name).into()),
                        ("Status".into(), status(project).into()),
                        ("ConfigFiles".into(), project.files.join(",").into()),
                    ])
                })
                .collect();
            show(&format!("{}\n", Value::List(list).to_json(false)))
        }
        "table" | "" => {
            let rows = projects
                .iter()
                .map(|(name, project)| format!("{name}\t{}\t{}\n", status(project), project.files.join(",")));
            let text = String::from("NAME\tSTATUS\tCONFIG FILES\n") + &rows.collect::<String>();
            show(&tabs::align(&text, 20, 1))
        }
        other => {
            Err(Failure::new(format!("format value {} could not be parsed", minke_model::go::quote(other))))
        }
    }
}
