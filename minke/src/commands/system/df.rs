//! `system df`: what takes how much room on the disk.

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::commands::{container, image, volume};
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;

/// `system df`
pub(crate) static COMMAND: Command = command!(DfFlags, df, {
    name: "df",
    usage: "[OPTIONS]",
    about: "Show disk usage",
    arity: Arity::None,
});

flags! {
    /// Flags of `system df`.
    struct DfFlags {
        explain: bool ["explain"], "Show what goes when the disk fills, in which order, and what stays and why";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        verbose: bool ["verbose" 'v'], "Show each thing by itself";
    }
}

const LISTING: Listing = Listing {
    type_name: "*formatter.diskUsageImagesContext",
    heads: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
    table: "table {{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}",
    quiet: "",
    raw: "",
};

/// Sums over one kind of thing.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
}

impl Sums {
    fn row(&self, name: &str) -> Row {
        let share =
            if self.size > 0 { Some(self.reclaimable as f64 * 100.0 / self.size as f64) } else { None };
        let reclaimable = human::size(self.reclaimable as f64);
        let reclaimable = match share {
            Some(share) => format!("{reclaimable} ({}%)", share as i64),
            None => reclaimable,
        };
        Row::new([
            ("Active", self.active.to_string().into()),
            ("Reclaimable", reclaimable.into()),
            ("Size", human::size(self.size as f64).into()),
            ("TotalCount", self.total.to_string().into()),
            ("Type", name.into()),
        ])
    }
}

fn images(usage: &Value) -> Sums {
    let images = usage.list("Images");
    let layers = usage.int("LayersSize");
    let active = images.iter().filter(|image| image.int("Containers") > 0);
    let used: i64 = active
        .clone()
        .filter(|image| image.int("Size") != -1 && image.int("SharedSize") != -1)
        .map(|image| image.int("Size") - image.int("SharedSize"))
        .sum();
    Sums { total: images.len(), active: active.count(), size: layers, reclaimable: layers - used }
}

fn containers(usage: &Value) -> Sums {
    let containers = usage.list("Containers");
    let is_active =
        |container: &&Value| matches!(container.text("State"), "running" | "paused" | "restarting");
    Sums {
        total: containers.len(),
        active: containers.iter().filter(is_active).count(),
        size: containers.iter().map(|container| container.int("SizeRw")).sum(),
        reclaimable: containers
            .iter()
            .filter(|container| !is_active(container))
            .map(|container| container.int("SizeRw"))
            .sum(),
    }
}

fn volumes(usage: &Value) -> Sums {
    let volumes = usage.list("Volumes");
    let size = |volume: &&Value| volume.int("UsageData.Size").max(0);
    Sums {
        total: volumes.len(),
        active: volumes.iter().filter(|volume| volume.int("UsageData.RefCount") > 0).count(),
        size: volumes.iter().map(|volume| size(&volume)).sum(),
        reclaimable: volumes
            .iter()
            .filter(|volume| volume.int("UsageData.RefCount") == 0)
            .map(|volume| size(&volume))
            .sum(),
    }
}

fn cache(usage: &Value) -> Sums {
    let records = usage.list("BuildCache");
    let own = || records.iter().filter(|record| !record.bool("Shared"));
    Sums {
        total: records.len(),
        active: records.iter().filter(|record| record.bool("InUse")).count(),
        size: own().map(|record| record.int("Size")).sum(),
        reclaimable: own().filter(|record| !record.bool("InUse")).map(|record| record.int("Size")).sum(),
    }
}

fn df(cli: &Cli, flags: DfFlags, _: Vec<String>) -> Outcome {
    if flags.explain {
        let space = cli.client()?.get("/system/space", &[])?;
        return show(&explain(&space, &flags.format)?);
    }
    let usage = cli.client()?.get("/system/df", &[])?;
    if flags.verbose {
        return show(&verbose(&usage, &flags.format)?);
    }
    let rows = [
        images(&usage).row("Images"),
        containers(&usage).row("Containers"),
        volumes(&usage).row("Local Volumes"),
        cache(&usage).row("Build Cache"),
    ];
    show(&LISTING.render(&flags.format, false, &rows).map_err(|why| {
        Failure::new(why.replacen("failed to execute template", "template parsing error", 1))
    })?)
}

