//! Progress of a project's steps on stderr: one line a step elsewhere, lines that change in place on a terminal.
//!
//! The words are docker compose's (`pkg/progress`), which scripts read. Nothing is drawn by a clock: an event draws.

use crate::cli::Failure;
use crate::cli::help::width;
use crate::stream::terminal;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A line an event.
    Plain,
    /// Lines that change in place.
    Terminal,
    /// A JSON object an event.
    Json,
    /// Nothing.
    Quiet,
}

impl Style {
    /// What `--progress` means; without it, stderr decides.
    pub(crate) fn of(flag: &str) -> Result<Self, Failure> {
        match flag {
            "tty" => Ok(Style::Terminal),
            "auto" | "" if terminal::stderr_is_terminal() => Ok(Style::Terminal),
            "auto" | "" | "plain" | "rawjson" => Ok(Style::Plain),
            "json" => Ok(Style::Json),
            "quiet" => Ok(Style::Quiet),
            other => {
                Err(Failure::new(format!("unsupported --progress value {}", minke_model::go::quote(other))))
            }
        }
    }
}

/// How far a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Work on it goes on.
    Working,
    /// It is as it should be.
    Done,
    /// It is not as it should be, and that may stay.
    Warning,
    /// It failed.
    Error,
}

/// One thing's line.
struct Line {
    id: String,
    text: String,
    status: String,
    mark: Mark,
    began: Instant,
    ended: Option<Instant>,
}

struct Shown {
    out: File,
    lines: Vec<Line>,
    drawn: usize,
}

/// Shows what happens to each thing. Threads share it.
pub(crate) struct Progress {
    style: Style,
    title: &'static str,
    shown: Mutex<Shown>,
}

impl Progress {
    /// Progress under `title` (`Running`, `Stopping`, …).
    pub(crate) fn new(style: Style, title: &'static str) -> Result<Self, Failure> {
        let shown = Shown { out: terminal::stderr()?, lines: Vec::new(), drawn: 0 };
        Ok(Self { style, title, shown: Mutex::new(shown) })
    }

    /// Something happened to `id`: `Container web-1`, `Starting`.
    pub(crate) fn tell(&self, id: &str, mark: Mark, status: &str) {
        self.event(id, mark, "", status);
    }

    /// Marks a thing as failed where marks stay in sight; elsewhere the error itself is printed at the end.
    pub(crate) fn mark_failed(&self, id: &str, why: &str) {
        if self.style != Style::Plain {
            self.event(id, Mark::Error, "", why);
        }
    }

    /// The same of an image: its words stand in the first column.
    pub(crate) fn tell_image(&self, id: &str, mark: Mark, text: &str, status: &str) {
        self.event(id, mark, text, status);
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, id: &str, mark: Mark, text: &str, status: &str) {
        let mut shown = self.lock();
        // Who closed stderr does not want to know.
        let _ = match self.style {
            Style::Quiet => Ok(()),
            Style::Plain => writeln!(shown.out, " {id} {text} {status}"),
            Style::Json => {
                let mark = match mark {
                    Mark::Working => "Working",
                    Mark::Done => "Done",
                    Mark::Warning => "Warning",
                    Mark::Error => "Error",
                };
                let event = json!({"id": id, "status": mark, "text": text, "details": status});
                writeln!(shown.out, "{event}")
            }
            Style::Terminal => {
                shown.note(id, mark, text, status);
                shown.draw(self.title)
            }
        };
    }
}

impl Shown {
    fn note(&mut self, id: &str, mark: Mark, text: &str, status: &str) {
        let now = Instant::now();
        let ended = (mark != Mark::Working).then_some(now);
        match self.lines.iter_mut().find(|line| line.id == id) {
            Some(line) => {
                (line.text, line.status, line.mark, line.ended) =
                    (text.to_owned(), status.to_owned(), mark, ended);
            }
            None => self.lines.push(Line {
                id: id.to_owned(),
                text: text.to_owned(),
                status: status.to_owned(),
                mark,
                began: now,
                ended,
            }),
        }
    }

    /// Draws all lines over those of before. Of more lines than the terminal has, the last ones.
    fn draw(&mut self, title: &str) -> std::io::Result<()> {
        let (columns, rows) = (width(), terminal::size().map_or(24, |(rows, _)| usize::from(rows)));
        let done = self.lines.iter().filter(|line| line.mark != Mark::Working).count();
        let head = format!("[+] {title} {done}/{}", self.lines.len());
        let mut text = String::from("\x1b[?25l");
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        let head = if done == self.lines.len() { format!("\x1b[34m{head}\x1b[0m") } else { head };
        text.push_str(&format!("\x1b[2K{head}\n"));
        let skipped = self.lines.len().saturating_sub(rows.saturating_sub(2).max(1));
        let pad = self.lines.iter().map(|line| label(line).chars().count()).max().unwrap_or(0);
        for line in self.lines.iter().skip(skipped) {
            text.push_str(&format!("\x1b[2K{}\n", row(line, pad, columns)));
        }
        text.push_str("\x1b[?25h");
        self.drawn = self.lines.len() - skipped + 1;
        self.out.write_all(text.as_bytes())
    }
}

fn label(line: &Line) -> String {
    format!("{} {}", line.id, line.text)
}

/// ` ✔ Container web-1  Started      0.5s`
fn row(line: &Line, pad: usize, columns: usize) -> String {
    let (sign, colour) = match line.mark {
        Mark::Working => ("⠿", ""),
        Mark::Done => ("✔", "\x1b[32m"),
        Mark::Warning => ("!", "\x1b[33m"),
        Mark::Error => ("✘", "\x1b[31m"),
    };
    let reset = if colour.is_empty() { "" } else { "\x1b[0m" };
    let time =
        format!("{:.1}s ", line.ended.unwrap_or_else(Instant::now).duration_since(line.began).as_secs_f64());
    let left = format!("   {:pad$} ", label(line));
    let room = columns.saturating_sub(left.chars().count() + time.len() + 1);
    let first = line.status.lines().next().unwrap_or_default();
    let status: String = first.chars().take(room).collect();
    let gap = " ".repeat(room.saturating_sub(status.chars().count()));
    format!(" {colour}{sign}{reset} {:pad$} {colour}{status}{reset}{gap} \x1b[34m{time}\x1b[0m", label(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: &str) -> Line {
        let now = Instant::now();
        Line {
            id: "Container a-1".into(),
            text: String::new(),
            status: status.into(),
            mark: Mark::Done,
            began: now,
            ended: Some(now),
        }
    }

    #[test]
    fn a_row_fits_its_terminal() {
        let visible = |row: &str| {
            let mut count = 0;
            let mut escape = false;
            for c in row.chars() {
                match c {
                    '\x1b' => escape = true,
                    'm' if escape => escape = false,
                    _ if escape => {}
                    _ => count += 1,
                }
            }
            count
        };
        for status in ["Started", &"long ".repeat(50)] {
            assert!(visible(&row(&line(status), 14, 60)) <= 60, "{status}");
        }
        assert!(row(&line("Started"), 14, 60).contains("Container a-1"));
    }

    #[test]
    fn unknown_styles_are_refused() {
        assert_eq!(Style::of("plain").unwrap(), Style::Plain);
        assert_eq!(Style::of("fancy").unwrap_err().text, "unsupported --progress value \"fancy\"");
    }
}
