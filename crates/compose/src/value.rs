//! A tree of plain values, as it is printed. Pure.

use crate::project::Form;
use std::cmp::Ordering;

/// A value. Mappings keep the order in which they are printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond those.
    Large(u64),
    /// A number.
    Float(f64),
    /// A number of single precision, which prints shorter.
    Single(f32),
    /// Text.
    Text(String),
    /// A moment, as RFC 3339 writes it.
    Moment(String),
    /// A list.
    List(Vec<Value>),
    /// A mapping.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A mapping in the order in which Go prints a map: by bytes for JSON, "naturally" for YAML. What is in it stays
    /// as it is.
    pub(crate) fn sorted(self, form: Form) -> Self {
        match self {
            Value::Map(mut entries) => Value::Map(match form {
                Form::Json => {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                    entries
                }
                Form::Yaml => merge_sort(entries),
            }),
            other => other,
        }
    }

    /// With all mappings at all depths sorted. Go has no empty list in an untyped tree: it is null in JSON.
    pub(crate) fn sorted_deep(self, form: Form) -> Self {
        match self {
            Value::List(list) if list.is_empty() && form == Form::Json => Value::Null,
            Value::List(list) => Value::List(list.into_iter().map(|value| value.sorted_deep(form)).collect()),
            Value::Map(entries) => {
                let entries =
                    entries.into_iter().map(|(key, value)| (key, value.sorted_deep(form))).collect();
                Value::Map(entries).sorted(form)
            }
            other => other,
        }
    }

    /// As Go's `fmt.Sprint` prints it.
    pub(crate) fn sprint(&self) -> String {
        match self {
            Value::Null => "<nil>".to_owned(),
            Value::Bool(yes) => yes.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Large(n) => n.to_string(),
            Value::Float(x) => general(*x, format!("{x:e}")),
            Value::Single(x) => general(f64::from(*x), format!("{x:e}")),
            Value::Text(text) | Value::Moment(text) => text.clone(),
            Value::List(list) => {
                format!("[{}]", list.iter().map(Value::sprint).collect::<Vec<_>>().join(" "))
            }
            Value::Map(entries) => {
                let shown = entries.iter().map(|(key, value)| format!("{key}:{}", value.sprint()));
                format!("map[{}]", shown.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// Sorts as `yaml.v3` does. That order contradicts itself for some keys, which the standard library's sort may
/// refuse; this one only ends in some order.
fn merge_sort(mut entries: Vec<(String, Value)>) -> Vec<(String, Value)> {
    if entries.len() < 2 {
        return entries;
    }
    let right = entries.split_off(entries.len() / 2);
    let (mut left, mut right) =
        (merge_sort(entries).into_iter().peekable(), merge_sort(right).into_iter().peekable());
    let mut merged = Vec::new();
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if natural(&b.0, &a.0) == Ordering::Less { right.next() } else { left.next() };
        merged.extend(next);
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

/// How `yaml.v3` orders keys (`sorter.go`): numbers in them by their value, letters after everything else.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let less = |yes: bool| if yes { Ordering::Less } else { Ordering::Greater };
    let digit = |c: &char| c.is_numeric() && c.is_ascii_digit();
    let mut digits = false;
    for at in 0..a.len().min(b.len()) {
        if a[at] == b[at] {
            digits = digit(&a[at]);
            continue;
        }
        match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
            (true, true) => return less(a[at] < b[at]),
            (false, false) => {}
            (left, right) => return less(if digits { left } else { right }),
        }
        let (mut left, mut right) = (0i64, 0i64);
        if a[at] == '0' || b[at] == '0' {
            let before = a[..at].iter().rev().take_while(|c| digit(c));
            if before.into_iter().any(|c| *c != '0') {
                (left, right) = (1, 1);
            }
        }
        let number = |chars: &[char], start: i64| {
            let digits: Vec<&char> = chars.iter().take_while(|c| digit(c)).collect();
            let value = digits
                .iter()
                .fold(start, |n, c| n.wrapping_mul(10).wrapping_add(i64::from(c.to_digit(10).unwrap_or(0))));
            (value, digits.len())
        };
        let (left, right) = (number(&a[at..], left), number(&b[at..], right));
        return match left.cmp(&right) {
            Ordering::Equal => a[at].cmp(&b[at]),
            other => other,
        };
    }
    a.len().cmp(&b.len())
}

/// Digits and decimal exponent of Rust's shortest form.
fn digits(shortest: &str) -> (bool, String, i32) {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let negative = mantissa.starts_with('-');
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    (negative, digits, exponent.parse().unwrap_or(0))
}

/// Go's `strconv.FormatFloat(x, 'g', -1, …)`, from Rust's shortest digits.
pub(crate) fn general(x: f64, shortest: String) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "NaN".to_owned()
        } else if x > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    }
    let (negative, digits, exponent) = digits(&shortest);
    // For the shortest form the limit is 6, however many digits there are.
    match (-4..6).contains(&exponent) {
        true => fixed(negative, &digits, exponent),
        false => scientific(negative, &digits, exponent, 2),
    }
}

/// Go's `encoding/json` of a float.
pub(crate) fn json_float(x: f64, shortest: String) -> String {
    let (negative, digits, exponent) = digits(&shortest);
    match x == 0.0 || (1e-6..1e21).contains(&x.abs()) {
        true => fixed(negative, &digits, exponent),
        false => scientific(negative, &digits, exponent, 1),
    }
}

fn fixed(negative: bool, digits: &str, exponent: i32) -> String {
    let sign = if negative { "-" } else { "" };
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    match digits.len() <= whole {
        true => format!("{sign}{digits}{}", "0".repeat(whole - digits.len())),
        false => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
    }
}

fn scientific(negative: bool, digits: &str, exponent: i32, width: usize) -> String {
    let sign = if negative { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let mark = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{mark}{:0width$}", exponent.abs())
}