const THINGS: Listing = Listing {
    type_name: "*formatter.spaceContext",
    heads: &[
        ("Order", "ORDER"),
        ("Type", "TYPE"),
        ("Name", "NAME"),
        ("ID", "ID"),
        ("Size", "SIZE"),
        ("LastUsed", "LAST USED"),
        ("Verdict", "VERDICT"),
    ],
    table: "table {{.Order}}\\t{{.Type}}\\t{{.Name}}\\t{{.Size}}\\t{{.LastUsed}}\\t{{.Verdict}}",
    quiet: "",
    raw: "",
};

/// What would go, in which order, and what stays and why.
fn explain(space: &Value, format: &str) -> Result<String, Failure> {
    let mut order = 0;
    let rows: Vec<Row> = space
        .list("Things")
        .iter()
        .map(|thing| {
            let verdict = match thing.text("Verdict") {
                "goes" => "goes now".to_owned(),
                "next" => "goes when the disk is full".to_owned(),
                _ => format!("stays: {}", thing.text("Why")),
            };
            let stays = thing.text("Verdict") == "stays";
            order += i32::from(!stays);
            let used = human::unix_seconds(thing.text("LastUsed")).map(human::ago).unwrap_or_default();
            Row::new([
                ("ID", human::short_id(thing.text("ID")).into()),
                ("LastUsed", used.into()),
                ("Name", thing.text("Name").into()),
                ("Order", if stays { "-".to_owned() } else { order.to_string() }.into()),
                ("Size", human::size(thing.int("Size") as f64).into()),
                ("Type", thing.text("Type").into()),
                ("Verdict", verdict.into()),
            ])
        })
        .collect();
    let table = THINGS.render(format, false, &rows).map_err(Failure::new)?;
    if !format.is_empty() && format != "table" {
        return Ok(table);
    }
    let size = |name: &str| human::size(space.int(name) as f64);
    let marks = match space.int("High") {
        0 => "Nothing goes by itself (disk-high is 0).".to_owned(),
        high => format!(
            "From {high} % on (disk-high), unused things go until {} % (disk-low); what was used within {} (disk-keep) stays.",
            space.int("Low"),
            human::duration(space.int("KeepSeconds") as f64).to_lowercase()
        ),
    };
    let wanted = match space.int("Wanted") {
        0 => String::new(),
        _ => format!(" {} are to be had back.", size("Wanted")),
    };
    Ok(format!(
        "The disk is {} % full: {} of {} are free.{wanted}\n{marks}\nOrder: build cache, unnamed images, images, logs of containers that ended; the longest unused first.\n\n{table}",
        space.int("Used"),
        size("Free"),
        size("Total")
    ))
}

const IMAGES: Listing = Listing {
    type_name: "*formatter.imageContext",
    heads: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    table: "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}\\t{{.SharedSize}}\\t{{.UniqueSize}}\\t{{.Containers}}",
    quiet: "",
    raw: "",
};

const CONTAINERS: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    heads: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    table: "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.LocalVolumes}}\\t{{.Size}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Names}}",
    quiet: "",
    raw: "",
};

const VOLUMES: Listing = Listing {
    heads: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    table: "table {{.Name}}\\t{{.Links}}\\t{{.Size}}",
    ..volume::ls::LISTING
};

const CACHE: Listing = Listing {
    type_name: "*formatter.buildCacheContext",
    heads: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
    table: "table {{.ID}}\\t{{.CacheType}}\\t{{.Size}}\\t{{.CreatedSince}}\\t{{.LastUsedSince}}\\t{{.UsageCount}}\\t{{.Shared}}",
    quiet: "",
    raw: "",
};

