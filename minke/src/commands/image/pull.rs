//! `image pull`, also `pull`; `run` and `create` pull by it too.

use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::Client;
use crate::client::config_file::ConfigFile;
use crate::client::http::{Body, Payload};
use crate::output::progress;
use crate::stream::terminal;
use minke_image::Reference;

/// `pull`
pub(crate) static COMMAND: Command = command!(PullFlags, pull_command, {
    name: "pull",
    known_as: &["image pull", "pull"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Fetch an image from a registry",
    arity: Arity::Exactly(1),
    offer: Offer::Images,
});

flags! {
    /// Flags of `pull`.
    struct PullFlags {
        all_tags: bool ["all-tags" 'a'], "Download all tags of the repository";
        content_trust_off: bool ["disable-content-trust"] = "true", "Do not verify signatures of images";
        platform: String ["platform"], "Platform of the image (os[/arch[/variant]])";
        quiet: bool ["quiet" 'q'], "Show no progress";
    }
}

/// Begins a pull; the body is its progress.
fn begin(
    client: &Client,
    config: &ConfigFile,
    reference: &Reference,
    platform: &str,
    all_tags: bool,
) -> Result<Body, Failure> {
    let mut query = vec![("fromImage", reference.name())];
    if !all_tags {
        let version = reference
            .digest()
            .map(|digest| digest.to_string())
            .or_else(|| reference.tag().map(str::to_owned));
        query.push(("tag", version.unwrap_or_default()));
    }
    if !platform.is_empty() {
        query.push(("platform", platform.to_lowercase()));
    }
    let auth = config.registry_auth(reference.domain()).map_err(Failure::new)?;
    let headers = [("X-Registry-Auth".to_owned(), auth)];
    Ok(client.call_with("POST", "/images/create", &query, Payload::None, &headers)?.body)
}

/// Pulls an image and says nothing.
pub(crate) fn quietly(client: &Client, config: &ConfigFile, image: &str, platform: &str) -> Outcome {
    let reference = Reference::parse(image).map_err(|error| Failure::new(error.to_string()))?.or_latest();
    let body = begin(client, config, &reference, platform, false)?;
    progress::show(body, &mut std::io::sink(), false, |_| {})
}

/// Pulls an image that a container needs. Progress goes to stderr: stdout is the container's.
pub(crate) fn pull(cli: &Cli, reference: &Reference, platform: &str, quiet: bool) -> Outcome {
    let body = begin(cli.client()?, cli.config(), reference, platform, false)?;
    if quiet {
        return progress::show(body, &mut std::io::sink(), false, |_| {});
    }
    progress::show(body, &mut terminal::stderr()?, terminal::stderr_is_terminal(), |_| {})
}

fn pull_command(cli: &Cli, flags: PullFlags, args: Vec<String>) -> Outcome {
    if !flags.content_trust_off {
        return Err(Failure::new(
            "--disable-content-trust=false: signatures of Docker Content Trust are not supported, since its service is retired",
        ));
    }
    let reference = Reference::parse(&args[0]).map_err(|error| Failure::new(error.to_string()))?;
    if flags.all_tags && !reference.is_name_only() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let bare = reference.is_name_only() && !flags.all_tags;
    let reference = if flags.all_tags { reference } else { reference.or_latest() };
    if bare && !flags.quiet {
        show("Using default tag: latest\n")?;
    }
    let body = begin(cli.client()?, cli.config(), &reference, &flags.platform, flags.all_tags)?;
    if flags.quiet {
        progress::show(body, &mut std::io::sink(), false, |_| {})?;
    } else {
        progress::show(body, &mut terminal::stdout()?, terminal::stdout_is_terminal(), |_| {})?;
    }
    show(&format!("{}\n", reference.full()))
}
