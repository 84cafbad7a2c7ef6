//! `--format`: Go templates over JSON, tables, and docker's shorthands.
//!
//! Never: I/O. Start at [`Template`]; listings (`ps`, `images`, …) go through [`listing::Listing`].

pub(crate) mod exec;
mod funcs;
mod lex;
pub(crate) mod listing;
mod parse;
pub(crate) mod print;
pub(crate) mod tabs;
pub(crate) mod value;

pub(crate) use exec::Data;
use value::Value;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template(parse::Template);

impl Template {
    /// Parses. The error is Go's sentence, `template: :1: …`.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        Self::named("", source)
    }

    /// Parses under a name that errors show.
    pub(crate) fn named(name: &'static str, source: &str) -> Result<Self, String> {
        parse::parse(name, source, &funcs::known).map(Self)
    }

    /// Carries it out over `data`.
    pub(crate) fn render(&self, data: &Data<'_>) -> Result<String, String> {
        exec::execute(&self.0, data)
    }

    /// Carries it out over a value of the API.
    pub(crate) fn render_value(&self, root: &Value) -> Result<String, String> {
        self.render(&Data { root, labels: &[], type_name: "", row: false, heads: false })
    }
}

/// The shorthand `json` written out.
pub(crate) fn expand(format: &str) -> &str {
    if format == "json" { "{{json .}}" } else { format }
}

#[cfg(test)]
mod tests;
