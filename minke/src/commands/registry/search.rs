//! `search`.

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;

/// `search`
pub(crate) static COMMAND: Command = command!(SearchFlags, search, {
    name: "search",
    usage: "[OPTIONS] TERM",
    about: "Search a registry for images",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `search`.
    struct SearchFlags {
        filter: Filters ["filter" 'f'], "Only what matches (e.g. \"is-official=true\", \"stars=3\")";
        format: String ["format"], "Format by a Go template";
        limit: Option<i64> ["limit"], "At most so many";
        whole: bool ["no-trunc"], "Do not cut descriptions off";
    }
}

/// Columns of a description.
const WIDE: usize = 45;

const LISTING: Listing = Listing {
    type_name: "*search.searchContext",
    heads: &[
        ("Description", "DESCRIPTION"),
        ("IsOfficial", "OFFICIAL"),
        ("Name", "NAME"),
        ("StarCount", "STARS"),
    ],
    table: "table {{.Name}}\\t{{.Description}}\\t{{.StarCount}}\\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
    raw: "",
};

fn row(found: &Value, whole: bool) -> Row {
    let description = found.text("description").replace(['\n', '\r'], " ");
    let description = if whole { description } else { human::ellipsis(&description, WIDE) };
    let official = if found.bool("is_official") { "[OK]" } else { "" };
    Row::new([
        ("Description", description.into()),
        ("IsOfficial", official.into()),
        ("Name", found.text("name").into()),
        ("StarCount", found.int("star_count").to_string().into()),
    ])
}

fn search(cli: &Cli, flags: SearchFlags, args: Vec<String>) -> Outcome {
    let mut query = vec![("term", args[0].clone())];
    if let Some(limit) = flags.limit.filter(|limit| *limit != 0) {
        query.push(("limit", limit.to_string()));
    }
    if let Some(filters) = flags.filter.to_query() {
        query.push(("filters", filters));
    }
    let found = cli.client()?.get("/images/search", &query)?;
    let mut found: Vec<&Value> = found.items().iter().collect();
    // Who is liked most comes first.
    found.sort_by_key(|one| std::cmp::Reverse(one.int("star_count")));
    let rows: Vec<Row> = found.into_iter().map(|one| row(one, flags.whole)).collect();
    let format = if flags.format.is_empty() { "table" } else { &flags.format };
    show(&LISTING.render(format, false, &rows).map_err(Failure::new)?)
}
