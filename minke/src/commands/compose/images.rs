//! `compose images`: the images that a project's containers were made of.

use super::observe;
use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::commands::segment;
use crate::format::tabs;
use crate::human;
use minke_image::Reference;
use serde_json::json;

/// `images`
pub(super) static COMMAND: Command = command!(ImagesFlags, images, {
    name: "images",
    usage: "[OPTIONS] [SERVICE...]",
    about: "List the images of containers",
    arity: Arity::Any,
});

flags! {
    /// Flags of `images`.
    struct ImagesFlags {
        format: String ["format"] = "table", "\"table\" or \"json\"";
        quiet: bool ["quiet" 'q'], "Show IDs only";
    }
}

fn images(cli: &Cli, flags: ImagesFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    let client = session.client()?;
    let listed = observe::list(client, &name, true)?;
    let mut rows = Vec::new();
    for one in listed.items() {
        let container = observe::container(one);
        if !services.is_empty() && !services.iter().any(|name| name == container.service()) {
            continue;
        }
        let image = client.get(&format!("/images/{}/json", segment(one.text("Image"))), &[])?;
        let reference = Reference::parse(one.text("Image")).ok();
        let repository = reference.as_ref().map(Reference::familiar_name).unwrap_or_default();
        let tag = reference
            .map(Reference::or_latest)
            .and_then(|named| named.tag().map(str::to_owned))
            .unwrap_or_default();
        rows.push((container.name, repository, tag, image));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    if flags.quiet {
        let mut ids: Vec<&str> = Vec::new();
        for (.., image) in &rows {
            let id = image.text("Id");
            let id = id.split_once(':').map_or(id, |(_, id)| id);
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        return show(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let platform = |image: &crate::format::value::Value| {
        let parts = [image.text("Os"), image.text("Architecture"), image.text("Variant")];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    };
    match flags.format.as_str() {
        "json" => {
            let list: Vec<serde_json::Value> = (rows.iter())
                .map(|(container, repository, tag, image)| {
                    json!({
                        "ID": image.text("Id"), "ContainerName": container, "Repository": repository, "Tag": tag,
                        "Platform": platform(image), "Size": image.int("Size"),
                        "LastTagTime": image.text("Metadata.LastTagTime"),
                    })
                })
                .collect();
            show(&format!("{}\n", serde_json::Value::from(list)))
        }
        "table" | "" => {
            let mut text = String::from("CONTAINER\tREPOSITORY\tTAG\tPLATFORM\tIMAGE ID\tSIZE\tCREATED\n");
            let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
            for (container, repository, tag, image) in &rows {
                let size = human::size_with(image.int("Size") as f64, 3);
                let tagged = human::unix_seconds(image.text("Metadata.LastTagTime")).unwrap_or(0);
                text.push_str(&format!(
                    "{container}\t{}\t{}\t{}\t{}\t{size}\t{}\n",
                    or_none(repository),
                    or_none(tag),
                    platform(image),
                    human::short_id(image.text("Id")),
                    human::ago(tagged)
                ));
            }
            show(&tabs::align(&text, 20, 1))
        }
        other => {
            Err(Failure::new(format!("format value {} could not be parsed", minke_model::go::quote(other))))
        }
    }
}
