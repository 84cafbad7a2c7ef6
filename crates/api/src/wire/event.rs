//! `GET /events`: one object a line.

use super::Map;
use minke_model::{Event, event::Noun};
use serde::Serialize;

/// One event. Containers and images also carry the fields of the first API.
#[derive(Debug, Serialize)]
pub(crate) struct Message {
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Debug, Serialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: Map,
}

impl From<&Event> for Message {
    fn from(event: &Event) -> Self {
        let old = matches!(event.noun, Noun::Container | Noun::Image);
        let from = event.attributes.get("image").filter(|_| event.noun == Noun::Container).cloned();
        Self {
            status: if old { event.action.clone() } else { String::new() },
            id: if old { event.id.clone() } else { String::new() },
            from: from.unwrap_or_default(),
            kind: event.noun.as_str(),
            action: event.action.clone(),
            actor: Actor { id: event.id.clone(), attributes: Map(event.attributes.clone()) },
            scope: event.scope.as_str(),
            time: event.at.as_second(),
            time_nano: event.at.as_nanos(),
        }
    }
}
