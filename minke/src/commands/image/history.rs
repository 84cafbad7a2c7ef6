//! `image history`, also `history`

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::commands::image::inspect::platform_json;
use crate::format::listing::{Listing, Row};
use crate::human;

/// `history`
pub(crate) static COMMAND: Command = command!(HistoryFlags, history, {
    name: "history",
    known_as: &["image history", "history"],
    usage: "[OPTIONS] IMAGE",
    about: "Show how an image was made, layer by layer",
    arity: Arity::Exactly(1),
    offer: Offer::Images,
});

flags! {
    /// Flags of `history`.
    struct HistoryFlags {
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        human: bool ["human" 'H'] = "true", "Sizes and times for people";
        no_trunc: bool ["no-trunc"], "Do not cut what is long";
        platform: String ["platform"], "History of that platform of the image (os[/arch[/variant]])";
        quiet: bool ["quiet" 'q'], "Show IDs only";
    }
}

const HEADS: &[(&str, &str)] = &[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

fn history(cli: &Cli, flags: HistoryFlags, args: Vec<String>) -> Outcome {
    let query: Vec<_> = if flags.platform.is_empty() {
        Vec::new()
    } else {
        vec![("platform", platform_json(&flags.platform)?)]
    };
    let layers = cli.client()?.get(&path(&args[0], "/history"), &query)?;
    let rows: Vec<Row> = layers
        .items()
        .iter()
        .map(|layer| {
            let (created, id) = (layer.int("Created"), layer.text("Id"));
            let made_by = layer.text("CreatedBy").replace('\t', " ");
            Row::new([
                ("Comment", layer.text("Comment").into()),
                ("CreatedAt", if created == 0 { String::new() } else { human::rfc3339(created) }.into()),
                ("CreatedBy", if flags.no_trunc { made_by } else { human::ellipsis(&made_by, 45) }.into()),
                (
                    "CreatedSince",
                    if created == 0 {
                        "N/A".to_owned()
                    } else if flags.human {
                        human::ago(created)
                    } else {
                        human::rfc3339(created)
                    }
                    .into(),
                ),
                ("ID", if flags.no_trunc { id } else { human::short_id(id) }.into()),
                (
                    "Size",
                    if flags.human {
                        human::size_with(layer.int("Size") as f64, 3)
                    } else {
                        layer.int("Size").to_string()
                    }
                    .into(),
                ),
            ])
        })
        .collect();
    let listing = Listing {
        type_name: "*formatter.historyContext",
        heads: HEADS,
        table: if flags.human {
            "table {{.ID}}\\t{{.CreatedSince}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}"
        } else {
            "table {{.ID}}\\t{{.CreatedAt}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}"
        },
        quiet: "{{.ID}}",
        raw: "",
    };
    show(&listing.render(&flags.format, flags.quiet, &rows).map_err(Failure::new)?)
}
