//! `network ls`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::commands::container::ls::{joined, labels};
use crate::format::listing::{Listing, Row};
use crate::human;

/// `network ls`
pub(crate) static COMMAND: Command = command!(LsFlags, ls, {
    name: "ls",
    aliases: &["list"],
    known_as: &["network ls", "network list"],
    usage: "[OPTIONS]",
    about: "List networks",
    arity: Arity::None,
});

flags! {
    /// Flags of `network ls`.
    struct LsFlags {
        filter: Filters ["filter" 'f'], "Only what matches (e.g. \"driver=bridge\")";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        no_trunc: bool ["no-trunc"], "Do not cut what is long";
        quiet: bool ["quiet" 'q'], "Show IDs only";
    }
}

const LISTING: Listing = Listing {
    type_name: "*network.networkContext",
    heads: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}",
    quiet: "{{.ID}}",
    raw: "network_id: {{.ID}}\\nname: {{.Name}}\\ndriver: {{.Driver}}\\nscope: {{.Scope}}\\n",
};

fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
    let query: Vec<_> = flags.filter.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    let networks = cli.client()?.get("/networks", &query)?;
    let mut networks: Vec<_> = networks.items().iter().collect();
    networks.sort_by(|a, b| human::natural(a.text("Name"), b.text("Name")));
    let rows: Vec<Row> = networks
        .into_iter()
        .map(|network| {
            let labels = labels(network.at("Labels"));
            let id = network.text("Id");
            let mut row = Row::new([
                ("CreatedAt", human::go_time(network.text("Created")).into()),
                ("Driver", network.text("Driver").into()),
                ("ID", if flags.no_trunc { id } else { human::short_id(id) }.into()),
                ("IPv4", network.bool("EnableIPv4").to_string().into()),
                ("IPv6", network.bool("EnableIPv6").to_string().into()),
                ("Internal", network.bool("Internal").to_string().into()),
                ("Labels", joined(&labels).into()),
                ("Name", network.text("Name").into()),
                ("Scope", network.text("Scope").into()),
            ]);
            row.labels = labels;
            row
        })
        .collect();
    let configured = cli.config().text("networksFormat");
    let format = match flags.format.as_str() {
        "" if configured.is_empty() || flags.quiet => "table",
        "" => configured,
        format => format,
    };
    show(&LISTING.render(format, flags.quiet, &rows).map_err(Failure::new)?)
}
