//! Rust source with its comments and literals blanked out, so that a rule looks at code alone (pure).
//!
//! Knows just enough of Rust: line and nested block comments, strings (raw, byte, C), characters against lifetimes.
//! Every other character keeps its place, so that line numbers stay true.

/// `text` with each character inside of a comment, string or character literal replaced by a space.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = literal_or_comment(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (inside, after) = rest.split_at(skipped);
        code.extend(inside.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

/// How many bytes of `rest` are one comment or literal; 0 when it starts with code.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return 1 + quoted(inside, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if in_word {
        return 0;
    }
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|p| {
        rest.strip_prefix(p).is_some_and(|r| {
            r.starts_with('"') || p.ends_with('r') && r.trim_start_matches('#').starts_with('"')
        })
    });
    let Some(prefix) = prefix else { return 0 };
    let body = &rest[prefix.len()..];
    if !prefix.ends_with('r') {
        return prefix.len() + 1 + quoted(&body[1..], '"');
    }
    let hashes = body.len() - body.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = prefix.len() + hashes + 1;
    rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Bytes up to and with the closing `quote`.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// `'a'` and `'\n'` are characters, `'a` alone is a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => 1 + quoted(&rest[1..], '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::code_only;

    #[test]
    fn comments_and_literals_vanish_and_lines_stay() {
        let text = "let a = \"unsafe \\\" {\"; // unsafe\n/* unsafe /* deeper */ still */ fn f<'a>(c: char) -> &'a str { '\\'' ; 'x'; r#\"a\"b\"# }";
        let code = code_only(text);
        assert!(!code.contains("unsafe") && !code.contains("still") && !code.contains("b\""), "{code}");
        assert!(code.contains("fn f<'a>(c: char) -> &'a str {"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn a_word_that_ends_like_a_string_prefix_is_a_word() {
        assert_eq!(code_only("abbr\"x\" unsafe"), "abbr    unsafe");
    }
}
