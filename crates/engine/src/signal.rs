//! Signals by name and number, as Docker's clients write them.

use crate::{Error, error::Result};

/// Linux's names (signal(7)), the same on x86-64 and arm64.
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// SIGKILL.
pub(crate) const KILL: i32 = 9;
/// SIGTERM.
pub(crate) const TERM: i32 = 15;

/// `TERM`, `sigterm`, `15`, `RTMIN+3`; a text that is none is an error in Docker's words.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let bad = || Error::Invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return offset.parse::<i32>().ok().filter(|n| (0..=30).contains(n)).map(|n| 34 + n).ok_or_else(bad);
    }
    if let Some(offset) = name.strip_prefix("RTMAX-") {
        return offset.parse::<i32>().ok().filter(|n| (0..=30).contains(n)).map(|n| 64 - n).ok_or_else(bad);
    }
    NAMES.iter().find(|(n, _)| *n == name).map(|(_, number)| *number).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_prefixes_mean_the_same() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(parse(text).ok(), Some(15), "{text}");
        }
        assert_eq!(parse("RTMIN+3").ok(), Some(37));
        assert_eq!(parse("nope").map_err(|e| e.to_string()), Err("invalid signal: nope".into()));
        assert!(parse("0").is_err());
    }
}
