//! `service ps`, and the table of tasks that `node ps` and `stack ps` show, too.

use super::path;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;
use std::collections::BTreeMap;

/// `service ps`
pub(crate) static COMMAND: Command = command!(PsFlags, ps, {
    name: "ps",
    usage: "[OPTIONS] SERVICE [SERVICE...]",
    about: "List tasks of services, those that ended too",
    arity: Arity::AtLeast(1),
});

flags! {
    /// Flags of `service ps`.
    struct PsFlags {
        filter: Filters ["filter" 'f'], "Only what matches";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        no_resolve: bool ["no-resolve"], "Show ids instead of names";
        no_trunc: bool ["no-trunc"], "Show whole ids and reasons";
        quiet: bool ["quiet" 'q'], "Show ids only";
    }
}

const LISTING: Listing = Listing {
    type_name: "*task.taskContext",
    heads: &[
        ("CurrentState", "CURRENT STATE"),
        ("DesiredState", "DESIRED STATE"),
        ("Error", "ERROR"),
        ("ID", "ID"),
        ("Image", "IMAGE"),
        ("Name", "NAME"),
        ("Node", "NODE"),
        ("Ports", "PORTS"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.Image}}\\t{{.Node}}\\t{{.DesiredState}}\\t{{.CurrentState}}\\t{{.Error}}\\t{{.Ports}}",
    quiet: "{{.ID}}",
    raw: "",
};

fn ps(cli: &Cli, flags: PsFlags, args: Vec<String>) -> Outcome {
    let mut ids = Vec::new();
    for name in &args {
        ids.push(cli.client()?.get(&path(name), &[])?.text("ID").to_owned());
    }
    list(cli, flags, "service", &ids)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Names by ids: of nodes or services.
fn names(cli: &Cli, path: &str, name: &str, wanted: bool) -> Result<BTreeMap<String, String>, Failure> {
    if !wanted {
        return Ok(BTreeMap::new());
    }
    let all = cli.client()?.get(path, &[])?;
    Ok(all.items().iter().map(|o| (o.text("ID").to_owned(), o.text(name).to_owned())).collect())
}

/// Tasks of services or nodes (`what`), newest first within their place.
pub(crate) fn list(cli: &Cli, mut flags: PsFlags, what: &str, ids: &[String]) -> Outcome {
    flags.filter.0.extend(ids.iter().map(|id| (what.to_owned(), id.clone())));
    let query: Vec<_> = flags.filter.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    let tasks = cli.client()?.get("/tasks", &query)?;
    let nodes = names(cli, "/nodes", "Description.Hostname", !flags.no_resolve)?;
    let services = names(cli, "/services", "Spec.Name", !flags.no_resolve)?;
    let named = |names: &BTreeMap<String, String>, id: &str| {
        names.get(id).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| id.to_owned())
    };
    let mut tasks: Vec<(String, &Value)> = tasks
        .items()
        .iter()
        .map(|task| {
            let place = match task.int("Slot") {
                0 => task.text("NodeID").to_owned(),
                slot => slot.to_string(),
            };
            (format!("{}.{place}", named(&services, task.text("ServiceID"))), task)
        })
        .collect();
    tasks.sort_by(|(a, x), (b, y)| {
        human::natural(a, b).then_with(|| y.text("CreatedAt").cmp(x.text("CreatedAt")))
    });
    let mut last = String::new();
    let mut rows = Vec::new();
    for (name, task) in &tasks {
        let shown = if *name == last { format!(" \\_ {name}") } else { name.clone() };
        last.clone_from(name);
        let cut = |text: &str, most: usize| match flags.no_trunc {
            true => text.to_owned(),
            false => human::ellipsis(text, most),
        };
        let ago = human::unix_seconds(task.text("Status.Timestamp")).map(human::ago).unwrap_or_default();
        let error = task.text("Status.Err");
        let image = task.text("Spec.ContainerSpec.Image");
        let ports: Vec<String> = task
            .list("Status.PortStatus.Ports")
            .iter()
            .map(|p| format!("*:{}->{}/{}", p.int("PublishedPort"), p.int("TargetPort"), p.text("Protocol")))
            .collect();
        rows.push(Row::new([
            ("CurrentState", format!("{} {}", capital(task.text("Status.State")), ago.to_lowercase()).into()),
            ("DesiredState", capital(task.text("DesiredState")).into()),
            (
                "Error",
                if error.is_empty() { String::new() } else { format!("\"{}\"", cut(error, 30)) }.into(),
            ),
            ("ID", if flags.no_trunc { task.text("ID") } else { human::short_id(task.text("ID")) }.into()),
            ("Image", if flags.no_trunc { image } else { image.split('@').next().unwrap_or(image) }.into()),
            ("Name", shown.into()),
            ("Node", named(&nodes, task.text("NodeID")).into()),
            ("Ports", ports.join(",").into()),
        ]));
    }
    show(&LISTING.render(&flags.format, flags.quiet, &rows).map_err(Failure::new)?)
}
