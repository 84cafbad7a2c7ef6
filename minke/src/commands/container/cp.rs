//! `cp`: between a container and this machine, by way of a tar stream.
//!
//! Where things go follows docker's rules: a destination that is a directory gets the source inside,
//! a destination that is none gets the source under its name, `SOURCE/.` means the contents.

mod local;
mod target;

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::Client;
use crate::client::http::Payload;
use crate::format::value::Value;
use crate::human;
use crate::output::{file, warn};
use crate::stream::terminal;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use target::{Place, place};

/// `cp`
pub(crate) static COMMAND: Command = command!(CpFlags, cp, {
    name: "cp",
    known_as: &["container cp", "cp"],
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files to or from a container",
    long: "With '-' as source, a tar archive is read from stdin and extracted to a\ndirectory of the container. With '-' as destination, a tar archive of the\ncontainer's source is written to stdout.",
    arity: Arity::Exactly(2),
    offer: Offer::Containers,
});

flags! {
    /// Flags of `cp`.
    struct CpFlags {
        archive: bool ["archive" 'a'], "Keep the numbers of users and groups";
        follow: bool ["follow-link" 'L'], "Follow a symbolic link in the source";
        quiet: bool ["quiet" 'q'], "Say nothing of what was copied";
    }
}

/// `container:path`, or a path of this machine.
fn split(argument: &str) -> (Option<&str>, &str) {
    if argument.starts_with('/') {
        return (None, argument);
    }
    match argument.split_once(':') {
        Some((container, path)) if !container.starts_with('.') => (Some(container), path),
        _ => (None, argument),
    }
}

/// Copies `args[0]` to `args[1]`; one of them is `CONTAINER:PATH`.
pub(crate) fn cp(cli: &Cli, flags: CpFlags, args: Vec<String>) -> Outcome {
    let (from, to) = (&args[0], &args[1]);
    if from.is_empty() || to.is_empty() {
        return Err(Failure::new(if from.is_empty() {
            "source can not be empty"
        } else {
            "destination can not be empty"
        }));
    }
    match (split(from), split(to)) {
        ((Some(container), source), (None, destination)) => {
            from_container(cli, &flags, container, source, destination)
        }
        ((None, source), (Some(container), destination)) => {
            to_container(cli, &flags, source, container, destination)
        }
        ((Some(_), _), (Some(_), _)) => Err(Failure::new("copying between containers is not supported")),
        ((None, _), (None, _)) => Err(Failure::new("must specify at least one container source")),
    }
}

/// Mode bits of Go's `os.FileMode`, in which the API tells what a path is.
mod mode {
    pub(super) const DIRECTORY: i64 = 1 << 31;
    pub(super) const SYMLINK: i64 = 1 << 27;
    pub(super) const ODD: i64 = (1 << 26) | (1 << 25) | (1 << 24) | (1 << 21) | (1 << 19);
}

/// What the daemon tells about a path in a container.
struct Stat {
    mode: i64,
    link: String,
}

impl Stat {
    fn of(header: &str) -> Result<Self, Failure> {
        let json = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, header)
            .map_err(|error| Failure::new(format!("unable to decode container path stat header: {error}")))?;
        let stat: Value = serde_json::from_slice(&json)
            .map_err(|error| Failure::new(format!("unable to decode container path stat header: {error}")))?;
        Ok(Self { mode: stat.int("mode"), link: stat.text("linkTarget").to_owned() })
    }

    fn is_directory(&self) -> bool {
        self.mode & mode::DIRECTORY != 0
    }
}

const STAT_HEADER: &str = "x-docker-container-path-stat";

fn stat(client: &Client, container: &str, target: &str) -> Result<Stat, Failure> {
    let answer =
        client.call("HEAD", &path(container, "/archive"), &[("path", target.to_owned())], Payload::None)?;
    Stat::of(answer.head.get(STAT_HEADER).unwrap_or_default())
}

/// A link's target as seen from where the link is.
fn linked(link_path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let (directory, _) = target::split(link_path);
    minke_model::go::clean(&format!("{directory}/{target}"))
}

