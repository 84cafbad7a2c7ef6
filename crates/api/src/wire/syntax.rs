//! What is wrong with a text that is no JSON, in the words of Go's decoder: clients and test suites compare them.

/// Says what is wrong where `text` stops being JSON; `None` when its first value is whole. Never recurses.
pub(crate) fn fault(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.value().err()
}

/// What an open bracket waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

type Step<T> = Result<T, String>;

impl Scanner<'_> {
    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(|b| b" \t\r\n".contains(b)) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Step<u8> {
        let byte = self.text.get(self.at).copied().ok_or_else(|| "unexpected EOF".to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    fn value(&mut self) -> Step<()> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.space();
            let first = self.next()?;
            match first {
                b'{' => {
                    self.space();
                    if self.text.get(self.at) == Some(&b'}') {
                        self.at += 1;
                    } else {
                        open.push(Open::Object);
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.space();
                    if self.text.get(self.at) == Some(&b']') {
                        self.at += 1;
                    } else {
                        open.push(Open::Array);
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                b'-' | b'0'..=b'9' => self.number(first)?,
                other => return Err(bad(other, "looking for beginning of value")),
            }
            if self.after(&mut open)? {
                return Ok(());
            }
        }
    }

    /// What follows a value, up to the next one; `true` at the end.
    fn after(&mut self, open: &mut Vec<Open>) -> Step<bool> {
        while let Some(inner) = open.last().copied() {
            self.space();
            match (inner, self.next()?) {
                (Open::Object, b',') => {
                    self.space();
                    self.key()?;
                    return Ok(false);
                }
                (Open::Array, b',') => return Ok(false),
                (Open::Object, b'}') | (Open::Array, b']') => drop(open.pop()),
                (Open::Object, other) => return Err(bad(other, "after object key:value pair")),
                (Open::Array, other) => return Err(bad(other, "after array element")),
            }
        }
        Ok(true)
    }

    fn key(&mut self) -> Step<()> {
        match self.next()? {
            b'"' => self.string()?,
            other => return Err(bad(other, "looking for beginning of object key string")),
        }
        self.space();
        match self.next()? {
            b':' => Ok(()),
            other => Err(bad(other, "after object key")),
        }
    }

    /// The rest of a string.
    fn string(&mut self) -> Step<()> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.next()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(bad(digit, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    other => return Err(bad(other, "in string escape code")),
                },
                control if control < 0x20 => return Err(bad(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &str) -> Step<()> {
        for wanted in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != wanted {
                return Err(bad(byte, &format!("in literal {word} (expecting {})", quoted(wanted))));
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn digit(&mut self, context: &str) -> Step<u8> {
        let byte = self.next()?;
        if byte.is_ascii_digit() { Ok(byte) } else { Err(bad(byte, context)) }
    }

    /// The rest of a number.
    fn number(&mut self, first: u8) -> Step<()> {
        let leading = if first == b'-' { self.digit("in numeric literal")? } else { first };
        if leading != b'0' {
            self.digits();
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }
}

fn bad(byte: u8, context: &str) -> String {
    format!("invalid character {} {context}", quoted(byte))
}

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => r#"'"'"#.into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        b' '..=b'~' => format!("'{}'", char::from(byte)),
        0x7f.. => format!("'{}'", char::from(byte)),
        _ => format!("'\\x{byte:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_gos_decoder_tells_them() {
        for (text, want) in [
            ("{invalid json", "invalid character 'i' looking for beginning of object key string"),
            ("{\"a\": 1, }", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\": 1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("{\"a\": 1.x}", "invalid character 'x' after decimal point in numeric literal"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("<html>", "invalid character '<' looking for beginning of value"),
            ("{\"a\": [1, {", "unexpected EOF"),
        ] {
            assert_eq!(fault(text.as_bytes()).as_deref(), Some(want), "{text}");
        }
        for whole in ["{}", " [1, -0.5e+3, \"\\u00e9\", null, {\"a\": [], \"b\": true}] ", "7"] {
            assert_eq!(fault(whole.as_bytes()), None, "{whole}");
        }
    }
}
