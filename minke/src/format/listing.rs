//! Listings: rows under column heads, or each through a template of the user's.

use super::Template;
use super::exec::Data;
use super::tabs;
use super::value::Value;

/// One row: its fields by their Go names, sorted, and its labels.
#[derive(Default)]
pub(crate) struct Row {
    fields: Vec<(String, Value)>,
    /// What `.Label "name"` reads.
    pub(crate) labels: Vec<(String, String)>,
}

impl Row {
    /// A row of these fields.
    pub(crate) fn new<const N: usize>(fields: [(&str, Value); N]) -> Self {
        let mut fields: Vec<(String, Value)> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self { fields, labels: Vec::new() }
    }

    /// As a value, for a template over several listings.
    pub(crate) fn value(&self) -> Value {
        Value::Struct(self.fields.clone())
    }
}

/// What a kind of listing looks like.
pub(crate) struct Listing {
    /// Go's name of a row's type, for errors.
    pub(crate) type_name: &'static str,
    /// The heads of columns, by field.
    pub(crate) heads: &'static [(&'static str, &'static str)],
    /// The columns of the plain table.
    pub(crate) table: &'static str,
    /// A row with `--quiet`.
    pub(crate) quiet: &'static str,
    /// The format `raw`; empty where there is none.
    pub(crate) raw: &'static str,
}

/// Least width of a column and the space after each, in docker's tables.
const LEAST: usize = 10;
const PADDING: usize = 3;

impl Listing {
    /// The text of `rows` by `format` (empty: the table). The error is docker's sentence.
    pub(crate) fn render(&self, format: &str, quiet: bool, rows: &[Row]) -> Result<String, String> {
        let format = match format {
            "" | "table" if quiet => self.quiet,
            "" | "table" => self.table,
            "raw" if !self.raw.is_empty() => self.raw,
            "json" => "{{json .}}",
            other => other,
        };
        let (is_table, template) = match format.strip_prefix("table") {
            Some(columns) => (true, columns.trim()),
            None => (false, format),
        };
        let source = template.replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&source).map_err(|why| format!("failed to parse template: {why}"))?;
        let mut text = String::new();
        if is_table {
            let heads = Value::Map(
                self.heads.iter().map(|(name, head)| ((*name).to_owned(), Value::from(*head))).collect(),
            );
            let data = Data { root: &heads, labels: &[], type_name: self.type_name, row: true, heads: true };
            // A head that cannot be made leaves its line empty, as docker does; the rows tell the error.
            text.push_str(&template.render(&data).unwrap_or_default());
            text.push('\n');
        }
        for row in rows {
            let root = Value::Struct(row.fields.clone());
            let data =
                Data { root: &root, labels: &row.labels, type_name: self.type_name, row: true, heads: false };
            text.push_str(
                &template.render(&data).map_err(|why| format!("failed to execute template: {why}"))?,
            );
            text.push('\n');
        }
        Ok(if is_table { tabs::align(&text, LEAST, PADDING) } else { text })
    }
}
