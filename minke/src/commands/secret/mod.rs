//! `secret …` and `config …`: small files that tasks get. The two differ in a word, and in that a config may be read.

use super::segment;
use crate::cli::command::{Arity, Command, Entry, Group, command};
use crate::cli::flag::{Filters, NoFlags, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::commands::container::ls::{joined, labels};
use crate::commands::inspect::{all, raw};
use crate::format::listing::{Listing, Row};
use crate::options::env;
use crate::output::each;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use std::io::Read;

/// `secret`.
pub(crate) static SECRET: Group = Group {
    name: "secret",
    about: "Manage secrets of the cluster",
    entries: &[
        Entry::Command(&of_secrets::CREATE),
        Entry::Command(&of_secrets::INSPECT),
        Entry::Command(&of_secrets::LS),
        Entry::Command(&of_secrets::RM),
    ],
};

/// `config`.
pub(crate) static CONFIG: Group = Group {
    name: "config",
    about: "Manage configs of the cluster",
    entries: &[
        Entry::Command(&of_configs::CREATE),
        Entry::Command(&of_configs::INSPECT),
        Entry::Command(&of_configs::LS),
        Entry::Command(&of_configs::RM),
    ],
};

flags! {
    /// Flags of `create`.
    struct CreateFlags {
        label: Vec<String> ["label" 'l'], "Set a label";
        template_driver: String ["template-driver"], "Its content is a template (golang)";
    }
}

flags! {
    /// Flags of `ls`.
    struct LsFlags {
        filter: Filters ["filter" 'f'], "Only what matches";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        quiet: bool ["quiet" 'q'], "Show ids only";
    }
}

flags! {
    /// Flags of `inspect`.
    struct InspectFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
    }
}

/// The verbs of one of the two.
macro_rules! verbs {
    ($what:literal, $of:ident, $create:ident, $inspect:ident, $ls:ident, $rm:ident) => {
        mod $of {
            use super::*;

            fn create(cli: &Cli, flags: CreateFlags, args: Vec<String>) -> Outcome {
                super::create(cli, $what, flags, args)
            }

            fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
                let client = cli.client()?;
                all(&args, &flags.format, |name| Ok(raw(client, &path($what, name), &[])?))
            }

            fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
                super::ls(cli, $what, flags)
            }

            fn rm(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
                super::rm(cli, $what, args)
            }

            pub(super) static $create: Command = command!(CreateFlags, create, {
                name: "create",
                usage: "[OPTIONS] NAME file|-",
                about: concat!("Make a ", $what, " of a file, or of standard input"),
                arity: Arity::Exactly(2),
            });
            pub(super) static $inspect: Command = command!(InspectFlags, inspect, {
                name: "inspect",
                usage: "[OPTIONS] NAME [NAME...]",
                about: concat!("Show all that is known of ", $what, "s"),
                arity: Arity::AtLeast(1),
            });
            pub(super) static $ls: Command = command!(LsFlags, ls, {
                name: "ls",
                aliases: &["list"],
                known_as: &[concat!($what, " ls"), concat!($what, " list")],
                usage: "[OPTIONS]",
                about: concat!("List ", $what, "s"),
                arity: Arity::None,
            });
            pub(super) static $rm: Command = command!(NoFlags, rm, {
                name: "rm",
                aliases: &["remove"],
                known_as: &[concat!($what, " rm"), concat!($what, " remove")],
                usage: "NAME [NAME...]",
                about: concat!("Remove ", $what, "s that no service needs"),
                arity: Arity::AtLeast(1),
            });
        }
    };
}

verbs!("secret", of_secrets, CREATE, INSPECT, LS, RM);
verbs!("config", of_configs, CREATE, INSPECT, LS, RM);

fn path(what: &str, name: &str) -> String {
    format!("/{what}s/{}", segment(name))
}

fn create(cli: &Cli, what: &str, flags: CreateFlags, args: Vec<String>) -> Outcome {
    let cannot = |e: std::io::Error| {
        Failure::new(format!("error reading content from {}: {e}", minke_model::go::quote(&args[1])))
    };
    let data = match args[1].as_str() {
        "-" => {
            let mut data = Vec::new();
            // More than the largest config is refused by the daemon; a stream without end is cut here.
            std::io::stdin().take(2 << 20).read_to_end(&mut data).map_err(cannot)?;
            data
        }
        file => std::fs::read(file).map_err(cannot)?,
    };
    let labels: serde_json::Map<String, serde_json::Value> =
        env::labels(&[], &flags.label)?.into_iter().map(|(name, value)| (name, value.into())).collect();
    let mut body = json!({ "Name": args[0], "Labels": labels, "Data": BASE64_STANDARD.encode(data) });
    if !flags.template_driver.is_empty() {
        body["Templating"] = json!({ "Name": flags.template_driver });
    }
    let made = cli.client()?.post(&format!("/{what}s/create"), &[], &body)?;
    show(&format!("{}\n", made.text("ID")))
}

const LISTING: Listing = Listing {
    type_name: "*secret.secretContext",
    heads: &[
        ("CreatedAt", "CREATED"),
        ("Driver", "DRIVER"),
        ("ID", "ID"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("UpdatedAt", "UPDATED"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.CreatedAt}}\\t{{.UpdatedAt}}",
    quiet: "{{.ID}}",
    raw: "",
};

fn ls(cli: &Cli, what: &str, flags: LsFlags) -> Outcome {
    let query: Vec<_> = flags.filter.to_query().map(|filters| ("filters", filters)).into_iter().collect();
    let found = cli.client()?.get(&format!("/{what}s"), &query)?;
    let mut found: Vec<_> = found.items().iter().collect();
    found.sort_by(|a, b| crate::human::natural(a.text("Spec.Name"), b.text("Spec.Name")));
    let ago = |text: &str| crate::human::unix_seconds(text).map(crate::human::ago).unwrap_or_default();
    let rows: Vec<Row> = found
        .iter()
        .map(|file| {
            let labels = labels(file.at("Spec.Labels"));
            let mut row = Row::new([
                ("CreatedAt", ago(file.text("CreatedAt")).into()),
                ("Driver", "".into()),
                ("ID", file.text("ID").into()),
                ("Labels", joined(&labels).into()),
                ("Name", file.text("Spec.Name").into()),
                ("UpdatedAt", ago(file.text("UpdatedAt")).into()),
            ]);
            row.labels = labels;
            row
        })
        .collect();
    show(&LISTING.render(&flags.format, flags.quiet, &rows).map_err(Failure::new)?)
}

fn rm(cli: &Cli, what: &str, args: Vec<String>) -> Outcome {
    each(&args, |name| {
        cli.client()?.call("DELETE", &path(what, name), &[], Payload::None)?.drain()?;
        show(&format!("{name}\n"))
    })
}