/// Each thing by itself, in four tables or as one JSON object.
fn verbose(usage: &Value, format: &str) -> Result<String, Failure> {
    let shared_or_none = |image: &Value| {
        let names: Vec<&str> = image.texts("RepoTags");
        let reference = names.first().and_then(|name| minke_image::Reference::parse(name).ok());
        let (repository, tag) = reference.map_or(("<none>".to_owned(), "<none>".to_owned()), |reference| {
            (reference.familiar_name(), reference.tag().unwrap_or("<none>").to_owned())
        });
        image::ls::row(image, &repository, &tag, "", format.is_empty() || format == "table")
    };
    let short = format.is_empty() || format == "table";
    let images: Vec<Row> = usage.list("Images").iter().map(shared_or_none).collect();
    let containers: Vec<Row> = usage
        .list("Containers")
        .iter()
        .map(|entry| {
            let mut entry = entry.clone();
            // Docker leaves what is below the container's own layer away here.
            entry.set("SizeRootFs", Value::Int(0));
            container::ls::row(&entry, short)
        })
        .collect();
    let volumes: Vec<Row> = usage.list("Volumes").iter().map(volume::ls::row).collect();
    let records: Vec<Row> = usage.list("BuildCache").iter().map(record).collect();
    if short {
        let render =
            |listing: &Listing, rows: &[Row]| listing.render("table", false, rows).map_err(Failure::new);
        return Ok(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
            render(&IMAGES, &images)?,
            render(&CONTAINERS, &containers)?,
            render(&VOLUMES, &volumes)?,
            human::size(cache(usage).size as f64),
            render(&CACHE, &records)?
        ));
    }
    let root = Value::Struct(vec![
        ("Images".into(), Value::List(images.iter().map(Row::value).collect())),
        ("Containers".into(), Value::List(containers.iter().map(Row::value).collect())),
        ("Volumes".into(), Value::List(volumes.iter().map(Row::value).collect())),
        ("BuildCache".into(), Value::List(records.iter().map(Row::value).collect())),
    ]);
    if format == "json" {
        return Ok(root.to_json(true) + "\n");
    }
    let template = crate::format::Template::parse(format)
        .map_err(|why| Failure::new(format!("failed to parse template: {why}")))?;
    Ok(template
        .render_value(&root)
        .map_err(|why| Failure::new(format!("failed to execute template: {why}")))?
        + "\n")
}

/// A record of the build cache.
fn record(record: &Value) -> Row {
    let since = |name: &str| human::unix_seconds(record.text(name)).map(human::ago).unwrap_or_default();
    Row::new([
        ("CacheType", record.text("Type").into()),
        ("CreatedSince", since("CreatedAt").into()),
        ("ID", human::short_id(record.text("ID")).into()),
        ("LastUsedSince", since("LastUsedAt").into()),
        ("Shared", record.bool("Shared").to_string().into()),
        ("Size", human::size_with(record.int("Size") as f64, 3).into()),
        ("UsageCount", record.int("UsageCount").to_string().into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unused_can_be_had_back() {
        let usage: Value = serde_json::from_str(
            r#"{"LayersSize":100,"Images":[{"Containers":1,"Size":40,"SharedSize":10},{"Containers":0,"Size":70,"SharedSize":10}],
            "Containers":[{"State":"running","SizeRw":5},{"State":"exited","SizeRw":15}],
            "Volumes":[{"UsageData":{"RefCount":0,"Size":7}},{"UsageData":{"RefCount":1,"Size":-1}}],"BuildCache":[]}"#,
        )
        .unwrap();
        assert_eq!(images(&usage), Sums { total: 2, active: 1, size: 100, reclaimable: 70 });
        assert_eq!(containers(&usage), Sums { total: 2, active: 1, size: 20, reclaimable: 15 });
        assert_eq!(
            LISTING
                .render(
                    "{{.Reclaimable}}",
                    false,
                    &[images(&usage).row("x"), containers(&usage).row("x"), volumes(&usage).row("x")]
                )
                .unwrap(),
            "70B (70%)\n15B (75%)\n7B (100%)\n"
        );
    }
}
