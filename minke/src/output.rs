//! What several commands print alike: results per argument, questions, progress of pulls.

pub(crate) mod file;
pub(crate) mod progress;

use crate::cli::{Failure, Outcome, show};
use std::io::{BufRead, Write};

/// How many of a command's arguments are worked on at once.
const AT_ONCE: usize = 50;

/// Does `work` for each argument in turn; failures are told together at the end.
pub(crate) fn each(arguments: &[String], mut work: impl FnMut(&str) -> Outcome) -> Outcome {
    let failures: Vec<Failure> = arguments.iter().filter_map(|argument| work(argument).err()).collect();
    together(failures)
}

/// Does `work` for the arguments side by side; what each returns is printed in their order, if anything.
pub(crate) fn each_at_once(
    arguments: &[String],
    work: impl Fn(&str) -> Result<String, Failure> + Sync,
) -> Outcome {
    if let [one] = arguments {
        return line(work(one)?);
    }
    let mut failures = Vec::new();
    for group in arguments.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let running: Vec<_> = group.iter().map(|argument| scope.spawn(|| work(argument))).collect();
            for thread in running {
                let result =
                    thread.join().unwrap_or_else(|_| Err(Failure::new("a worker of this command died")));
                match result.and_then(line) {
                    Ok(()) => {}
                    Err(failure) => failures.push(failure),
                }
            }
        });
    }
    together(failures)
}

fn line(text: String) -> Outcome {
    if text.is_empty() { Ok(()) } else { show(&format!("{text}\n")) }
}

/// Several failures as one.
pub(crate) fn together(failures: Vec<Failure>) -> Outcome {
    if failures.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> =
        failures.into_iter().map(|failure| failure.text).filter(|text| !text.is_empty()).collect();
    Err(Failure::new(texts.join("\n")))
}

/// Asks on stdout, reads stdin. Without `y` the answer is no.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    show(&format!("{question} [y/N] "))?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

/// Prints lines of text that may hold control characters of a terminal's only when they are ours.
pub(crate) fn warn(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
