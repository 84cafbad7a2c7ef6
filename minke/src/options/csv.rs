//! One line of comma-separated fields, quoted as Go's `encoding/csv` reads them.

/// The fields. The error is Go's sentence.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, text)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if let Some(at) = rest[..end].find('"') {
                    return Err(format!(
                        "parse error on line 1, column {}: bare \" in non-quoted-field",
                        text.len() - rest.len() + at + 1
                    ));
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

/// A field after its opening quote, and what follows its closing one.
fn quoted_field<'a>(quoted: &'a str, text: &str) -> Result<(String, &'a str), String> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let Some(end) = rest.find('"') else {
            return Err(format!(
                "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                text.len() + 1
            ));
        };
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if rest.is_empty() || rest.starts_with(',') => return Ok((field, rest)),
            None => {
                return Err(format!(
                    "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                    text.len() - rest.len()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas_and_quotes() {
        assert_eq!(fields("a,b=c,,d").unwrap(), ["a", "b=c", "", "d"]);
        assert_eq!(fields("type=bind,\"src=/a,b\",\"x\"\"y\"").unwrap(), ["type=bind", "src=/a,b", "x\"y"]);
        assert!(fields("a,b\"c").unwrap_err().contains("bare \""));
        assert!(fields("\"a").is_err() && fields("\"a\"b").is_err());
    }
}
