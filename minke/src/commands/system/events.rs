//! `system events`, also `events`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Filters, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::format::value::Value;
use crate::format::{Data, Template};
use crate::options::moment;
use std::io::{BufRead, BufReader};

/// `events`
pub(crate) static COMMAND: Command = command!(EventsFlags, events, {
    name: "events",
    known_as: &["system events", "events"],
    usage: "[OPTIONS]",
    about: "Show what happens in the daemon, as it happens",
    arity: Arity::None,
});

flags! {
    /// Flags of `events`.
    struct EventsFlags {
        filter: Filters ["filter" 'f'], "Only what matches";
        format: String ["format"], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
        since: String ["since"], "All events from then on";
        until: String ["until"], "End then";
    }
}

/// An event as a line of text.
fn line(event: &Value) -> String {
    let nanos = event.int("timeNano");
    let time = if nanos != 0 {
        jiff::Timestamp::from_nanosecond(i128::from(nanos))
    } else {
        jiff::Timestamp::from_second(event.int("time"))
    };
    let time = time
        .unwrap_or_default()
        .to_zoned_datetime(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%dT%H:%M:%S.%9f%:z")
        .to_string();
    let time = time.strip_suffix("+00:00").map_or(time.clone(), |head| format!("{head}Z"));
    let mut attributes: Vec<String> = event
        .at("Actor.Attributes")
        .entries()
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_text()))
        .collect();
    attributes.sort();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{attributes}", event.text("Type"), event.text("Action"), event.text("Actor.ID"))
}

fn events(cli: &Cli, flags: EventsFlags, _: Vec<String>) -> Outcome {
    let template = match flags.format.as_str() {
        "" | "json" => None,
        format => Some(
            Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n"))
                .map_err(|why| Failure { code: 64, text: format!("Error parsing format: {why}") })?,
        ),
    };
    let now = jiff::Timestamp::now();
    let mut query = Vec::new();
    for (name, text) in [("since", &flags.since), ("until", &flags.until)] {
        if !text.is_empty() {
            query.push((name, moment::parse(text, now)?));
        }
    }
    if let Some(filters) = flags.filter.to_query() {
        query.push(("filters", filters));
    }
    let answer = cli.client()?.call("GET", "/events", &query, Payload::None)?;
    for json in BufReader::new(answer.body).lines() {
        let json = json?;
        if json.trim().is_empty() {
            continue;
        }
        let event: Value = serde_json::from_str(&json)
            .map_err(|error| Failure::new(format!("unexpected event from the daemon: {error}")))?;
        let text = match &template {
            None if flags.format == "json" => event.to_json(false),
            None => line(&event),
            Some(template) => {
                let data = Data {
                    root: &event,
                    labels: &[],
                    type_name: "*events.Message",
                    row: false,
                    heads: false,
                };
                template
                    .render(&data)
                    .map_err(|why| Failure { code: 64, text: format!("Error parsing format: {why}") })?
            }
        };
        show(&format!("{text}\n"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event: Value = serde_json::from_str(r#"{"Type":"image","Action":"tag","Actor":{"ID":"sha256:e6","Attributes":{"name":"bb:latest","b":"c"}},"time":1795507864,"timeNano":1795507864805435302}"#).unwrap();
        assert!(line(&event).ends_with(" image tag sha256:e6 (b=c, name=bb:latest)"), "{}", line(&event));
    }
}
