//! Small languages in strings: durations, sizes, booleans, shell words, patterns, paths. Pure.

use minke_model::go::{self, clean};

/// A duration in nanoseconds, as Go writes it, with days and weeks (xhit/go-str2duration): `1w2d3h4m5s6ms7us8ns`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1i128, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = match unit {
            "ns" => 1i128,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        total = total.checked_add(quantity(number, unit)?)?;
        rest = after;
    }
    i64::try_from(sign * total).ok()
}

/// A decimal number of `unit`s, cut to whole ones.
fn quantity(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.chars().take(18) {
        place /= 10;
        value += i128::from(digit.to_digit(10)?) * place;
    }
    Some(value)
}

/// A size with units of 1024: `64m`, `1.5GiB`, `100 kb` (docker/go-units `RAMInBytes`).
///
/// Fails with go-units' sentence.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let Some(at) = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' ')) else {
        return Err(format!("invalid size: '{text}'"));
    };
    let (number, suffix) =
        (text[..=at].strip_suffix(' ').unwrap_or(&text[..=at]), text[at + 1..].to_lowercase());
    let syntax = || format!("strconv.ParseFloat: parsing {}: invalid syntax", go::quote(number));
    let size: f64 = match number.parse() {
        Ok(size) if number.ends_with(|c: char| c.is_ascii_digit() || c == '.') => size,
        _ => return Err(syntax()),
    };
    if size < 0.0 {
        return Err(format!("invalid size: '{text}'"));
    }
    let power = match suffix.chars().next() {
        None => return Ok(size as i64),
        Some('b') if suffix.len() == 1 => return Ok(size as i64),
        Some(unit) => "kmgtp".find(unit).map(|power| power as i32 + 1),
    };
    match (power, suffix.get(1..)) {
        (Some(power), Some("" | "b" | "ib")) => Ok((size * 1024f64.powi(power)) as i64),
        _ => Err(format!("invalid suffix: '{suffix}'")),
    }
}

/// A boolean as YAML 1.1 and compose take it.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A line in words as a shell would (mattn/go-shellwords, which neither expands variables nor runs backticks): quotes
/// and backslashes; the line ends at a `;`, `&`, `|`, `<` or `>` outside of them.
pub(crate) fn shell_words(line: &str) -> Result<Vec<String>, &'static str> {
    const INVALID: &str = "invalid command line string";
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut escaped, mut single, mut double, mut back, mut dollar) = (false, false, false, false, false);
    // Whether there is a word, which may be empty.
    let mut got = false;
    for c in line.chars() {
        if escaped {
            word.push(match c {
                't' => '\t',
                'n' => '\n',
                other => other,
            });
            (escaped, got) = (false, true);
            continue;
        }
        match c {
            '\\' if single => word.push(c),
            '\\' => escaped = true,
            ' ' | '\t' | '\r' | '\n' if single || double || back || dollar => word.push(c),
            ' ' | '\t' | '\r' | '\n' => {
                if got {
                    words.push(std::mem::take(&mut word));
                    got = false;
                }
            }
            '"' if !single && !dollar => {
                got |= double;
                double = !double;
            }
            '\'' if !double && !dollar => {
                got |= single;
                single = !single;
            }
            '(' if !single && !double && !back => {
                if dollar || !word.ends_with('$') {
                    return Err(INVALID);
                }
                dollar = true;
                word.push(c);
            }
            ';' | '&' | '|' | '<' | '>' if !(single || double || back || dollar) => {
                // A digit before `>` belongs to the redirection.
                got &= !(c == '>' && word.starts_with(|c: char| c.is_ascii_digit()));
                break;
            }
            _ => {
                match c {
                    '`' if !single && !double && !dollar => back = !back,
                    ')' if !single && !double && !back => dollar = !dollar,
                    _ => {}
                }
                word.push(c);
                got = true;
            }
        }
    }
    if got {
        words.push(word);
    }
    match escaped || single || double || back || dollar {
        true => Err(INVALID),
        false => Ok(words),
    }
}

/// Go's `filepath.Match` without classes of characters: `*` and `?`.
pub(crate) fn path_match(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // `reached[i]`: whether the pattern so far matches the first i characters.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    let mut chars = pattern.iter();
    while let Some(c) = chars.next() {
        let mut next = vec![false; name.len() + 1];
        match c {
            '*' => {
                let mut any = false;
                for at in 0..=name.len() {
                    any |= reached[at];
                    next[at] = any;
                    any &= name.get(at) != Some(&'/');
                }
            }
            _ => {
                let literal = if *c == '\\' { chars.next() } else { Some(c) };
                for at in 0..name.len() {
                    let same = (*c == '?' && name[at] != '/') || literal == Some(&name[at]);
                    next[at + 1] = reached[at] && same;
                }
            }
        }
        reached = next;
    }
    reached[name.len()]
}

/// `path` against `base` (Go's `filepath.Join`), unless it is absolute.
pub(crate) fn against(base: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => clean(path),
        false if base.is_empty() => clean(path),
        false => clean(&format!("{base}/{path}")),
    }
}

/// The directory of a path (Go's `filepath.Dir`).
pub(crate) fn dir(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".to_owned(),
    }
}

/// The path of `path` from `base`, both absolute (Go's `filepath.Rel`).
pub(crate) fn relative(base: &str, path: &str) -> String {
    let (base, path) = (clean(base), clean(path));
    let parts =
        |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (base, path) = (parts(&base), parts(&path));
    let common = base.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), base.len() - common);
    let parts: Vec<String> = up.chain(path[common..].iter().cloned()).collect();
    match parts.is_empty() {
        true => ".".to_owned(),
        false => parts.join("/"),
    }
}

/// A project's name with only what is allowed in one.
pub fn normalize_name(name: &str) -> String {
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let name: String = name.to_lowercase().chars().filter(allowed).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}
