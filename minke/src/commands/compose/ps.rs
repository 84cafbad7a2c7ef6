//! `compose ps`: the containers of a project.

use super::observe;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::{Client, ClientError};
use crate::commands::container::{ls, path};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;
use minke_compose::label;

/// `ps`
pub(super) static COMMAND: Command = command!(PsFlags, ps, {
    name: "ps",
    usage: "[OPTIONS] [SERVICE...]",
    about: "List containers",
    arity: Arity::Any,
});

flags! {
    /// Flags of `ps`.
    struct PsFlags {
        all: bool ["all" 'a'], "Show stopped containers too, and those of run";
        filter: String ["filter"], "Only what matches (status=…)";
        format: String ["format"] = "table", "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        no_trunc: bool ["no-trunc"], "Do not cut what is long";
        orphans: bool ["orphans"] = "true", "Show containers of services that no file has";
        quiet: bool ["quiet" 'q'], "Show IDs only";
        services: bool ["services"], "Show services only";
        status: Vec<String> ["status"], "Only containers that are so (\"paused\", \"restarting\", \"removing\", \"running\", \"dead\", \"created\", \"exited\")";
    }
}

const LISTING: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    heads: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Ports", "PORTS"),
        ("Project", "PROJECT"),
        ("RunningFor", "CREATED"),
        ("Service", "SERVICE"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
    table: "table {{.Name}}\\t{{.Image}}\\t{{.Command}}\\t{{.Service}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}",
    quiet: "{{.ID}}",
    raw: "",
};

fn ps(cli: &Cli, flags: PsFlags, mut services: Vec<String>) -> Outcome {
    let mut statuses = flags.status.clone();
    match flags.filter.split_once('=') {
        Some(("status", status)) => statuses.push(status.to_owned()),
        Some((name, _)) => return Err(Failure::new(format!("unknown filter {name}"))),
        None if flags.filter.is_empty() => {}
        None => return Err(Failure::new("arguments to --filter should be in form KEY=VAL")),
    }
    let session = Session::new(cli, false)?;
    let (project, name) = session.project_or_name(&services)?;
    if let Some(project) = &project
        && services.is_empty()
        && !flags.orphans
    {
        services = project.services.keys().cloned().collect();
    }
    let all = flags.all || !statuses.is_empty();
    let client = session.client()?;
    let listed = observe::list(client, &name, all)?;
    let mut containers: Vec<&Value> = (listed.items().iter())
        .filter(|one| flags.all || one.at("Labels").at_key(label::ONE_OFF).as_text() != "True")
        .filter(|one| services.is_empty() || services.iter().any(|service| service == service_of(one)))
        .filter(|one| statuses.is_empty() || statuses.iter().any(|status| status == one.text("State")))
        .collect();
    containers.sort_by_key(|one| name_of(one));
    if flags.quiet {
        return show(&containers.iter().map(|one| format!("{}\n", one.text("Id"))).collect::<String>());
    }
    if flags.services {
        let mut names: Vec<&str> = Vec::new();
        for name in containers.iter().map(|one| service_of(one)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        return show(&format!("{}\n", names.join("\n")));
    }
    let rows: Vec<Row> =
        containers.iter().map(|one| row(client, one, !flags.no_trunc)).collect::<Result<_, _>>()?;
    show(&LISTING.render(&flags.format, false, &rows).map_err(Failure::new)?)
}

fn name_of(container: &Value) -> String {
    observe::container(container).name
}

fn service_of(container: &Value) -> &str {
    container.at("Labels").at_key(label::SERVICE).as_text()
}

fn row(client: &Client, container: &Value, trunc: bool) -> Result<Row, Failure> {
    let inspected = match client.get(&path(container.text("Id"), "/json"), &[]) {
        Ok(inspected) => inspected,
        Err(error @ ClientError::Daemon { .. }) if error.is_not_found() => Value::Null,
        Err(error) => return Err(error.into()),
    };
    let running = inspected.text("State.Status") == "running";
    let ended = matches!(inspected.text("State.Status"), "exited" | "dead");
    let labels = ls::labels(container.at("Labels"));
    let id = container.text("Id");
    let command = container.text("Command");
    let cut = if trunc { human::ellipsis(command, 20) } else { command.to_owned() };
    let mounts = container.list("Mounts");
    let mount_names: Vec<String> = (mounts.iter())
        .map(|mount| if mount.text("Name").is_empty() { mount.text("Source") } else { mount.text("Name") })
        .map(|name| if trunc { human::ellipsis(name, 15) } else { name.to_owned() })
        .collect();
    let networks: Vec<&str> =
        container.at("NetworkSettings.Networks").entries().iter().map(|(name, _)| name.as_str()).collect();
    let names: Vec<&str> =
        container.texts("Names").into_iter().map(|name| name.trim_start_matches('/')).collect();
    let mut row = Row::new([
        ("Command", minke_model::go::quote(&cut).into()),
        ("CreatedAt", human::local_time(container.int("Created")).into()),
        ("ExitCode", Value::Int(if ended { inspected.int("State.ExitCode") } else { 0 })),
        ("Health", if running { inspected.text("State.Health.Status") } else { "" }.into()),
        ("ID", if trunc { human::short_id(id) } else { id }.into()),
        ("Image", container.text("Image").into()),
        ("Labels", ls::joined(&labels).into()),
        (
            "LocalVolumes",
            mounts.iter().filter(|mount| mount.text("Driver") == "local").count().to_string().into(),
        ),
        ("Mounts", mount_names.join(",").into()),
        ("Name", name_of(container).into()),
        ("Names", names.join(",").into()),
        ("Networks", networks.join(",").into()),
        ("Ports", ls::ports(container.list("Ports")).into()),
        ("Project", container.at("Labels").at_key(label::PROJECT).clone()),
        ("Publishers", publishers(container)),
        ("RunningFor", human::ago(container.int("Created")).into()),
        ("Service", service_of(container).into()),
        ("Size", ls::size(container.int("SizeRw"), container.int("SizeRootFs")).into()),
        ("State", container.text("State").into()),
        ("Status", container.text("Status").into()),
    ]);
    row.labels = labels;
    Ok(row)
}

/// Ports in docker compose's own shape.
fn publishers(container: &Value) -> Value {
    let mut ports: Vec<&Value> = container.list("Ports").iter().collect();
    ports.sort_by_key(|port| port.int("PrivatePort"));
    Value::List(
        (ports.into_iter())
            .map(|port| {
                Value::Struct(vec![
                    ("URL".into(), port.text("IP").into()),
                    ("TargetPort".into(), Value::Int(port.int("PrivatePort"))),
                    ("PublishedPort".into(), Value::Int(port.int("PublicPort"))),
                    ("Protocol".into(), port.text("Type").into()),
                ])
            })
            .collect(),
    )
}
