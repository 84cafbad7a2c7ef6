//! `image ls`, also `images`

use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;
use minke_image::Reference;

/// `image ls`
pub(crate) static COMMAND: Command = command!(LsFlags, ls, {
    name: "ls",
    aliases: &["list"],
    known_as: &["image ls", "image list", "images"],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    arity: Arity::AtMost(1),
    offer: Offer::Images,
});

flags! {
    /// Flags of `images`.
    struct LsFlags {
        all: bool ["all" 'a'], "Show intermediate images too";
        digests: bool ["digests"], "Show digests";
        filter: Filters ["filter" 'f'], "Only what matches";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        no_trunc: bool ["no-trunc"], "Do not cut what is long";
        quiet: bool ["quiet" 'q'], "Show IDs only";
        tree: bool ["tree"], "";
    }
}

const HEADS: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

fn listing(digests: bool) -> Listing {
    Listing {
        type_name: "*formatter.imageContext",
        heads: HEADS,
        table: if digests {
            "table {{.Repository}}\\t{{.Tag}}\\t{{.Digest}}\\t{{.ID}}\\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\\t{{.Size}}"
        } else {
            "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\\t{{.Size}}"
        },
        quiet: "{{.ID}}",
        raw: if digests {
            "repository: {{ .Repository }}\\ntag: {{.Tag}}\\ndigest: {{.Digest}}\\nimage_id: {{.ID}}\\ncreated_at: {{.CreatedAt}}\\nvirtual_size: {{.Size}}\\n"
        } else {
            "repository: {{ .Repository }}\\ntag: {{.Tag}}\\nimage_id: {{.ID}}\\ncreated_at: {{.CreatedAt}}\\nvirtual_size: {{.Size}}\\n"
        },
    }
}

/// One image under one of its names.
pub(crate) fn row(image: &Value, repository: &str, tag: &str, digest: &str, trunc: bool) -> Row {
    let id = image.text("Id");
    let created = image.int("Created");
    let counted = |name: &str| match image.int(name) {
        -1 => "N/A".to_owned(),
        count => count.to_string(),
    };
    let (size, shared) = (image.int("Size"), image.int("SharedSize"));
    Row::new([
        ("Containers", counted("Containers").into()),
        ("CreatedAt", if created == 0 { String::new() } else { human::local_time(created) }.into()),
        ("CreatedSince", if created == 0 { String::new() } else { human::ago(created) }.into()),
        ("Digest", digest.into()),
        ("ID", if trunc { human::short_id(id) } else { id }.into()),
        ("Repository", repository.into()),
        ("SharedSize", if shared == -1 { "N/A".to_owned() } else { human::size(shared as f64) }.into()),
        ("Size", human::size_with(size as f64, 3).into()),
        ("Tag", tag.into()),
        (
            "UniqueSize",
            if size == -1 || shared == -1 { "N/A".to_owned() } else { human::size((size - shared) as f64) }
                .into(),
        ),
        ("VirtualSize", human::size(size as f64).into()),
    ])
}

/// An image's rows: one for each tag, or one for its digest, or one without a name.
pub(crate) fn rows(image: &Value, digests: bool, trunc: bool) -> Vec<Row> {
    const NONE: &str = "<none>";
    let parse = |names: Vec<&str>| {
        names.into_iter().filter_map(|name| Reference::parse(name).ok()).collect::<Vec<_>>()
    };
    let (tags, by_digest) = (parse(image.texts("RepoTags")), parse(image.texts("RepoDigests")));
    if tags.is_empty() && by_digest.is_empty() {
        return vec![row(image, NONE, NONE, NONE, trunc)];
    }
    let mut rows = Vec::new();
    for reference in &tags {
        let (repository, tag) = (reference.familiar_name(), reference.tag().unwrap_or(NONE));
        let own: Vec<String> = by_digest
            .iter()
            .filter(|other| digests && other.familiar_name() == repository)
            .filter_map(|other| other.digest().map(|digest| digest.to_string()))
            .collect();
        if own.is_empty() {
            rows.push(row(image, &repository, tag, NONE, trunc));
        }
        rows.extend(own.iter().map(|digest| row(image, &repository, tag, digest, trunc)));
    }
    let mut seen = Vec::new();
    for reference in by_digest {
        let repository = reference.familiar_name();
        if tags.iter().any(|tag| tag.familiar_name() == repository)
            || (!digests && seen.contains(&repository))
        {
            continue;
        }
        let digest = if digests {
            reference.digest().map(|digest| digest.to_string()).unwrap_or_default()
        } else {
            String::new()
        };
        rows.push(row(image, &repository, NONE, &digest, trunc));
        seen.push(repository);
    }
    rows
}

fn ls(cli: &Cli, flags: LsFlags, args: Vec<String>) -> Outcome {
    if flags.tree {
        return Err(Failure::new(
            "--tree is not supported: it is experimental, and every image here has one platform",
        ));
    }
    let mut filters = flags.filter;
    if let Some(name) = args.first() {
        filters.0.push(("reference".into(), name.clone()));
    }
    let mut query = Vec::new();
    if flags.all {
        query.push(("all", "1".to_owned()));
    }
    if let Some(filters) = filters.to_query() {
        query.push(("filters", filters));
    }
    let images = cli.client()?.get("/images/json", &query)?;
    let configured = cli.config().text("imagesFormat");
    let format = match flags.format.as_str() {
        "" if configured.is_empty() || flags.quiet => "table",
        "" => configured,
        format => format,
    };
    let with_digests = flags.digests || format.contains(".Digest");
    let uncounted = |image: &Value| {
        let mut image = image.clone();
        // The daemon counts containers for `system df` only; what it says here means nothing.
        image.set("Containers", Value::Int(-1));
        image
    };
    let rows: Vec<Row> = images
        .items()
        .iter()
        .flat_map(|image| rows(&uncounted(image), with_digests, !flags.no_trunc))
        .collect();
    let quiet = flags.quiet && (format == "table" || format == "raw");
    show(&listing(flags.digests).render(format, quiet, &rows).map_err(listing_failure)?)
}

/// Docker names the mistake differently here than in `ps`.
fn listing_failure(why: String) -> Failure {
    let why = why
        .strip_prefix("failed to execute template: ")
        .map_or(why.clone(), |rest| format!("template parsing error: {rest}"));
    Failure::new(
        why.strip_prefix("failed to parse template: ")
            .map_or(why.clone(), |rest| format!("template parsing error: {rest}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(image: &str, digests: bool) -> String {
        let image: Value = serde_json::from_str(image).unwrap();
        listing(digests)
            .render("{{.Repository}}:{{.Tag}}@{{.Digest}}", false, &rows(&image, digests, true))
            .unwrap()
    }

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image = format!(
            r#"{{"Id":"sha256:x","RepoTags":["a:1","a:2"],"RepoDigests":["a@{digest}","b@{digest}"]}}"#
        );
        assert_eq!(names(&image, false), "a:1@<none>\na:2@<none>\nb:<none>@\n");
        assert_eq!(names(&image, true), format!("a:1@{digest}\na:2@{digest}\nb:<none>@{digest}\n"));
        assert_eq!(names(r#"{"Id":"x","RepoTags":[],"RepoDigests":null}"#, false), "<none>:<none>@<none>\n");
    }
}
