//! `image push`, also `push`.

use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::Client;
use crate::client::config_file::ConfigFile;
use crate::client::http::{Body, Payload};
use crate::commands::segment;
use crate::output::progress;
use crate::stream::terminal;
use minke_image::Reference;

/// `push`
pub(crate) static COMMAND: Command = command!(PushFlags, push, {
    name: "push",
    known_as: &["image push", "push"],
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Send an image to a registry",
    arity: Arity::Exactly(1),
    offer: Offer::Images,
});

flags! {
    /// Flags of `push`.
    struct PushFlags {
        all_tags: bool ["all-tags" 'a'], "Send all tags of the repository";
        content_trust_off: bool ["disable-content-trust"] = "true", "Do not sign images";
        quiet: bool ["quiet" 'q'], "Show no progress";
    }
}

/// Begins a push; the body is its progress.
fn begin(client: &Client, config: &ConfigFile, reference: &Reference) -> Result<Body, Failure> {
    let auth = config.registry_auth(reference.domain()).map_err(Failure::new)?;
    let path = format!("/images/{}/push", segment(&reference.familiar_name()));
    let query = [("tag", reference.tag().unwrap_or_default().to_owned())];
    let headers = [("X-Registry-Auth".to_owned(), auth)];
    Ok(client.call_with("POST", &path, &query, Payload::None, &headers)?.body)
}

/// Pushes an image and says nothing.
pub(crate) fn quietly(client: &Client, config: &ConfigFile, image: &str) -> Outcome {
    let reference = Reference::parse(image).map_err(|error| Failure::new(error.to_string()))?.or_latest();
    progress::show(begin(client, config, &reference)?, &mut std::io::sink(), false, |_| {})
}

fn push(cli: &Cli, flags: PushFlags, args: Vec<String>) -> Outcome {
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
    let body = begin(cli.client()?, cli.config(), &reference)?;
    if flags.quiet {
        progress::show(body, &mut std::io::sink(), false, |_| {})?;
        return show(&format!("{}\n", reference.full()));
    }
    progress::show(body, &mut terminal::stdout()?, terminal::stdout_is_terminal(), |_| {})
}
