//! Waits for containers to be healthy or to end. The daemon's events say when to look again: nothing is polled.

use super::{Apply, told};
use crate::cli::{Failure, Outcome};
use crate::client::Response;
use crate::client::http::Payload;
use crate::commands::compose::progress::Mark;
use crate::commands::compose::warn;
use crate::commands::container::path;
use crate::format::value::Value;
use minke_compose::plan::Until;
use serde_json::json;
use std::io::{BufRead, BufReader};

/// What a look at the containers tells.
enum Seen {
    /// It is so.
    Yes,
    /// Not yet.
    NotYet,
    /// It ended with this.
    Ended(i64),
}

/// Waits until all of `names` are as wanted. An optional one that fails is told of and passed over.
pub(super) fn wait(
    apply: &Apply<'_>,
    service: &str,
    names: &[String],
    until: Until,
    required: bool,
) -> Outcome {
    for name in names {
        apply.progress.tell(&told(name), Mark::Working, "Waiting");
    }
    let all = |mark, status: &str| {
        for name in names {
            apply.progress.tell(&told(name), mark, status);
        }
    };
    let quoted = minke_model::go::quote(service);
    match look_until(apply, names, until) {
        Ok(0) => {
            all(Mark::Done, if until == Until::Completed { "Exited" } else { "Healthy" });
            Ok(())
        }
        Ok(code) => {
            let why = format!("{quoted} didn't complete successfully: exit {code}");
            if required {
                all(Mark::Error, &format!("service {why}"));
                return Err(Failure::new(format!("service {why}")));
            }
            all(Mark::Warning, &format!("Skipped: optional dependency {why}"));
            warn(&format!("optional dependency {why}"));
            Ok(())
        }
        Err(failure) if !required => {
            all(Mark::Warning, &format!("Skipped: optional dependency {quoted} failed to start"));
            warn(&format!("optional dependency {quoted} failed to start: {}", failure.text));
            Ok(())
        }
        Err(failure) if until == Until::Healthy => {
            all(Mark::Error, "Error");
            Err(Failure { text: format!("dependency failed to start: {}", failure.text), ..failure })
        }
        Err(failure) => Err(failure),
    }
}

/// Looks, and after each event of one of the containers looks again. The exit code, where an end was waited for.
fn look_until(apply: &Apply<'_>, names: &[String], until: Until) -> Result<i64, Failure> {
    // Events are asked for before the first look: none in between is missed.
    let mut events = BufReader::new(events(apply, names)?.body);
    let mut line = String::new();
    loop {
        match look(apply, names, until)? {
            Seen::Yes => return Ok(0),
            Seen::Ended(code) => return Ok(code),
            Seen::NotYet => {}
        }
        line.clear();
        if events.read_line(&mut line)? == 0 {
            return Err(Failure::new("the daemon ended its events"));
        }
    }
}

fn events(apply: &Apply<'_>, names: &[String]) -> Result<Response, Failure> {
    let filters = json!({
        "type": ["container"],
        "container": names,
        "event": ["start", "die", "destroy", "health_status"],
    });
    Ok(apply.client.call("GET", "/events", &[("filters", filters.to_string())], Payload::None)?)
}

fn look(apply: &Apply<'_>, names: &[String], until: Until) -> Result<Seen, Failure> {
    for name in names {
        let container = apply.client.get(&path(name, "/json"), &[])?;
        let exited = container.text("State.Status") == "exited";
        let code = container.int("State.ExitCode");
        match until {
            // The first that ended decides, as in docker compose.
            Until::Completed if exited => return Ok(Seen::Ended(code)),
            Until::Completed => continue,
            Until::Healthy | Until::RunningOrHealthy => {}
        }
        if exited {
            return Err(Failure::new(format!("container {name} exited ({code})")));
        }
        let probed = probed(&container);
        if !probed && until == Until::RunningOrHealthy {
            match container.text("State.Status") {
                "running" => continue,
                _ => return Ok(Seen::NotYet),
            }
        }
        match container.text("State.Health.Status") {
            "healthy" => {}
            "starting" => return Ok(Seen::NotYet),
            "unhealthy" => return Err(Failure::new(format!("container {name} is unhealthy"))),
            _ if probed => return Ok(Seen::NotYet),
            _ => return Err(Failure::new(format!("container {name} has no healthcheck configured"))),
        }
    }
    Ok(if until == Until::Completed { Seen::NotYet } else { Seen::Yes })
}

/// Whether something probes the container.
fn probed(container: &Value) -> bool {
    let test = container.texts("Config.Healthcheck.Test");
    test.first().is_some_and(|word| *word != "NONE")
}
