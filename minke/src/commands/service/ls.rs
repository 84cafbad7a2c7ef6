//! `service ls`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;

/// `service ls`
pub(crate) static COMMAND: Command = command!(LsFlags, ls, {
    name: "ls",
    aliases: &["list"],
    known_as: &["service ls", "service list"],
    usage: "[OPTIONS]",
    about: "List services",
    arity: Arity::None,
});

flags! {
    /// Flags of `service ls`.
    struct LsFlags {
        filter: Filters ["filter" 'f'], "Only what matches (e.g. \"name=web\")";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        quiet: bool ["quiet" 'q'], "Show ids only";
    }
}

const LISTING: Listing = Listing {
    type_name: "*service.serviceContext",
    heads: &[
        ("ID", "ID"),
        ("Image", "IMAGE"),
        ("Mode", "MODE"),
        ("Name", "NAME"),
        ("Ports", "PORTS"),
        ("Replicas", "REPLICAS"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.Mode}}\\t{{.Replicas}}\\t{{.Image}}\\t{{.Ports}}",
    quiet: "{{.ID}}",
    raw: "",
};

/// Docker's word for a mode.
fn mode(service: &Value) -> &'static str {
    let words = [
        ("Spec.Mode.Global", "global"),
        ("Spec.Mode.ReplicatedJob", "replicated job"),
        ("Spec.Mode.GlobalJob", "global job"),
    ];
    words.iter().find(|(path, _)| !service.at(path).is_null()).map_or("replicated", |(_, word)| word)
}

/// `*:8080->80/tcp`, of ports that every node answers.
fn ports(service: &Value) -> String {
    let port =
        |p: &Value| format!("*:{}->{}/{}", p.int("PublishedPort"), p.int("TargetPort"), p.text("Protocol"));
    let ports = service.list("Endpoint.Ports").iter();
    ports.filter(|p| p.text("PublishMode") == "ingress").map(port).collect::<Vec<_>>().join(", ")
}

fn row(service: &Value) -> Row {
    let status = service.at("ServiceStatus");
    let mode = mode(service);
    let mut replicas = format!("{}/{}", status.int("RunningTasks"), status.int("DesiredTasks"));
    if mode.ends_with("job") {
        let wanted = match mode {
            "global job" => status.int("DesiredTasks"),
            _ => service.int("Spec.Mode.ReplicatedJob.TotalCompletions"),
        };
        replicas.push_str(&format!(" ({}/{wanted} completed)", status.int("CompletedTasks")));
    }
    let most = service.int("Spec.TaskTemplate.Placement.MaxReplicas");
    if most > 0 {
        replicas.push_str(&format!(" (max {most} per node)"));
    }
    let image = service.text("Spec.TaskTemplate.ContainerSpec.Image");
    Row::new([
        ("ID", human::short_id(service.text("ID")).into()),
        ("Image", image.split('@').next().unwrap_or(image).into()),
        ("Mode", mode.into()),
        ("Name", service.text("Spec.Name").into()),
        ("Ports", ports(service).into()),
        ("Replicas", replicas.into()),
    ])
}

fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
    let mut query: Vec<_> = flags.filter.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    query.push(("status", "true".to_owned()));
    let services = cli.client()?.get("/services", &query)?;
    let mut services: Vec<&Value> = services.items().iter().collect();
    services.sort_by(|a, b| human::natural(a.text("Spec.Name"), b.text("Spec.Name")));
    let rows: Vec<Row> = services.into_iter().map(row).collect();
    show(&LISTING.render(&flags.format, flags.quiet, &rows).map_err(Failure::new)?)
}
