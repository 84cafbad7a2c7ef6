//! `compose logs`: what the containers of a project wrote.

use super::observe;
use super::session::Session;
use super::tail::{self, Message, Printer, Tail};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::Client;
use crate::options::moment;
use minke_compose::running::Container;
use std::sync::Arc;

/// `logs`
pub(super) static COMMAND: Command = command!(LogsFlags, logs, {
    name: "logs",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Show what containers wrote",
    arity: Arity::Any,
});

flags! {
    /// Flags of `logs`.
    struct LogsFlags {
        follow: bool ["follow" 'f'], "Go on with what is written from now on";
        index: i64 ["index"], "Of the container of that number only";
        no_color: bool ["no-color"], "No colours";
        no_log_prefix: bool ["no-log-prefix"], "No names in front of lines";
        since: String ["since"], "Only from then on (e.g. \"2013-01-02T13:23:37Z\", or \"42m\" for 42 minutes ago)";
        tail: String ["tail" 'n'] = "all", "Number of lines from the end, of each container";
        timestamps: bool ["timestamps" 't'], "Show when each line was written";
        until: String ["until"], "Only before then (e.g. \"2013-01-02T13:23:37Z\", or \"42m\" for 42 minutes ago)";
    }
}

fn logs(cli: &Cli, flags: LogsFlags, mut services: Vec<String>) -> Outcome {
    if flags.index > 0 && services.len() != 1 {
        return Err(Failure::new("--index requires one service to be selected"));
    }
    let session = Session::new(cli, false)?;
    let (project, name) = session.project_or_name(&services)?;
    if let Some(project) = &project
        && services.is_empty()
    {
        services = project.services.keys().cloned().collect();
    }
    let client = Arc::new(Client::new(cli.host()?, cli.config().headers()));
    let mut containers: Vec<Container> = (observe::containers(&client, &name)?.into_iter())
        .filter(|one| {
            !one.is_one_off() && (services.is_empty() || services.iter().any(|name| name == one.service()))
        })
        .filter(|one| flags.index == 0 || i64::from(one.number()) == flags.index)
        .collect();
    if flags.index > 0 && containers.is_empty() {
        return Err(Failure::new(format!(
            "service {} is not running container #{}",
            minke_model::go::quote(&services[0]),
            flags.index
        )));
    }
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let now = jiff::Timestamp::now();
    let mut query = Vec::new();
    for (name, text) in [("since", &flags.since), ("until", &flags.until)] {
        if !text.is_empty() {
            let moment = moment::parse(text, now).map_err(|why| {
                Failure::new(format!("invalid value for {}: {why}", minke_model::go::quote(name)))
            })?;
            query.push((name, moment));
        }
    }
    if flags.timestamps {
        query.push(("timestamps", "1".to_owned()));
    }
    let again: Vec<(&'static str, String)> =
        query.iter().filter(|(name, _)| *name != "since").cloned().collect();
    query.push(("tail", flags.tail.clone()));
    let printer = Arc::new(Printer::new(!flags.no_color, !flags.no_log_prefix, false));
    for container in &containers {
        printer.register(container.short_name());
    }
    if !flags.follow {
        return print(&client, &printer, &containers, &query);
    }
    let events = tail::events(&client, &name)?;
    let mut tail = Tail::new(Arc::clone(&client), printer);
    for container in &containers {
        tail.follow(&container.id, container.short_name(), query.clone());
        tail.expect(&container.id);
    }
    tail::listen(&client, events, services.into_iter().collect(), tail.tell.clone());
    while !tail.is_over() {
        match tail.messages.recv() {
            Ok(Message::Happened(happened)) => tail.happened(&happened, &again),
            Ok(Message::Ended(why)) => return Err(Failure::new(why)),
            Ok(Message::Signal | Message::Done(_)) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// Prints the logs of all, side by side.
fn print(
    client: &Client,
    printer: &Printer,
    containers: &[Container],
    query: &[(&'static str, String)],
) -> Outcome {
    let none = vec![Vec::new(); containers.len()];
    super::execute::run(&none, super::execute::AT_ONCE, |at| {
        let container = &containers[at];
        tail::logs(client, printer, (&container.id, container.short_name()), query)
    })
}