/// Counts what passes.
struct Counted<R> {
    from: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn said(flags: &CpFlags, count: &AtomicU64, to: &str) {
    if !flags.quiet && terminal::stderr_is_terminal() {
        warn(format!(
            "Successfully copied {} to {to}",
            human::size_with(count.load(Ordering::Relaxed) as f64, 3)
        ));
    }
}

fn from_container(cli: &Cli, flags: &CpFlags, container: &str, source: &str, destination: &str) -> Outcome {
    let client = cli.client()?;
    let local_path = target::absolute(destination)?;
    if destination != "-" {
        file::check_output_path_parent(&local_path)?;
    }
    let (mut source, mut asked_name) = (source.to_owned(), None);
    if flags.follow
        && let Ok(found) = stat(client, container, &source)
        && found.mode & mode::SYMLINK != 0
    {
        asked_name = Some(target::split(&source).1);
        source = linked(&source, &found.link);
    }
    let answer =
        client.call("GET", &path(container, "/archive"), &[("path", source.clone())], Payload::None)?;
    if destination == "-" {
        return file::save(answer.body, "");
    }
    let is_directory = Stat::of(answer.head.get(STAT_HEADER).unwrap_or_default())?.is_directory();
    let (_, source_name) = target::split(&source);
    let place = place(&local_path, is_directory, target::destination(&local_path)?)?;
    let name = match &place {
        Place::Inside(_) => asked_name,
        Place::Named(_, name) => Some(name.clone()),
    };
    let rename = name.map(|name| (source_name, name));
    let count = Arc::new(AtomicU64::new(0));
    local::extract(
        Counted { from: answer.body, count: Arc::clone(&count) },
        place.directory().as_ref(),
        rename,
    )?;
    said(flags, &count, &local_path);
    Ok(())
}

fn to_container(cli: &Cli, flags: &CpFlags, source: &str, container: &str, destination: &str) -> Outcome {
    let client = cli.client()?;
    let mut target_path = destination.to_owned();
    let mut found = stat(client, container, &target_path);
    if let Ok(link) = &found
        && link.mode & mode::SYMLINK != 0
    {
        target_path = linked(&target_path, &link.link);
        found = stat(client, container, &target_path);
    }
    if let Ok(found) = &found
        && found.mode & mode::ODD != 0
    {
        return Err(Failure::new(format!(
            "destination \"{container}:{destination}\" must be a directory or a regular file"
        )));
    }
    let exists = found.as_ref().ok().map(Stat::is_directory);
    let count = Arc::new(AtomicU64::new(0));
    let (directory, content): (String, Box<dyn Read + Send>) = if source == "-" {
        if exists != Some(true) {
            return Err(Failure::new(format!(
                "destination \"{container}:{destination}\" must be a directory"
            )));
        }
        (target_path, Box::new(terminal::stdin()?))
    } else {
        let local = local::Source::find(&target::absolute(source)?, flags.follow)?;
        let place = place(&target_path, local.is_directory, exists)?;
        let name = match &place {
            Place::Inside(_) => local.name.clone(),
            Place::Named(_, name) => name.clone(),
        };
        (place.directory().to_owned(), local.archive(name)?)
    };
    let mut query = vec![("path", directory), ("noOverwriteDirNonDir", "true".to_owned())];
    if flags.archive {
        query.push(("copyUIDGID", "true".into()));
    }
    let content = Box::new(Counted { from: content, count: Arc::clone(&count) });
    client
        .call("PUT", &path(container, "/archive"), &query, Payload::Stream("application/x-tar", content))?
        .drain()?;
    said(flags, &count, &format!("{container}:{destination}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_at_the_colon() {
        assert_eq!(split("c:/a:b"), (Some("c"), "/a:b"));
        assert_eq!(split("/c:/a"), (None, "/c:/a"));
        assert_eq!(split("./c:x"), (None, "./c:x"));
        assert_eq!(split("file"), (None, "file"));
    }

    #[test]
    fn links_lead_from_where_they_are() {
        assert_eq!(linked("/a/b", "c"), "/a/c");
        assert_eq!(linked("/a/b", "../c"), "/c");
        assert_eq!(linked("/a/b", "/c"), "/c");
    }
}
