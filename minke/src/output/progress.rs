//! Progress of pull, push, load and import: the daemon's stream of JSON, one message a line.
//!
//! On a terminal each layer keeps its own line; elsewhere docker prints the plain statuses.

use crate::cli::Failure;
use crate::format::value::Value;
use crate::human;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};

/// A message is never longer.
const LINE_LIMIT: u64 = 16 << 20;

/// Columns of a bar.
const BAR: i64 = 50;

/// A terminal must be wider than this for one.
const WIDE: usize = 110;

/// Prints the stream on `out` until its end. `aux` gets the messages that are results.
pub(crate) fn show(
    stream: impl Read,
    out: &mut dyn Write,
    terminal: bool,
    mut aux: impl FnMut(&Value),
) -> Result<(), Failure> {
    let mut reader = BufReader::new(stream);
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut reader).take(LINE_LIMIT).read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        let message: Value = serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("unexpected progress from the daemon: {error}")))?;
        if !message.at("aux").is_null() {
            aux(message.at("aux"));
            continue;
        }
        let id = message.text("id");
        let mut moved = 0;
        if !id.is_empty() && has_progress(&message) {
            let known = lines.len();
            let at = *lines.entry(id.to_owned()).or_insert(known);
            if terminal && at == known {
                writeln!(out)?;
            }
            if terminal {
                moved = lines.len() - at;
                write!(out, "\x1b[{moved}A")?;
            }
        } else {
            // What has no line of its own ends the history of lines.
            lines.clear();
        }
        let error = message.at("errorDetail").text("message");
        if !error.is_empty() {
            return Err(Failure::new(error));
        }
        if !message.text("error").is_empty() {
            return Err(Failure::new(message.text("error")));
        }
        display(&message, out, terminal)?;
        if moved > 0 {
            write!(out, "\x1b[{moved}B")?;
        }
        out.flush()?;
    }
}

/// Whether a message belongs to a line that changes.
fn has_progress(message: &Value) -> bool {
    !message.at("progressDetail").is_null() || !message.text("progress").is_empty()
}

fn display(message: &Value, out: &mut dyn Write, terminal: bool) -> Result<(), Failure> {
    let detail = message.at("progressDetail");
    let bar = bar(detail, terminal && crate::cli::help::width() > WIDE);
    let mut end = "";
    if terminal && message.text("stream").is_empty() && !detail.is_null() {
        write!(out, "\x1b[2K\r")?;
        end = "\r";
    } else if !bar.is_empty() {
        // Only a terminal shows bars.
        return Ok(());
    }
    if !message.text("id").is_empty() {
        write!(out, "{}: ", message.text("id"))?;
    }
    if !message.text("from").is_empty() {
        write!(out, "(from {}) ", message.text("from"))?;
    }
    if terminal && !detail.is_null() {
        write!(out, "{} {bar}{end}", message.text("status"))?;
    } else if !message.text("progress").is_empty() {
        write!(out, "{} {}{end}", message.text("status"), message.text("progress"))?;
    } else if !message.text("stream").is_empty() {
        write!(out, "{}{end}", message.text("stream"))?;
    } else {
        writeln!(out, "{}{end}", message.text("status"))?;
    }
    Ok(())
}

/// `[=====>     ]  12kB/34kB`, the box only where there is room.
fn bar(detail: &Value, wide: bool) -> String {
    let (current, total) = (detail.int("current"), detail.int("total"));
    if current <= 0 && total <= 0 {
        return String::new();
    }
    let size = |bytes: i64| human::size(bytes as f64);
    if total <= 0 {
        return match detail.text("units") {
            "" => format!("{:>8}", size(current)),
            units => format!("{current} {units}"),
        };
    }
    let numbers = if current > total {
        format!("{:>8}", size(current))
    } else {
        format!("{:>8}/{}", size(current), size(total))
    };
    if !wide {
        return numbers;
    }
    let done = (current.min(total).saturating_mul(BAR) / total).clamp(0, BAR) as usize;
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(BAR as usize - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULL: &str = "{\"status\":\"Pulling from x\",\"id\":\"latest\"}\n{\"status\":\"Downloading\",\"id\":\"aa\",\"progressDetail\":{\"current\":5,\"total\":10}}\n{\"status\":\"Pull complete\",\"id\":\"aa\",\"progressDetail\":{}}\n{\"status\":\"Status: done\"}\n";

    #[test]
    fn without_a_terminal_only_statuses_are_printed() {
        let mut out = Vec::new();
        show(PULL.as_bytes(), &mut out, false, |_| {}).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "latest: Pulling from x\naa: Pull complete\nStatus: done\n"
        );
    }

    #[test]
    fn errors_in_the_stream_end_it() {
        let failure = show(
            "{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\n".as_bytes(),
            &mut Vec::new(),
            false,
            |_| {},
        )
        .unwrap_err();
        assert_eq!(failure.text, "no");
    }

    #[test]
    fn a_bar_grows() {
        let detail: Value = serde_json::from_str("{\"current\":500,\"total\":1000}").unwrap();
        assert_eq!(bar(&detail, true), format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(25)));
        assert_eq!(bar(&detail, false), "    500B/1kB");
    }
}
