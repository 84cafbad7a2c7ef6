//! The screen, drawn again: a head, a line a step, the last words of those that run.

use super::{
    View, plain,
    steps::{Step, Steps, part},
};
use minke_engine::build::request::BuildEvent;
use minke_model::Timestamp;
use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// It is not drawn more often.
const PAUSE: Duration = Duration::from_millis(80);
/// Lines of a running step's output.
const WORDS: usize = 4;

/// What was drawn last.
#[derive(Default)]
pub(super) struct Tty {
    lines: usize,
    drawn: Option<Instant>,
    began: Option<Instant>,
}

impl View for Tty {
    fn event(&mut self, steps: &Steps, _: &BuildEvent, out: &mut dyn Write) -> io::Result<()> {
        self.began.get_or_insert_with(Instant::now);
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE) {
            return Ok(());
        }
        self.draw(steps, false, out)
    }

    fn end(&mut self, steps: &Steps, out: &mut dyn Write) -> io::Result<()> {
        self.draw(steps, true, out)?;
        for step in steps.all.iter().filter(|step| plain::failed(step)) {
            writeln!(out, "------\n > {}:", step.vertex.name)?;
            for line in &step.lines {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "------")?;
        }
        Ok(())
    }
}

impl Tty {
    fn draw(&mut self, steps: &Steps, over: bool, out: &mut dyn Write) -> io::Result<()> {
        let (rows, columns) = crate::stream::terminal::size().unwrap_or((24, 80));
        let (rows, columns) = (usize::from(rows).max(4), usize::from(columns).max(20));
        let seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        let (ended, all) = steps.count();
        let finished = if over && ended == all { " FINISHED" } else { "" };
        let mut lines =
            vec![(format!("[+] Building {seconds:.1}s ({ended}/{all}){finished}"), String::new())];
        let running = |step: &&Step| step.vertex.completed.is_none();
        for step in &steps.all {
            let took = step.took().unwrap_or_else(|| step.seconds(Timestamp::now()));
            let mark = match (&step.vertex.error, step.vertex.cached) {
                (Some(error), _) if error.ends_with("context canceled") => "CANCELED ",
                (Some(_), _) => "ERROR ",
                (None, true) => "CACHED ",
                (None, false) => "",
            };
            lines.push((format!(" => {mark}{}", step.vertex.name), format!("{took:.1}s")));
            if !over && running(&step) {
                for status in step.parts.iter().filter(|part| part.completed.is_none()).take(WORDS) {
                    lines.push((format!(" => => {}", part(status)), String::new()));
                }
                for line in step.lines.iter().rev().take(WORDS).rev() {
                    lines.push((format!(" => => # {}", printable(line)), String::new()));
                }
            }
        }
        // What fits: the head, and the newest.
        let most = rows.saturating_sub(1);
        if !over && lines.len() > most {
            let first = lines.len() - (most - 1);
            lines.drain(1..first);
        }
        let mut screen = String::new();
        if self.lines > 0 {
            screen.push_str(&format!("\x1b[{}A", self.lines));
        }
        for (left, right) in &lines {
            let room = columns.saturating_sub(right.chars().count() + 1);
            let left: String = left.chars().take(room).collect();
            let blank = " ".repeat(columns.saturating_sub(left.chars().count() + right.chars().count()));
            screen
                .push_str(&format!("\x1b[2K\r{left}{}{right}\n", if right.is_empty() { "" } else { &blank }));
        }
        // What was drawn below is gone.
        screen.push_str("\x1b[J");
        self.lines = lines.len();
        self.drawn = Some(Instant::now());
        out.write_all(screen.as_bytes())?;
        out.flush()
    }
}

/// A program's output without what would move the cursor.
fn printable(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            // A sequence ends with its letter.
            '\x1b' => {
                chars.by_ref().find(|c| c.is_ascii_alphabetic());
            }
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_left_out() {
        assert_eq!(printable("\x1b[31mred\x1b[0m\ta\r"), "red    a");
    }
}
