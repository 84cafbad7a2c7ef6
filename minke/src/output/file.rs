//! Archives that are saved: to stdout, or to a file that appears whole or not at all.

use crate::cli::{Failure, Outcome};
use crate::commands::go_error;
use crate::stream::terminal;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Refuses what cannot be written before the daemon is asked. The error is docker's sentence.
pub(crate) fn check(path: &str) -> Result<(), String> {
    if path.is_empty() {
        if terminal::stdout_is_terminal() {
            return Err("cowardly refusing to save to a terminal. Use the -o flag or redirect".into());
        }
        return Ok(());
    }
    check_output_path(path)
}

/// Whether a file may be written at `path`.
fn check_output_path(path: &str) -> Result<(), String> {
    let parent =
        Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = std::fs::metadata(parent) {
        return Err(format!("invalid output path: stat {}: {}", parent.display(), go_error(&error)));
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err("cannot write to a directory".into()),
        _ => Ok(()),
    }
}

/// Whether the directory that `path` would be made in is there.
pub(crate) fn check_output_path_parent(path: &str) -> Result<(), String> {
    let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
    if parent.exists() {
        Ok(())
    } else {
        Err(format!("invalid output path: directory \"{}\" does not exist", parent.display()))
    }
}

/// Copies `from` to the file `path`, or to stdout when that is empty.
pub(crate) fn save(mut from: impl Read, path: &str) -> Outcome {
    if path.is_empty() {
        crate::stream::attach::copy_raw(from, &mut terminal::stdout()?)?;
        return Ok(());
    }
    let temporary = format!("{path}.minke-{}", std::process::id());
    let written = File::create(&temporary)
        .and_then(|mut file| io::copy(&mut from, &mut file))
        .and_then(|_| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Failure::new(format!("open {path}: {}", go_error(&error)))
    })
}
