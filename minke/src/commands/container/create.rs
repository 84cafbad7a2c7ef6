//! `create`: makes a container, pulling its image when it is missing. `run` begins with it.

use super::Cli;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::{Failure, Outcome, show};
use crate::client::http::Payload;
use crate::commands::image::pull;
use crate::format::value::Value;
use crate::options::container::Request;
use crate::options::flags::ContainerFlags;
use crate::output::warn;
use minke_image::Reference;
use std::io::Write;

/// `create`
pub(crate) static COMMAND: Command = command!(ContainerFlags, create_only, {
    name: "create",
    known_as: &["container create", "create"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Make a container without starting it",
    arity: Arity::AtLeast(1),
    interspersed: false,
    offer: Offer::Images,
});

fn create_only(cli: &Cli, flags: ContainerFlags, args: Vec<String>) -> Outcome {
    crate::options::container::refuse_foreign(&flags)?;
    let wish = Wish::of(&flags).map_err(|why| cli.with_help(125, why))?;
    let proxies = cli.config().proxies(&cli.host()?.to_string());
    let request =
        crate::options::container::request(flags, &args, proxies).map_err(|why| cli.with_help(125, why))?;
    let id = create(cli, &wish, &request)?;
    show(&format!("{id}\n"))
}

/// What of the flags is not in the request's body.
pub(crate) struct Wish {
    name: String,
    platform: String,
    pull: String,
    quiet: bool,
    cidfile: String,
}

impl Wish {
    /// Picks it out of the flags.
    pub(crate) fn of(flags: &ContainerFlags) -> Result<Self, String> {
        if !matches!(flags.pull.as_str(), "always" | "missing" | "never") {
            return Err(format!(
                "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
                flags.pull
            ));
        }
        if !flags.platform.is_empty() {
            minke_image::platform::parse(&flags.platform)
                .map_err(|error| format!("error parsing specified platform: {error}"))?;
        }
        Ok(Self {
            name: flags.name.clone(),
            platform: flags.platform.clone(),
            pull: flags.pull.clone(),
            quiet: flags.quiet,
            cidfile: flags.cidfile.clone(),
        })
    }
}

/// The file that gets the container's id; it goes again when there is none.
struct CidFile {
    path: String,
    written: bool,
}

impl CidFile {
    fn new(path: &str) -> Result<Option<Self>, Failure> {
        if path.is_empty() {
            return Ok(None);
        }
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        match made {
            Ok(_) => Ok(Some(Self { path: path.to_owned(), written: false })),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ))),
            Err(error) => Err(Failure::new(format!(
                "failed to create the container ID file: open {path}: {}",
                crate::commands::go_error(&error)
            ))),
        }
    }

    fn write(&mut self, id: &str) -> Outcome {
        let mut file = std::fs::OpenOptions::new().write(true).open(&self.path)?;
        file.write_all(id.as_bytes())?;
        self.written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Creates the container; its id. Failures are docker's, code 125.
pub(crate) fn create(cli: &Cli, wish: &Wish, request: &Request) -> Result<String, Failure> {
    let failed = |why: String| cli.with_help(125, why);
    let host = &request.body["HostConfig"];
    if let Some(address) = host["Dns"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|dns| dns.as_str())
        .find(|dns| dns.starts_with("127.") || *dns == "::1")
    {
        warn(format!("WARNING: Localhost DNS ({address}) may fail in containers."));
    }
    let mut cidfile = CidFile::new(&wish.cidfile).map_err(|failure| failed(failure.text))?;
    let reference = reference(&request.image).map_err(failed)?;
    if wish.pull == "always"
        && let Some(reference) = &reference
    {
        pull::pull(cli, reference, &wish.platform, wish.quiet).map_err(|failure| failed(failure.text))?;
    }
    let answer = match send(cli, wish, request) {
        Err(error) if error.is_not_found() && wish.pull == "missing" && reference.is_some() => {
            let Some(reference) = &reference else { return Err(failed(error.to_string())) };
            if !wish.quiet {
                warn(format!("Unable to find image '{}' locally", reference.familiar()));
            }
            pull::pull(cli, reference, &wish.platform, wish.quiet).map_err(|failure| failed(failure.text))?;
            send(cli, wish, request)
        }
        other => other,
    };
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    for warning in answer.texts("Warnings") {
        warn(format!("WARNING: {warning}"));
    }
    let id = answer.text("Id").to_owned();
    if let Some(file) = &mut cidfile {
        file.write(&id).map_err(|failure| failed(failure.text))?;
    }
    Ok(id)
}

/// The image's name with its tag; `None` when it is an id.
fn reference(image: &str) -> Result<Option<Reference>, String> {
    let bare = image.strip_prefix("sha256:").unwrap_or(image);
    if bare.len() == 64 && bare.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(None);
    }
    Reference::parse(image).map(|reference| Some(reference.or_latest())).map_err(|error| error.to_string())
}

fn send(cli: &Cli, wish: &Wish, request: &Request) -> Result<Value, crate::client::ClientError> {
    let mut query = Vec::new();
    if !wish.name.is_empty() {
        query.push(("name", wish.name.clone()));
    }
    if !wish.platform.is_empty() {
        query.push(("platform", wish.platform.clone()));
    }
    let client = cli.client().map_err(|failure| crate::client::ClientError::Connect(failure.text))?;
    client.call("POST", "/containers/create", &query, Payload::json(&request.body))?.json()
}
