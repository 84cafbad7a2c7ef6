//! `compose down`: takes containers and networks away; volumes and images where asked.

use super::observe;
use super::session::{Manner, Session, is_set};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use minke_compose::plan::{self, Down, Images};

/// `down`
pub(super) static COMMAND: Command = command!(DownFlags, down, {
    name: "down",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Stop and remove containers and networks",
    arity: Arity::Any,
});

flags! {
    /// Flags of `down`.
    struct DownFlags {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        remove_orphans: Option<bool> ["remove-orphans"], "Remove containers of services that no file has";
        rmi: String ["rmi"], "Remove images: those without a name of their own (\"local\"), or \"all\"";
        timeout: Option<i64> ["timeout" 't'], "Seconds before a container is killed";
        volumes: bool ["volumes" 'v'], "Remove the project's volumes, and anonymous ones";
    }
}

fn down(cli: &Cli, flags: DownFlags, services: Vec<String>) -> Outcome {
    let images = match flags.rmi.as_str() {
        "" => None,
        "all" => Some(Images::All),
        "local" => Some(Images::Local),
        other => {
            return Err(Failure::new(format!("invalid value for --rmi: {}", minke_model::go::quote(other))));
        }
    };
    let session = Session::new(cli, flags.dry_run)?;
    let (project, name) = session.project_or_name(&[])?;
    let mut running = session.observe(&name, None)?;
    let mut outline = session.outline(project.as_ref(), &name, &running);
    if project.is_none() && images.is_some() {
        for container in &running.containers {
            outline.images.insert(container.service().to_owned(), (image_of(&session, container)?, false));
        }
    }
    if images.is_some() {
        // Told with their tags, as docker compose does.
        for (image, _) in outline.images.values_mut() {
            if let Ok(reference) = minke_image::Reference::parse(image) {
                *image = reference.or_latest().familiar();
            }
        }
        let names = outline.images.values().map(|(image, _)| image.clone()).collect();
        running.images = observe::images(session.client()?, names)?;
    }
    let unknown = services.iter().find(|name| !outline.services.contains_key(*name));
    if let (Some(unknown), Some(_)) = (unknown, &project) {
        return Err(Failure::new(format!("no such service: {unknown}")));
    }
    let asked = Down {
        services,
        remove_orphans: flags.remove_orphans.unwrap_or_else(|| is_set("COMPOSE_REMOVE_ORPHANS")),
        volumes: flags.volumes,
        images,
    };
    let plan = plan::down(&name, &outline, &running, &asked);
    let manner = Manner { timeout: flags.timeout, ..Manner::default() };
    session.carry_out("Running", &plan, project.as_ref(), &manner)
}

fn image_of(session: &Session<'_>, container: &minke_compose::running::Container) -> Result<String, Failure> {
    let path = crate::commands::container::path(&container.id, "/json");
    Ok(session.client()?.get(&path, &[])?.text("Config.Image").to_owned())
}
