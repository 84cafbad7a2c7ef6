//! `container ls`, also `ps`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;
use crate::output::warn;
use minke_image::Reference;

/// `container ls`
pub(crate) static COMMAND: Command = command!(LsFlags, ls, {
    name: "ls",
    aliases: &["list", "ps"],
    known_as: &["container ls", "container list", "container ps", "ps"],
    usage: "[OPTIONS]",
    about: "List containers",
    arity: Arity::None,
});

flags! {
    /// Flags of `ps`.
    struct LsFlags {
        all: bool ["all" 'a'], "Show all containers, not just those that run";
        filter: Filters ["filter" 'f'], "Only what matches";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        last: i64 ["last" 'n'] = "-1", "Show so many containers that were created last";
        latest: bool ["latest" 'l'], "Show the container that was created last";
        no_trunc: bool ["no-trunc"], "Do not cut what is long";
        quiet: bool ["quiet" 'q'], "Show IDs only";
        size: bool ["size" 's'], "Show sizes";
    }
}

const HEADS: &[(&str, &str)] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

/// Containers as a listing, with or without sizes.
fn listing(size: bool) -> Listing {
    Listing {
        type_name: "*formatter.ContainerContext",
        heads: HEADS,
        table: if size {
            "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}\\t{{.Size}}"
        } else {
            "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}"
        },
        quiet: "{{.ID}}",
        raw: if size {
            "container_id: {{.ID}}\\nimage: {{.Image}}\\ncommand: {{.Command}}\\ncreated_at: {{.CreatedAt}}\\nstate: {{.State}}\\nstatus: {{.Status}}\\nnames: {{.Names}}\\nlabels: {{.Labels}}\\nports: {{.Ports}}\\nsize: {{.Size}}\\n"
        } else {
            "container_id: {{.ID}}\\nimage: {{.Image}}\\ncommand: {{.Command}}\\ncreated_at: {{.CreatedAt}}\\nstate: {{.State}}\\nstatus: {{.Status}}\\nnames: {{.Names}}\\nlabels: {{.Labels}}\\nports: {{.Ports}}\\n"
        },
    }
}

/// A container of the daemon's list as a row.
pub(crate) fn row(container: &Value, trunc: bool) -> Row {
    let id = container.text("Id");
    let labels = labels(container.at("Labels"));
    let command = container.text("Command");
    let mounts = container.list("Mounts");
    let mount_names: Vec<String> = mounts
        .iter()
        .map(|mount| if mount.text("Name").is_empty() { mount.text("Source") } else { mount.text("Name") })
        .map(|name| if trunc { human::ellipsis(name, 15) } else { name.to_owned() })
        .collect();
    let networks: Vec<&str> =
        container.at("NetworkSettings.Networks").entries().iter().map(|(name, _)| name.as_str()).collect();
    let shown_names: Vec<&str> = container
        .texts("Names")
        .into_iter()
        .map(|name| name.strip_prefix('/').unwrap_or(name))
        .filter(|name| !trunc || !name.contains('/'))
        .collect();
    let mut row = Row::new([
        (
            "Command",
            minke_model::go::quote(&if trunc { human::ellipsis(command, 20) } else { command.to_owned() })
                .into(),
        ),
        ("CreatedAt", human::local_time(container.int("Created")).into()),
        ("ID", if trunc { human::short_id(id) } else { id }.into()),
        ("Image", image(container, trunc).into()),
        ("Labels", joined(&labels).into()),
        (
            "LocalVolumes",
            mounts.iter().filter(|mount| mount.text("Driver") == "local").count().to_string().into(),
        ),
        ("Mounts", mount_names.join(",").into()),
        ("Names", shown_names.join(",").into()),
        ("Networks", networks.join(",").into()),
        ("Platform", container.at("ImageManifestDescriptor.platform").clone()),
        ("Ports", ports(container.list("Ports")).into()),
        ("RunningFor", human::ago(container.int("Created")).into()),
        ("Size", size(container.int("SizeRw"), container.int("SizeRootFs")).into()),
        ("State", container.text("State").into()),
        ("Status", container.text("Status").into()),
    ]);
    row.labels = labels;
    row
}

/// Labels by name.
pub(crate) fn labels(labels: &Value) -> Vec<(String, String)> {
    let mut pairs: Vec<_> =
        labels.entries().iter().map(|(name, value)| (name.clone(), value.as_text().to_owned())).collect();
    pairs.sort();
    pairs
}

/// `a=b,c=d`
pub(crate) fn joined(labels: &[(String, String)]) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn image(container: &Value, trunc: bool) -> String {
    let image = container.text("Image");
    if image.is_empty() {
        return "<no image>".into();
    }
    if !trunc {
        return image.to_owned();
    }
    let short = human::short_id(container.text("ImageID"));
    if short == human::short_id(image) {
        return short.to_owned();
    }
    match Reference::parse(image) {
        Ok(reference) => match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.familiar_name()),
            None => reference.familiar_name(),
        },
        Err(_) => image.to_owned(),
    }
}

