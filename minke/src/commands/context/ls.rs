//! `context ls`

use super::default_host;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::context::DEFAULT;
use crate::format::listing::{Listing, Row};
use crate::output::warn;

/// `context ls`
pub(crate) static COMMAND: Command = command!(LsFlags, ls, {
    name: "ls",
    aliases: &["list"],
    known_as: &["context ls", "context list"],
    usage: "[OPTIONS]",
    about: "List contexts",
    arity: Arity::None,
});

flags! {
    /// Flags of `context ls`.
    struct LsFlags {
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        quiet: bool ["quiet" 'q'], "Show names only";
    }
}

const LISTING: Listing = Listing {
    type_name: "*formatter.clientContextContext",
    heads: &[
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
        ("Name", "NAME"),
    ],
    table: "table {{.Name}}{{if .Current}} *{{end}}\\t{{.Description}}\\t{{.DockerEndpoint}}\\t{{.Error}}",
    quiet: "{{.Name}}",
    raw: "",
};

fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
    let current = cli.context_name();
    let row = |name: &str, description: &str, host: &str| {
        Row::new([
            ("Current", (name == current).into()),
            ("Description", description.into()),
            ("DockerEndpoint", host.into()),
            ("Error", "".into()),
            ("Name", name.into()),
        ])
    };
    let about_default = "Current DOCKER_HOST based configuration";
    let mut contexts: Vec<(String, String, String)> = cli
        .contexts()
        .list()
        .into_iter()
        .map(|context| (context.name, context.description, context.host))
        .collect();
    contexts.push((DEFAULT.into(), about_default.into(), default_host(cli)));
    contexts.sort_by(|a, b| crate::human::natural(&a.0, &b.0));
    let rows: Vec<Row> =
        contexts.iter().map(|(name, description, host)| row(name, description, host)).collect();
    show(&LISTING.render(&flags.format, flags.quiet, &rows).map_err(Failure::new)?)?;
    if std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) {
        warn(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable.",
        );
    }
    Ok(())
}
