//! `compose volumes`: the volumes of a project.

use super::observe;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use minke_compose::label;
use minke_compose::running::Container;
use serde_json::json;

/// `volumes`
pub(super) static COMMAND: Command = command!(VolumesFlags, volumes, {
    name: "volumes",
    usage: "[OPTIONS] [SERVICE...]",
    about: "List volumes",
    arity: Arity::Any,
});

flags! {
    /// Flags of `volumes`.
    struct VolumesFlags {
        format: String ["format"] = "table", "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        quiet: bool ["quiet" 'q'], "Show names only";
    }
}

const LISTING: Listing = Listing {
    type_name: "*formatter.volumeContext",
    heads: &[("Driver", "DRIVER"), ("Mountpoint", "MOUNTPOINT"), ("Name", "VOLUME NAME"), ("Scope", "SCOPE")],
    table: "table {{.Driver}}\\t{{.Name}}",
    quiet: "{{.Name}}",
    raw: "",
};

fn volumes(cli: &Cli, flags: VolumesFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let (_, name) = session.project_or_name(&services)?;
    let client = session.client()?;
    let filters = json!({"label": [format!("{}={name}", label::PROJECT)]});
    let listed = client.get("/volumes", &[("filters", filters.to_string())])?;
    let containers: Vec<Container> = observe::containers(client, &name)?;
    let used = |volume: &str| {
        let mut of_services =
            containers.iter().filter(|one| services.iter().any(|name| name == one.service()));
        services.is_empty() || of_services.any(|one| one.volumes.iter().any(|name| name == volume))
    };
    let mut volumes: Vec<&Value> =
        listed.list("Volumes").iter().filter(|volume| used(volume.text("Name"))).collect();
    volumes.sort_by(|a, b| a.text("Name").cmp(b.text("Name")));
    let rows: Vec<Row> = (volumes.into_iter())
        .map(|volume| {
            Row::new([
                ("Driver", volume.text("Driver").into()),
                ("Mountpoint", volume.text("Mountpoint").into()),
                ("Name", volume.text("Name").into()),
                ("Scope", volume.text("Scope").into()),
            ])
        })
        .collect();
    show(&LISTING.render(&flags.format, flags.quiet, &rows).map_err(Failure::new)?)
}