/// `12B (virtual 2.06MB)`
pub(crate) fn size(writable: i64, all: i64) -> String {
    let own = human::size_with(writable as f64, 3);
    if all > 0 { format!("{own} (virtual {})", human::size_with(all as f64, 3)) } else { own }
}

/// Ports as docker shows them: neighbours joined to ranges, those published under another number last.
pub(crate) fn ports(list: &[Value]) -> String {
    let mut ports: Vec<(u64, &str, u64, &str)> = list
        .iter()
        .map(|port| {
            (
                port.int("PrivatePort") as u64,
                port.text("IP"),
                port.int("PublicPort") as u64,
                port.text("Type"),
            )
        })
        .collect();
    ports.sort();
    let host = |ip: &str, port: String| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    let mut groups: Vec<((&str, &str), u64, u64)> = Vec::new();
    let mut shown = Vec::new();
    let mut moved = Vec::new();
    let form = |((ip, kind), first, last): ((&str, &str), u64, u64)| {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if ip.is_empty() {
            format!("{range}/{kind}")
        } else {
            format!("{}->{range}/{kind}", host(ip, range.clone()))
        }
    };
    for (private, ip, public, kind) in ports {
        if !ip.is_empty() && public != private {
            moved.push(format!("{}->{private}/{kind}", host(ip, public.to_string())));
            continue;
        }
        match groups.iter_mut().find(|(key, ..)| *key == (ip, kind)) {
            None => groups.push(((ip, kind), private, private)),
            Some((_, _, last)) if *last + 1 == private => *last = private,
            Some(group) => {
                shown.push(form(*group));
                (group.1, group.2) = (private, private);
            }
        }
    }
    shown.extend(groups.into_iter().map(form));
    shown.extend(moved);
    shown.join(", ")
}

fn ls(cli: &Cli, flags: LsFlags, _: Vec<String>) -> Outcome {
    let configured = cli.config().text("psFormat");
    let mut format = flags.format.clone();
    if format.is_empty() {
        format = if configured.is_empty() || flags.quiet { "table".into() } else { configured.to_owned() };
    } else if flags.quiet {
        warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
        format = "table".into();
    }
    // A template that shows sizes needs them; a listing without does not pay for them.
    let wants_size = flags.size
        || (format != "json"
            && (format.contains(".Size") || format.contains("json .}}") || format.contains("json . ")));
    let mut query = Vec::new();
    let last = if flags.latest && flags.last == -1 { 1 } else { flags.last };
    if flags.all {
        query.push(("all", "1".to_owned()));
    }
    if last > 0 {
        query.push(("limit", last.to_string()));
    }
    if wants_size {
        query.push(("size", "1".into()));
    }
    if let Some(filters) = flags.filter.to_query() {
        query.push(("filters", filters));
    }
    let containers = cli.client()?.get("/containers/json", &query)?;
    let rows: Vec<Row> = containers.items().iter().map(|container| row(container, !flags.no_trunc)).collect();
    show(&listing(flags.size).render(&format, flags.quiet, &rows).map_err(Failure::new)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private: i64, public: i64, kind: &str) -> Value {
        serde_json::from_value(
            serde_json::json!({"IP": ip, "PrivatePort": private, "PublicPort": public, "Type": kind}),
        )
        .unwrap()
    }

    #[test]
    fn ports_are_joined_to_ranges() {
        assert_eq!(
            ports(&[port("", 81, 0, "tcp"), port("", 80, 0, "tcp"), port("", 90, 0, "tcp")]),
            "80-81/tcp, 90/tcp"
        );
        assert_eq!(
            ports(&[
                port("0.0.0.0", 80, 8080, "tcp"),
                port("::", 80, 8080, "tcp"),
                port("127.0.0.1", 81, 81, "udp")
            ]),
            "127.0.0.1:81->81/udp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        assert_eq!(
            ports(&[port("0.0.0.0", 80, 80, "tcp"), port("0.0.0.0", 81, 81, "tcp")]),
            "0.0.0.0:80-81->80-81/tcp"
        );
    }

    #[test]
    fn images_lose_their_digest() {
        let container = |image: &str| {
            serde_json::from_value(serde_json::json!({"Image": image, "ImageID": "sha256:aaaaaaaaaaaabbbb"}))
                .unwrap()
        };
        let digest = "a".repeat(64);
        assert_eq!(image(&container("nginx"), true), "nginx");
        assert_eq!(image(&container(&format!("nginx:1@sha256:{digest}")), true), "nginx:1");
        assert_eq!(image(&container("sha256:aaaaaaaaaaaabbbb"), true), "aaaaaaaaaaaa");
    }
}
