//! `compose top`: the processes of a project's containers.

use super::observe;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Outcome, show};
use crate::commands::container::path;
use crate::format::tabs;
use minke_compose::running::Container;
use std::collections::BTreeMap;

/// `top`
pub(super) static COMMAND: Command = command!(NoFlags, top, {
    name: "top",
    usage: "[SERVICE...]",
    about: "List the processes of services",
    arity: Arity::Any,
});

fn top(cli: &Cli, _: NoFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    let client = session.client()?;
    let listed = observe::list(client, &name, false)?;
    let mut containers: Vec<Container> = listed.items().iter().map(observe::container).collect();
    containers.retain(|one| services.is_empty() || services.iter().any(|name| name == one.service()));
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let mut heads = vec!["SERVICE".to_owned(), "#".to_owned()];
    let mut rows: Vec<BTreeMap<String, String>> = Vec::new();
    for container in &containers {
        let listed = client.get(&path(&container.id, "/top"), &[])?;
        let titles = listed.texts("Titles");
        for title in &titles {
            if !heads.iter().any(|head| head == title) {
                heads.push((*title).to_owned());
            }
        }
        for process in listed.list("Processes") {
            let cells = process.items().iter().map(|cell| cell.as_text().to_owned());
            let mut row: BTreeMap<String, String> =
                titles.iter().map(|title| (*title).to_owned()).zip(cells).collect();
            row.insert("SERVICE".into(), container.service().to_owned());
            row.insert("#".into(), container.number().to_string());
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    // The longest column stands last.
    if let Some(at) = heads.iter().position(|head| head == "CMD") {
        let command = heads.remove(at);
        heads.push(command);
    }
    let mut text = heads.join("\t") + "\n";
    for row in rows {
        let cells: Vec<&str> = heads.iter().map(|head| row.get(head).map_or("-", String::as_str)).collect();
        text.push_str(&(cells.join("\t") + "\n"));
    }
    show(&tabs::align(&text, 4, 2))
}
