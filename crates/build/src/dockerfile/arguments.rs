//! How the words behind an instruction are told apart: JSON lists, blanks, pairs (pure).

use super::{fault::Fault, instruction::Pair};
use serde_json::Value;

/// What stands behind an instruction and its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// Words, or one line.
    Words(Vec<String>),
    /// A list in JSON.
    Json(Vec<String>),
    /// Names and values.
    Pairs(Vec<Pair>),
}

impl Arguments {
    /// The words, whichever form they had.
    pub(super) fn words(self) -> Vec<String> {
        match self {
            Arguments::Words(words) | Arguments::Json(words) => words,
            Arguments::Pairs(pairs) => pairs.into_iter().flat_map(|p| [p.name, p.value]).collect(),
        }
    }
}

/// A fault and the word that it is about; empty is the instruction's own.
pub(super) type At<T> = Result<T, (Fault, String)>;

/// `rest` as `keyword` (in upper case) reads it.
pub(super) fn parse(keyword: &str, rest: &str, escape: char) -> At<Arguments> {
    match keyword {
        "ADD" | "COPY" | "VOLUME" => Ok(match json(rest)? {
            Some(list) => Arguments::Json(list),
            None => Arguments::Words(blanks(rest)),
        }),
        "CMD" | "ENTRYPOINT" | "RUN" | "SHELL" => line(rest),
        "HEALTHCHECK" => {
            let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let (words, is_json) = match line(command.trim_start())? {
                Arguments::Json(words) => (words, true),
                other => (other.words(), false),
            };
            let words = [kind.to_owned()].into_iter().filter(|k| !k.is_empty()).chain(words).collect();
            Ok(if is_json { Arguments::Json(words) } else { Arguments::Words(words) })
        }
        "ENV" => pairs("ENV", rest, escape),
        "LABEL" => pairs("LABEL", rest, escape),
        "ARG" => Ok(Arguments::Words(shell_words(rest, escape))),
        "EXPOSE" | "FROM" => Ok(Arguments::Words(blanks(rest))),
        _ if rest.is_empty() => Ok(Arguments::Words(Vec::new())),
        _ => Ok(Arguments::Words(vec![rest.to_owned()])),
    }
}

/// A JSON list, or all as one.
fn line(rest: &str) -> At<Arguments> {
    if rest.is_empty() {
        return Ok(Arguments::Words(Vec::new()));
    }
    Ok(match json(rest)? {
        Some(list) => Arguments::Json(list),
        None => Arguments::Words(vec![rest.to_owned()]),
    })
}

/// A list of strings in JSON. What is no JSON is no fault; a list of something else is.
fn json(rest: &str) -> At<Option<Vec<String>>> {
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(rest) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        Value::String(text) => Ok(text),
        other => Err((Fault::NotStrings, other.to_string())),
    });
    strings.collect::<At<Vec<String>>>().map(Some)
}

/// What separates words on a line.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

fn blanks(rest: &str) -> Vec<String> {
    rest.split(is_blank).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// `name=value …`, or the old `name value`: the first word decides.
fn pairs(keyword: &'static str, rest: &str, escape: char) -> At<Arguments> {
    let words = shell_words(rest, escape);
    let Some(first) = words.first() else { return Ok(Arguments::Pairs(Vec::new())) };
    if !first.contains('=') {
        let (name, value) = rest.split_once(is_blank).ok_or((Fault::TwoArguments(keyword), String::new()))?;
        let (name, value) = (name.to_owned(), value.trim_start_matches(is_blank).to_owned());
        return Ok(Arguments::Pairs(vec![Pair { name, value, legacy: true }]));
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => Ok(Pair { name: name.into(), value: value.into(), legacy: false }),
        None => Err((Fault::NoEquals(word.clone()), word)),
    };
    words.into_iter().map(pair).collect::<At<_>>().map(Arguments::Pairs)
}

/// Words by blanks outside of quotes; quotes and escapes stay for the expansion.
fn shell_words(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        // Nothing is escaped within single quotes; at the very end an escape is dropped.
        if c == escape && quote != Some('\'') {
            if let Some(escaped) = chars.next() {
                word.extend([c, escaped]);
            }
            continue;
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_stay_whole_and_quoted() {
        assert_eq!(
            shell_words(r#"a=1 b="x y" c='p "q' d=e\ f g="\"h i""#, '\\'),
            ["a=1", "b=\"x y\"", "c='p \"q'", "d=e\\ f", "g=\"\\\"h i\""]
        );
        assert_eq!(shell_words("a\\", '\\'), ["a"]);
    }

    #[test]
    fn a_list_is_json_or_no_list() {
        assert_eq!(
            parse("CMD", "[\"a\", \"b c\"]", '\\'),
            Ok(Arguments::Json(vec!["a".into(), "b c".into()]))
        );
        assert_eq!(parse("CMD", "[\"a\",]", '\\'), Ok(Arguments::Words(vec!["[\"a\",]".into()])));
        assert_eq!(parse("CMD", "[ -f x ]", '\\'), Ok(Arguments::Words(vec!["[ -f x ]".into()])));
        assert_eq!(parse("CMD", "[1]", '\\'), Err((Fault::NotStrings, "1".into())));
        assert_eq!(parse("CMD", "[[\"a\"]]", '\\').map_err(|e| e.0), Err(Fault::NotStrings));
    }
}
