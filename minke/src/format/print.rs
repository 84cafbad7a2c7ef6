//! How Go prints values: `%v` and the verbs of `printf`.

use super::value::Value;

/// Fields that a Go struct always prints and JSON may leave out, told by two of them.
const SHAPES: &[(&[&str], &[&str])] = &[
    (
        &["Destination", "RW"],
        &["Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"],
    ),
    (
        &["Running", "OOMKilled"],
        &[
            "Status",
            "Running",
            "Paused",
            "Restarting",
            "OOMKilled",
            "Dead",
            "Pid",
            "ExitCode",
            "Error",
            "StartedAt",
            "FinishedAt",
            "Health",
        ],
    ),
];

/// Prints as `%v`.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Absent => "<no value>".into(),
        Value::NilList => "[]".into(),
        Value::NilMap => "map[]".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float(*value),
        Value::Text(text) => text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            format!(
                "map[{}]",
                entries
                    .iter()
                    .map(|(key, value)| format!("{key}:{}", plain(value)))
                    .collect::<Vec<_>>()
                    .join(" ")
            )
        }
        Value::Struct(fields) => {
            let has = |name: &&str| fields.iter().any(|(known, _)| known == name);
            let shown: Vec<String> = match SHAPES.iter().find(|(marks, _)| marks.iter().all(has)) {
                Some((_, shape)) => shape
                    .iter()
                    .map(|name| match fields.iter().find(|(known, _)| known == name) {
                        Some((_, value)) => plain(value),
                        None if *name == "Health" => "<nil>".into(),
                        None => String::new(),
                    })
                    .collect(),
                None => fields.iter().map(|(_, value)| plain(value)).collect(),
            };
            format!("{{{}}}", shown.join(" "))
        }
    }
}

/// A float as `%v` prints it.
pub(crate) fn float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    value.to_string()
}

/// Go's `Sprint`: spaces between operands when neither is a text.
pub(crate) fn sprint(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !matches!(value, Value::Text(_)) && !matches!(values[at - 1], Value::Text(_)) {
            text.push(' ');
        }
        text.push_str(&plain(value));
    }
    text
}

/// Go's `Sprintf`.
pub(crate) fn sprintf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values_left = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "+-# 0".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                _ => spec.space = true,
            }
        }
        spec.width = digits(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        match values_left.next() {
            Some(value) => out.push_str(&spec.apply(verb, value)),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
        }
    }
    let extra: Vec<String> =
        values_left.map(|value| format!("{}={}", type_name(value), plain(value))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// Widths above this are a mistake, not a wish.
const WIDTH_LIMIT: usize = 10_000;

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        number = Some((number.unwrap_or(0) * 10 + digit as usize - '0' as usize).min(WIDTH_LIMIT));
    }
    number
}

#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Spec {
    fn apply(&self, verb: char, value: &Value) -> String {
        let sign = |negative: bool| {
            if negative {
                "-"
            } else if self.plus {
                "+"
            } else if self.space {
                " "
            } else {
                ""
            }
        };
        let text = match (verb, value) {
            ('d', Value::Int(n)) => format!("{}{}", sign(*n < 0), n.unsigned_abs()),
            ('x', Value::Int(n)) => {
                format!("{}{}{:x}", sign(*n < 0), if self.sharp { "0x" } else { "" }, n.unsigned_abs())
            }
            ('X', Value::Int(n)) => format!("{}{:X}", sign(*n < 0), n.unsigned_abs()),
            ('o', Value::Int(n)) => format!("{}{:o}", sign(*n < 0), n.unsigned_abs()),
            ('b', Value::Int(n)) => format!("{}{:b}", sign(*n < 0), n.unsigned_abs()),
            ('c', Value::Int(n)) => char::from_u32(*n as u32).unwrap_or('\u{fffd}').to_string(),
            ('f' | 'F', Value::Float(n)) => {
                format!("{}{:.*}", sign(*n < 0.0), self.precision.unwrap_or(6), n.abs())
            }
            ('g', Value::Float(n)) => float(*n),
            ('t', Value::Bool(value)) => value.to_string(),
            ('s' | 'v', _) => match (self.precision, plain(value)) {
                (Some(most), text) if verb == 's' => text.chars().take(most).collect(),
                (_, text) => text,
            },
            ('q', Value::Text(text)) => minke_model::go::quote(text),
            ('q', Value::List(items)) => {
                format!("[{}]", items.iter().map(|item| self.apply('q', item)).collect::<Vec<_>>().join(" "))
            }
            ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('T', _) => type_name(value).into(),
            _ => format!("%!{verb}({}={})", type_name(value), plain(value)),
        };
        let width = self.width.unwrap_or(0);
        let fill = width.saturating_sub(text.chars().count());
        if self.left {
            return text + &" ".repeat(fill);
        }
        if self.zero && matches!(value, Value::Int(_) | Value::Float(_)) {
            let digits = text.trim_start_matches(['-', '+', ' ']);
            let sign = &text[..text.len() - digits.len()];
            return format!("{sign}{}{digits}", "0".repeat(fill));
        }
        " ".repeat(fill) + &text
    }
}

/// Go's name of a value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null | Value::Absent => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float64",
        Value::Text(_) => "string",
        Value::List(_) | Value::NilList => "[]interface {}",
        Value::Map(_) | Value::NilMap | Value::Struct(_) => "map[string]interface {}",
    }
}
