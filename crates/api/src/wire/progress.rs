//! Progress lines of pull, load and import: one JSON object a line, ended by CR LF.

use super::is_default;
use serde::Serialize;
use serde_json::Value;

/// One line.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "String::is_empty")]
    stream: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    progress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    aux: Option<Value>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Detail {
    #[serde(skip_serializing_if = "is_default")]
    current: u64,
    #[serde(skip_serializing_if = "is_default")]
    total: u64,
}

#[derive(Debug, Serialize)]
struct ErrorDetail {
    #[serde(skip_serializing_if = "is_default")]
    code: i64,
    message: String,
}

/// Bytes as go-units' `HumanSize` says them: four digits, powers of 1000.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{}{}", four_digits(size), UNITS[unit])
}

/// Go's `%.4g`.
fn four_digits(value: f64) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", 4usize.saturating_sub(whole));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The bar that old clients print as it is.
fn bar(current: u64, total: u64) -> String {
    if current == 0 && total == 0 {
        return String::new();
    }
    if total == 0 {
        return format!("{:>8}", human_size(current));
    }
    let done = ((current as f64 / total as f64 * 100.0) as usize / 2).min(50);
    let numbers = match current > total {
        true => format!("{:>8}", human_size(current)),
        false => format!("{:>8}/{}", human_size(current), human_size(total)),
    };
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(50 - done))
}

impl Line {
    /// Something happened to `id` (may be empty), without numbers.
    pub(crate) fn status(id: &str, status: &str) -> Self {
        Self { status: status.to_owned(), id: id.to_owned(), ..Self::default() }
    }

    /// Something goes on with `id`; empty numbers still show that it has progress.
    pub(crate) fn progress(id: &str, status: &str, current: u64, total: u64) -> Self {
        Self {
            status: status.to_owned(),
            detail: Some(Detail { current, total }),
            progress: bar(current, total),
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// What programs want to know in the end.
    pub(crate) fn aux(value: Value) -> Self {
        // Docker's stream formatter gives these an empty detail too.
        Self { aux: Some(value), detail: Some(Detail::default()), ..Self::default() }
    }

    /// The image that a stage of a build became.
    pub(crate) fn result(id: &str) -> Self {
        Self { aux: Some(serde_json::json!({ "ID": id })), ..Self::default() }
    }

    /// A result with a name, as BuildKit's are.
    pub(crate) fn named(id: &str, aux: Value) -> Self {
        Self { id: id.to_owned(), aux: Some(aux), ..Self::default() }
    }

    /// A text for the terminal.
    pub(crate) fn stream(text: &str) -> Self {
        Self { stream: text.to_owned(), ..Self::default() }
    }

    /// It failed after the answer had begun.
    pub(crate) fn error(message: &str) -> Self {
        Self::failure(0, message)
    }

    /// The same with a program's exit code.
    pub(crate) fn failure(code: i64, message: &str) -> Self {
        Self {
            error_detail: Some(ErrorDetail { code, message: message.to_owned() }),
            error: message.to_owned(),
            ..Self::default()
        }
    }

    /// As it goes over the wire.
    pub(crate) fn to_bytes(&self) -> bytes::Bytes {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.extend_from_slice(b"\r\n");
        line.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line) -> String {
        String::from_utf8_lossy(&line.to_bytes()).into_owned()
    }

    #[test]
    fn a_line_with_progress_has_numbers_and_a_bar() {
        let line = text(&Line::progress("a1", "Downloading", 500_000, 2_000_000));
        let bar = "[============>                                      ]    500kB/2MB";
        assert_eq!(
            line,
            format!(
                "{{\"status\":\"Downloading\",\"progressDetail\":{{\"current\":500000,\"total\":2000000}},\"progress\":\"{bar}\",\"id\":\"a1\"}}\r\n"
            )
        );
    }

    #[test]
    fn a_line_about_progress_without_numbers_still_says_so() {
        assert_eq!(
            text(&Line::progress("a1", "Pull complete", 0, 0)),
            "{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"a1\"}\r\n"
        );
        assert_eq!(text(&Line::status("", "Digest: x")), "{\"status\":\"Digest: x\"}\r\n");
    }

    #[test]
    fn a_failure_is_told_twice() {
        assert_eq!(text(&Line::error("no")), "{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n");
    }

    #[test]
    fn sizes_have_four_digits() {
        assert_eq!(human_size(32_422_353), "32.42MB");
        assert_eq!(human_size(999), "999B");
        assert_eq!(human_size(1_500), "1.5kB");
    }
}
