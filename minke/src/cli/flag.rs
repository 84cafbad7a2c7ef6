//! Flags as Docker's fingers know them: their values, and the macro that declares a command's set.
//!
//! The rules are those of the GNU-like parser that docker's command line is built on: `--rm=false`,
//! `-p=80:80`, `-itd`, `-e A=1`, `--`. One declaration serves parser, help, completion and man page.

use minke_model::go::{self, quote};

/// What parser, help and completion know of one flag.
#[derive(Clone, Copy)]
pub(crate) struct Flag {
    /// The long name, without dashes.
    pub(crate) name: &'static str,
    /// The one-letter name.
    pub(crate) short: Option<char>,
    /// The word for its value in the help; empty for a switch.
    pub(crate) word: &'static str,
    /// Whether it may stand without a value (and then means `true`).
    pub(crate) bare: bool,
    /// Whether the help quotes its default.
    pub(crate) quoted: bool,
    /// Its default as the help shows it.
    pub(crate) default: Option<&'static str>,
    /// What it does. Empty: it is accepted and not shown.
    pub(crate) help: &'static str,
    /// What to use instead of a flag that goes away.
    pub(crate) deprecated: Option<&'static str>,
}

/// A type that a flag's text becomes.
pub(crate) trait Value: Default {
    /// The word for it in the help.
    const WORD: &'static str;
    /// Whether the flag may stand alone.
    const BARE: bool = false;
    /// Whether the help quotes a default of this type.
    const QUOTED: bool = false;
    /// Takes in one occurrence. The error is the last part of `invalid argument "x" for "--f" flag: …`.
    fn set(&mut self, text: &str) -> Result<(), String>;
}

/// A command's set of flags: a struct with one field a flag.
pub(crate) trait Flags: Default {
    /// Its declarations, in the order of the struct.
    const FLAGS: &'static [Flag];
    /// Hands one occurrence to the field of that flag.
    fn set(&mut self, name: &str, text: &str) -> Result<(), String>;
}

/// Two sets as one, for commands that share most of theirs.
pub(crate) const fn joined<const N: usize>(first: &[Flag], second: &[Flag]) -> [Flag; N] {
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

/// Declares a struct of flags: `field: Type ["long" 's'] = "default" "what it does";`.
macro_rules! flags {
    ($(#[$doc:meta])* struct $name:ident {
        $( $field:ident : $type:ty [ $long:literal $($short:literal)? ] $(= $default:literal)? , $help:literal $(, $gone:literal)? ; )*
    }) => {
        $(#[$doc])*
        pub(crate) struct $name { $( pub(crate) $field: $type, )* }

        impl Default for $name {
            fn default() -> Self {
                #[allow(unused_mut, reason = "a set without defaults changes nothing")]
                let mut flags = Self { $( $field: <$type as Default>::default(), )* };
                $( $(
                    // A default of our own is always well formed; a test parses every one of them.
                    let _ = $crate::cli::flag::Value::set(&mut flags.$field, $default);
                )? )*
                flags
            }
        }

        impl $crate::cli::flag::Flags for $name {
            const FLAGS: &'static [$crate::cli::flag::Flag] = &[ $(
                $crate::cli::flag::Flag {
                    name: $long,
                    short: $crate::cli::flag::flags!(@maybe $($short)?),
                    word: <$type as $crate::cli::flag::Value>::WORD,
                    bare: <$type as $crate::cli::flag::Value>::BARE,
                    quoted: <$type as $crate::cli::flag::Value>::QUOTED,
                    default: $crate::cli::flag::flags!(@maybe $($default)?),
                    help: $help,
                    deprecated: $crate::cli::flag::flags!(@maybe $($gone)?),
                },
            )* ];
            fn set(&mut self, name: &str, _text: &str) -> Result<(), String> {
                match name {
                    $( $long => $crate::cli::flag::Value::set(&mut self.$field, _text), )*
                    _ => Ok(()),
                }
            }
        }
    };
    (@maybe) => { None };
    (@maybe $value:literal) => { Some($value) };
}
pub(crate) use flags;

flags! {
    /// A command without flags.
    struct NoFlags {}
}

/// A switch; the error is Go's sentence.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    go::parse_bool(text)
        .ok_or_else(|| format!("strconv.ParseBool: parsing {}: invalid syntax", go::quote(text)))
}

impl Value for bool {
    const WORD: &'static str = "";
    const BARE: bool = true;
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = parse_bool(text)?;
        Ok(())
    }
}

/// A switch that tells "not given" from "given as false".
impl Value for Option<bool> {
    const WORD: &'static str = "";
    const BARE: bool = true;
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = Some(parse_bool(text)?);
        Ok(())
    }
}

impl Value for String {
    const WORD: &'static str = "string";
    const QUOTED: bool = true;
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = text.to_owned();
        Ok(())
    }
}

/// A text that tells "not given" from "given empty".
impl Value for Option<String> {
    const WORD: &'static str = "string";
    const QUOTED: bool = true;
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = Some(text.to_owned());
        Ok(())
    }
}

