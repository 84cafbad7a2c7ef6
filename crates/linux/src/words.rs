//! What the kernel says of a failure, in the words that Docker's clients know.

use std::io;

/// The reason as Go writes it (`syscall.Errno.Error`): lower case, without Rust's number.
pub fn of(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_go_writes_it() {
        assert_eq!(of(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(of(&io::Error::from_raw_os_error(5)), "input/output error");
        assert_eq!(of(&io::Error::other("Not this one")), "not this one");
    }
}
