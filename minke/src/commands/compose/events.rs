//! `compose events`: what happens to a project's containers, as it happens.

use super::session::Session;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::format::value::Value;
use crate::options::moment;
use minke_compose::label;
use serde_json::json;
use std::io::{BufRead, BufReader};

/// `events`
pub(super) static COMMAND: Command = command!(EventsFlags, events, {
    name: "events",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Show what happens to containers, as it happens",
    arity: Arity::Any,
});

flags! {
    /// Flags of `events`.
    struct EventsFlags {
        json: bool ["json"], "Each as a JSON object";
        since: String ["since"], "All events from then on";
        until: String ["until"], "End then";
    }
}

fn events(cli: &Cli, flags: EventsFlags, services: Vec<String>) -> Outcome {
    let session = Session::new(cli, false)?;
    let name = session.name()?;
    let filters = json!({"label": [format!("{}={name}", label::PROJECT)]});
    let mut query = vec![("filters", filters.to_string())];
    let now = jiff::Timestamp::now();
    for (name, text) in [("since", &flags.since), ("until", &flags.until)] {
        if !text.is_empty() {
            query.push((name, moment::parse(text, now)?));
        }
    }
    let answer = session.client()?.call("GET", "/events", &query, Payload::None)?;
    for line in BufReader::new(answer.body).lines() {
        let line = line?;
        let event: Value = serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("unexpected event from the daemon: {error}")))?;
        let attributes = event.at("Actor.Attributes");
        let service = attributes.at_key(label::SERVICE).as_text();
        let meant = services.is_empty() || services.iter().any(|name| name == service);
        if event.text("Type") != "container"
            || attributes.at_key(label::ONE_OFF).as_text() == "True"
            || !meant
        {
            continue;
        }
        show(&told(&event, service, flags.json))?;
    }
    Ok(())
}

fn told(event: &Value, service: &str, as_json: bool) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(event.int("timeNano"))).unwrap_or_default();
    let time = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    let own: std::collections::BTreeMap<&str, &str> = (event.at("Actor.Attributes").entries().iter())
        .filter(|(name, _)| !name.starts_with("com.docker.compose."))
        .map(|(name, value)| (name.as_str(), value.as_text()))
        .collect();
    if as_json {
        let event = json!({
            "action": event.text("Action"), "attributes": own, "id": event.text("Actor.ID"), "service": service,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S.%f%:z").to_string(), "type": "container",
        });
        return format!("{event}\n");
    }
    let own: Vec<String> = own.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let time = time.strftime("%Y-%m-%d %H:%M:%S.%6f");
    format!("{time} container {} {} ({})\n\n", event.text("Action"), event.text("Actor.ID"), own.join(", "))
}
