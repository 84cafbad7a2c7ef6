//! The daemon's events about a project's containers.

use super::Message;
use crate::cli::Failure;
use crate::client::http::{Body, Payload};
use crate::client::{Client, ClientError};
use crate::commands::container::path;
use crate::format::value::Value;
use crate::options::moment;
use minke_compose::label;
use minke_compose::running::Container;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// Something that happened to a container.
pub(crate) struct Happened {
    /// The container's id.
    pub(crate) id: String,
    /// Its name as logs show it.
    pub(crate) name: String,
    /// Its service.
    pub(crate) service: String,
    /// What.
    pub(crate) what: What,
}

/// What happens to containers.
pub(crate) enum What {
    /// It was made.
    Created {
        /// What it takes the place of.
        replaces: Option<String>,
    },
    /// It started.
    Started {
        /// When, as the API takes times.
        at: String,
    },
    /// It ended.
    Died {
        /// With this code.
        code: i64,
        /// Whether it starts again by itself.
        restarts: bool,
    },
}

/// Asks for the events of a project's containers. They are read by [`listen`]; none after this call is missed.
pub(crate) fn events(client: &Client, project: &str) -> Result<Body, Failure> {
    let filters = json!({"type": ["container"], "label": [format!("{}={project}", label::PROJECT)]});
    Ok(client.call("GET", "/events", &[("filters", filters.to_string())], Payload::None)?.body)
}

/// Tells what happens to containers of `services` (none: of all), on a thread of its own.
pub(crate) fn listen(client: &Arc<Client>, events: Body, services: BTreeSet<String>, tell: Sender<Message>) {
    let client = Arc::clone(client);
    std::thread::spawn(move || {
        let mut end = "the daemon ended its events".to_owned();
        for line in BufReader::new(events).lines() {
            let Ok(line) = line else { break };
            match happened(&client, &line, &services) {
                Ok(None) => {}
                Ok(Some(happened)) => {
                    if tell.send(Message::Happened(happened)).is_err() {
                        return;
                    }
                }
                Err(failure) => {
                    end = failure.text;
                    break;
                }
            }
        }
        let _ = tell.send(Message::Ended(end));
    });
}

fn happened(client: &Client, line: &str, services: &BTreeSet<String>) -> Result<Option<Happened>, Failure> {
    let event: Value = match serde_json::from_str(line) {
        Ok(event) => event,
        Err(_) => return Ok(None),
    };
    let attributes = event.at("Actor.Attributes");
    let service = attributes.at_key(label::SERVICE).as_text();
    if attributes.at_key(label::ONE_OFF).as_text() == "True"
        || (!services.is_empty() && !services.contains(service))
    {
        return Ok(None);
    }
    let id = event.text("Actor.ID").to_owned();
    let what = match event.text("Action") {
        "create" => {
            let replaces = attributes.at_key(label::REPLACE).as_text();
            What::Created { replaces: Some(replaces.to_owned()).filter(|name| !name.is_empty()) }
        }
        "start" => match state(client, &id)? {
            Some(state) => What::Started {
                at: moment::parse(state.text("StartedAt"), jiff::Timestamp::now()).unwrap_or_default(),
            },
            None => return Ok(None),
        },
        "die" => {
            let code = attributes.at_key("exitCode").as_text().parse().unwrap_or(0);
            let state = state(client, &id)?.unwrap_or(Value::Null);
            What::Died { code, restarts: state.bool("Restarting") || state.bool("Running") }
        }
        _ => return Ok(None),
    };
    let labels = attributes.entries().iter().map(|(name, value)| (name.clone(), value.as_text().to_owned()));
    let container = Container {
        name: attributes.at_key("name").as_text().to_owned(),
        labels: labels.collect(),
        ..Container::default()
    };
    Ok(Some(Happened { id, name: container.short_name().to_owned(), service: service.to_owned(), what }))
}

/// A container's state; `None` when it is gone.
fn state(client: &Client, id: &str) -> Result<Option<Value>, Failure> {
    match client.get(&path(id, "/json"), &[]) {
        Ok(container) => Ok(Some(container.at("State").clone())),
        Err(error @ ClientError::Daemon { .. }) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
