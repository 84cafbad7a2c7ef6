//! A build's progress for people: one line a happening, a screen that is drawn again, JSON, or nothing.

mod plain;
mod raw;
mod steps;
mod tty;

use minke_engine::build::{
    Progress,
    request::{BuildEvent, VertexWarning},
};
use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};
use steps::Steps;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Quiet,
    /// A line a happening.
    Plain,
    /// The screen, drawn again.
    Tty,
    /// JSON.
    Raw,
}

impl Mode {
    /// `--progress`
    pub(crate) fn of(text: &str, quiet: bool) -> Result<Self, String> {
        let terminal = crate::stream::terminal::stderr_is_terminal();
        match text {
            _ if quiet => Ok(Mode::Quiet),
            "" | "auto" if terminal => Ok(Mode::Tty),
            "tty" if !terminal => Err("failed to get console: stderr is no terminal".into()),
            "tty" => Ok(Mode::Tty),
            "" | "auto" | "plain" => Ok(Mode::Plain),
            "rawjson" => Ok(Mode::Raw),
            "quiet" => Ok(Mode::Quiet),
            other => {
                Err(format!("invalid progress mode {other:?}: it is auto, plain, tty, rawjson or quiet"))
            }
        }
    }
}

/// One way of showing.
trait View: Send {
    /// Something happened, and is known by `steps` now.
    fn event(&mut self, steps: &Steps, event: &BuildEvent, out: &mut dyn Write) -> std::io::Result<()>;
    /// Nothing more will.
    fn end(&mut self, steps: &Steps, out: &mut dyn Write) -> std::io::Result<()>;
}

/// Shows a build on stderr.
#[derive(Clone)]
pub(crate) struct Display(Arc<Mutex<Inner>>);

struct Inner {
    steps: Steps,
    view: Option<Box<dyn View>>,
    out: Box<dyn Write + Send>,
    warnings: Vec<VertexWarning>,
}

impl Display {
    /// Nothing is shown yet.
    pub(crate) fn new(mode: Mode) -> Self {
        let view: Option<Box<dyn View>> = match mode {
            Mode::Quiet => None,
            Mode::Plain => Some(Box::<plain::Plain>::default()),
            Mode::Tty => Some(Box::<tty::Tty>::default()),
            Mode::Raw => Some(Box::new(raw::Raw)),
        };
        Self::with(view, Box::new(std::io::stderr()))
    }

    fn with(view: Option<Box<dyn View>>, out: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(Inner { steps: Steps::default(), view, out, warnings: Vec::new() })))
    }

    /// Ends the display: the last state, the output of steps that failed, what checks found.
    pub(crate) fn end(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { steps, view, out, warnings } = &mut *inner;
        let Some(view) = view else { return };
        // Nobody is left to be told when this fails.
        let _ = view.end(steps, out);
        if !warnings.is_empty() {
            let count = warnings.len();
            let _ = writeln!(out, "\n {count} warning{} found:", if count == 1 { "" } else { "s" });
            for warning in warnings {
                let line = warning.lines.first;
                let place = if line > 0 { format!(" (line {line})") } else { String::new() };
                let _ = writeln!(out, " - {}{place}", warning.short);
            }
        }
        let _ = out.flush();
    }
}

impl Progress for Display {
    fn report(&self, event: BuildEvent) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { steps, view, out, warnings } = &mut *inner;
        if let BuildEvent::Warning(warning) = &event
            && !warnings.contains(warning)
        {
            warnings.push(warning.clone());
        }
        steps.take(&event);
        if let Some(view) = view {
            // A display that broke shows nothing more; the build goes on.
            if view.event(steps, &event, out).is_err() {
                inner.view = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
