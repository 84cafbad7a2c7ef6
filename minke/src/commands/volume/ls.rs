//! `volume ls`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::commands::container::ls::{joined, labels};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;

/// `volume ls`
pub(crate) static COMMAND: Command = command!(LsFlags, ls, {
    name: "ls",
    aliases: &["list"],
    known_as: &["volume ls", "volume list"],
    usage: "[OPTIONS]",
    about: "List volumes",
    arity: Arity::None,
});

flags! {
    /// Flags of `volume ls`.
    struct LsFlags {
        cluster: bool ["cluster"], "";
        filter: Filters ["filter" 'f'], "Only what matches (e.g. \"dangling=true\")";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        quiet: bool ["quiet" 'q'], "Show names only";
    }
}

pub(crate) const LISTING: Listing = Listing {
    type_name: "*formatter.volumeContext",
    heads: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    table: "table {{.Driver}}\\t{{.Name}}",
    quiet: "{{.Name}}",
    raw: "name: {{.Name}}\\ndriver: {{.Driver}}\\n",
};

/// A volume as a row.
pub(crate) fn row(volume: &Value) -> Row {
    let labels = labels(volume.at("Labels"));
    let usage = volume.at("UsageData");
    let used = |text: String| if usage.is_null() { "N/A".to_owned() } else { text };
    let mut row = Row::new([
        ("Availability", "N/A".into()),
        ("Driver", volume.text("Driver").into()),
        ("Group", "N/A".into()),
        ("Labels", joined(&labels).into()),
        ("Links", used(usage.int("RefCount").to_string()).into()),
        ("Mountpoint", volume.text("Mountpoint").into()),
        ("Name", volume.text("Name").into()),
        ("Scope", volume.text("Scope").into()),
        ("Size", used(human::size(usage.int("Size") as f64)).into()),
        ("Status", "N/A".into()),
    ]);
    row.labels = labels;
    row
}

fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
    if flags.cluster {
        return Err(Failure::new("volumes of a cluster are not there yet: they come with a later version"));
    }
    let query: Vec<_> = flags.filter.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    let volumes = cli.client()?.get("/volumes", &query)?;
    let mut volumes: Vec<&Value> = volumes.list("Volumes").iter().collect();
    volumes.sort_by(|a, b| human::natural(a.text("Name"), b.text("Name")));
    let rows: Vec<Row> = volumes.into_iter().map(row).collect();
    let configured = cli.config().text("volumesFormat");
    let format = match flags.format.as_str() {
        "" if configured.is_empty() || flags.quiet => "table",
        "" => configured,
        format => format,
    };
    show(&LISTING.render(format, flags.quiet, &rows).map_err(Failure::new)?)
}