/// A list: each occurrence is one entry, commas included.
impl Value for Vec<String> {
    const WORD: &'static str = "list";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.push(text.to_owned());
        Ok(())
    }
}

/// A list whose occurrences may each hold several entries with commas between.
#[derive(Default)]
pub(crate) struct Commas(pub(crate) Vec<String>);

impl Value for Commas {
    const WORD: &'static str = "strings";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0.extend(go::csv_fields(text)?);
        Ok(())
    }
}

/// A list of `key=value`, the later one wins.
#[derive(Default)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl Value for Pairs {
    const WORD: &'static str = "map";
    fn set(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value.to_owned(),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }
}

impl Pairs {
    /// As a JSON object.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Object(
            self.0.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect(),
        )
    }
}

/// Go's `strconv.ParseInt` with base 0.
pub(crate) fn parse_int(text: &str, bits: u32) -> Result<i64, String> {
    let wrong = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", quote(text));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = parse_digits(digits).ok_or_else(|| wrong("invalid syntax"))?;
    let value = value.map(|value| if negative { -(value as i128) } else { value as i128 });
    let limit = 1i128 << (bits - 1);
    match value {
        Some(value) if value < limit && value >= -limit => Ok(value as i64),
        _ => Err(wrong("value out of range")),
    }
}

/// Go's `strconv.ParseUint` with base 0.
pub(crate) fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let wrong = |why: &str| format!("strconv.ParseUint: parsing {}: {why}", quote(text));
    match parse_digits(text).ok_or_else(|| wrong("invalid syntax"))? {
        Some(value) if bits == 64 || value < 1 << bits => Ok(value),
        _ => Err(wrong("value out of range")),
    }
}

/// Digits with Go's prefixes. `None`: not a number; `Some(None)`: too large.
fn parse_digits(digits: &str) -> Option<Option<u64>> {
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    Some(u64::from_str_radix(digits, base).ok())
}

impl Value for i64 {
    const WORD: &'static str = "int";
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = parse_int(text, 64)?;
        Ok(())
    }
}

/// A number that tells "not given" from zero.
impl Value for Option<i64> {
    const WORD: &'static str = "int";
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = Some(parse_int(text, 64)?);
        Ok(())
    }
}

impl Value for u64 {
    const WORD: &'static str = "uint";
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = parse_uint(text, 64)?;
        Ok(())
    }
}

impl Value for u16 {
    const WORD: &'static str = "uint16";
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = parse_uint(text, 16)? as u16;
        Ok(())
    }
}

/// A span of time, written as Go writes it (`1m30s`).
#[derive(Default)]
pub(crate) struct Span(pub(crate) Option<i64>);

impl Value for Span {
    const WORD: &'static str = "duration";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = Some(go::parse_duration(text)?);
        Ok(())
    }
}

/// A number of bytes, written with or without a unit (`64m`, `1.5g`).
#[derive(Default)]
pub(crate) struct Bytes(pub(crate) i64);

impl Value for Bytes {
    const WORD: &'static str = "bytes";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = crate::human::parse_ram(text)?;
        Ok(())
    }
}

/// Bytes where `-1` means "without a limit".
#[derive(Default)]
pub(crate) struct SwapBytes(pub(crate) i64);

impl Value for SwapBytes {
    const WORD: &'static str = "bytes";
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = if text == "-1" { -1 } else { crate::human::parse_ram(text)? };
        Ok(())
    }
}

/// `--filter name=value`.
#[derive(Default)]
pub(crate) struct Filters(pub(crate) Vec<(String, String)>);

impl Value for Filters {
    const WORD: &'static str = "filter";
    fn set(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let Some((name, value)) = text.split_once('=') else {
            return Err("bad format of filter (expected name=value)".into());
        };
        self.0.push((name.trim().to_lowercase(), value.trim().to_owned()));
        Ok(())
    }
}

impl Filters {
    /// The value of the query parameter `filters`; `None` without any.
    pub(crate) fn to_query(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut filters: std::collections::BTreeMap<&str, std::collections::BTreeMap<&str, bool>> =
            Default::default();
        for (name, value) in &self.0 {
            filters.entry(name).or_default().insert(value, true);
        }
        serde_json::to_string(&filters).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        assert_eq!(parse_int("-1", 64), Ok(-1));
        assert_eq!(parse_int("0x10", 64), Ok(16));
        assert_eq!(parse_int("010", 64), Ok(8));
        assert_eq!(parse_int("x", 64).unwrap_err(), "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert_eq!(
            parse_uint("70000", 16).unwrap_err(),
            "strconv.ParseUint: parsing \"70000\": value out of range"
        );
    }

    #[test]
    fn filters_of_one_name_are_joined() {
        let mut filters = Filters::default();
        for text in ["label=a", "Label = b", "status=x"] {
            filters.set(text).unwrap();
        }
        assert_eq!(filters.to_query().unwrap(), r#"{"label":{"a":true,"b":true},"status":{"x":true}}"#);
        assert!(filters.set("foo").is_err());
    }
}
