//! The functions of templates: Go's own, and docker's `json split join title lower upper pad truncate`.

use super::exec::truth;
use super::print;
use super::value::Value;
use std::cmp::Ordering;

/// Why a call failed.
pub(crate) enum Wrong {
    /// Because of that argument.
    Argument(usize, String),
    /// The function itself says so.
    Call(String),
}

/// Each function with the least and most arguments that it takes.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("and", 1, usize::MAX),
    ("or", 1, usize::MAX),
    ("not", 1, 1),
    ("len", 1, 1),
    ("index", 1, usize::MAX),
    ("slice", 1, 4),
    ("print", 0, usize::MAX),
    ("println", 0, usize::MAX),
    ("printf", 1, usize::MAX),
    ("html", 0, usize::MAX),
    ("js", 0, usize::MAX),
    ("urlquery", 0, usize::MAX),
    ("call", 1, usize::MAX),
    ("eq", 1, usize::MAX),
    ("ne", 2, 2),
    ("lt", 2, 2),
    ("le", 2, 2),
    ("gt", 2, 2),
    ("ge", 2, 2),
    ("json", 1, 1),
    ("split", 2, 2),
    ("join", 2, 2),
    ("title", 1, 1),
    ("lower", 1, 1),
    ("upper", 1, 1),
    ("pad", 3, 3),
    ("truncate", 2, 2),
];

/// Whether a function of that name exists.
pub(crate) fn known(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Docker's column heads pass through these unchanged.
pub(crate) fn leaves_heads_alone(name: &str) -> bool {
    matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
}

/// Go's sentence when `count` arguments are too few or too many.
pub(crate) fn arity_complaint(name: &str, count: usize) -> Option<String> {
    let (_, least, most) = FUNCTIONS.iter().find(|(known, ..)| *known == name)?;
    if (*least..=*most).contains(&count) {
        return None;
    }
    let want = if *most == usize::MAX { format!("at least {least}") } else { most.to_string() };
    Some(format!("wrong number of args for {name}: want {want} got {count}"))
}

/// Calls a function. Arity was checked; `and` and `or` never come here.
pub(crate) fn call(name: &str, arguments: &[Value]) -> Result<Value, Wrong> {
    let text = |at: usize| match &arguments[at] {
        Value::Text(text) => Ok(text.as_str()),
        other => Err(Wrong::Argument(
            at,
            format!("wrong type for value; expected string; got {}", print::type_name(other)),
        )),
    };
    let number = |at: usize| match &arguments[at] {
        Value::Int(number) => Ok(usize::try_from(*number).unwrap_or(0)),
        other => Err(Wrong::Argument(
            at,
            format!("wrong type for value; expected int; got {}", print::type_name(other)),
        )),
    };
    Ok(match name {
        "not" => Value::Bool(!truth(&arguments[0])),
        "len" => Value::Int(length(&arguments[0])?),
        "index" => return index(&arguments[0], &arguments[1..]),
        "slice" => return slice(arguments),
        "print" => Value::Text(print::sprint(arguments)),
        "println" => Value::Text(arguments.iter().map(print::plain).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::Text(print::sprintf(text(0)?, &arguments[1..])),
        "html" => Value::Text(escape_html(&print::sprint(arguments))),
        "js" => Value::Text(
            print::sprint(arguments)
                .replace('\\', "\\\\")
                .replace('\'', "\\'")
                .replace('"', "\\\"")
                .replace('<', "\\u003C")
                .replace('>', "\\u003E")
                .replace('\n', "\\u000A"),
        ),
        "urlquery" => Value::Text(crate::client::http::encode(&print::sprint(arguments)).replace("%20", "+")),
        "call" => return Err(Wrong::Call("non-function of type interface {}".into())),
        "eq" => {
            if arguments.len() < 2 {
                return Err(Wrong::Call("missing argument for comparison".into()));
            }
            let mut same = false;
            for other in &arguments[1..] {
                same |= equal(&arguments[0], other)?;
            }
            Value::Bool(same)
        }
        "ne" => Value::Bool(!equal(&arguments[0], &arguments[1])?),
        "lt" => Value::Bool(order(&arguments[0], &arguments[1])? == Ordering::Less),
        "le" => Value::Bool(order(&arguments[0], &arguments[1])? != Ordering::Greater),
        "gt" => Value::Bool(order(&arguments[0], &arguments[1])? == Ordering::Greater),
        "ge" => Value::Bool(order(&arguments[0], &arguments[1])? != Ordering::Less),
        "json" => Value::Text(arguments[0].to_json(false)),
        "split" => Value::List(text(0)?.split(text(1)?).map(Value::from).collect()),
        "join" => match &arguments[0] {
            Value::List(_) | Value::NilList | Value::Null => {
                Value::Text(arguments[0].items().iter().map(print::plain).collect::<Vec<_>>().join(text(1)?))
            }
            other => {
                return Err(Wrong::Argument(
                    0,
                    format!("wrong type for value; expected []string; got {}", print::type_name(other)),
                ));
            }
        },
        "title" => Value::Text(title(text(0)?)),
        "lower" => Value::Text(text(0)?.to_lowercase()),
        "upper" => Value::Text(text(0)?.to_uppercase()),
        "pad" => match text(0)? {
            "" => Value::Text(String::new()),
            padded => Value::Text(format!("{}{padded}{}", " ".repeat(number(1)?), " ".repeat(number(2)?))),
        },
        "truncate" => {
            let (text, most) = (text(0)?, number(1)?);
            Value::Text(
                text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= most).map(|(_, c)| c).collect(),
            )
        }
        _ => return Err(Wrong::Call("unknown function".into())),
    })
}

fn length(value: &Value) -> Result<i64, Wrong> {
    Ok(match value {
        Value::Text(text) => text.len() as i64,
        Value::List(items) => items.len() as i64,
        Value::Map(entries) => entries.len() as i64,
        Value::NilList | Value::NilMap => 0,
        Value::Null | Value::Absent => return Err(Wrong::Call("len of nil pointer".into())),
        other => return Err(Wrong::Call(format!("len of type {}", print::type_name(other)))),
    })
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, Wrong> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(entries) | Value::Struct(entries), Value::Text(key)) => {
                entries.iter().find(|(known, _)| known == key).map_or_else(
                    // The zero of the map's type: of texts where the others are texts.
                    || {
                        if entries.iter().all(|(_, value)| matches!(value, Value::Text(_))) {
                            Value::Text(String::new())
                        } else {
                            Value::NilList
                        }
                    },
                    |(_, value)| value.clone(),
                )
            }
            (Value::NilMap, Value::Text(_)) => Value::Text(String::new()),
            (Value::List(items), Value::Int(at)) => {
                match usize::try_from(*at).ok().and_then(|at| items.get(at)) {
                    Some(item) => item.clone(),
                    None => return Err(Wrong::Call(format!("index out of range: {at}"))),
                }
            }
            (Value::NilList, Value::Int(at)) => return Err(Wrong::Call(format!("index out of range: {at}"))),
            (Value::Text(text), Value::Int(at)) => {
                match usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at)) {
                    Some(byte) => Value::Int(i64::from(*byte)),
                    None => return Err(Wrong::Call(format!("index out of range: {at}"))),
                }
            }
            (Value::List(_) | Value::NilList | Value::Text(_), other) => {
                return Err(Wrong::Call(format!(
                    "cannot index slice/array with type {}",
                    print::type_name(other)
                )));
            }
            (Value::Map(_) | Value::NilMap | Value::Struct(_), other) => {
                return Err(Wrong::Call(format!(
                    "value has type {}; should be string",
                    print::type_name(other)
                )));
            }
            (Value::Null | Value::Absent, _) => return Err(Wrong::Call("index of untyped nil".into())),
            (other, _) => {
                return Err(Wrong::Call(format!("can't index item of type {}", print::type_name(other))));
            }
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Result<Value, Wrong> {
    let length = length(&arguments[0])?;
    let bound = |at: usize, default: i64| match arguments.get(at) {
        None => Ok(default),
        Some(Value::Int(n)) if (0..=length).contains(n) => Ok(*n),
        Some(Value::Int(n)) => Err(Wrong::Call(format!("index out of range: {n}"))),
        Some(other) => {
            Err(Wrong::Call(format!("cannot index slice/array with type {}", print::type_name(other))))
        }
    };
    let (from, to) = (bound(1, 0)?, bound(2, length)?);
    if from > to {
        return Err(Wrong::Call(format!("invalid slice index: {from} > {to}")));
    }
    let range = from as usize..to as usize;
    Ok(match &arguments[0] {
        Value::Text(text) => Value::Text(String::from_utf8_lossy(&text.as_bytes()[range]).into_owned()),
        Value::List(items) => Value::List(items[range].to_vec()),
        other => return Err(Wrong::Call(format!("can't slice item of type {}", print::type_name(other)))),
    })
}

fn equal(a: &Value, b: &Value) -> Result<bool, Wrong> {
    match (a, b) {
        (Value::Null | Value::Absent | Value::NilList | Value::NilMap, _)
        | (_, Value::Null | Value::Absent | Value::NilList | Value::NilMap) => Ok(a.is_null() && b.is_null()),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        _ => order(a, b).map(|order| order == Ordering::Equal),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, Wrong> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.total_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::List(_) | Value::Map(_) | Value::Struct(_) | Value::Bool(_), _) => {
            Err(Wrong::Call("invalid type for comparison".into()))
        }
        _ => Err(Wrong::Call("incompatible types for comparison".into())),
    }
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Each word's first letter in upper case.
fn title(text: &str) -> String {
    let mut fresh = true;
    text.chars()
        .map(|c| {
            let shown = if fresh { c.to_uppercase().next().unwrap_or(c) } else { c };
            fresh = !(c.is_alphanumeric() || c == '_' || c == '\'');
            shown
        })
        .collect()
}
