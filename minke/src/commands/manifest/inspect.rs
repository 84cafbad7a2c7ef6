//! `manifest inspect`

use super::list::{List, indented};
use super::{Registries, parse};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use minke_image::registry::{RemotePlatform, remote::Remote};
use serde::Serialize;
use serde_json::Value;

/// `manifest inspect`
pub(crate) static COMMAND: Command = command!(InspectFlags, inspect, {
    name: "inspect",
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Show an image's manifest, or a list of them",
    arity: Arity::Range(1, 2),
});

flags! {
    /// Flags of `manifest inspect`.
    struct InspectFlags {
        insecure: bool ["insecure"], "Allow a registry without TLS";
        verbose: bool ["verbose" 'v'], "Show also what each is for";
    }
}

fn inspect(cli: &Cli, flags: InspectFlags, args: Vec<String>) -> Outcome {
    if let [list, image] = args.as_slice() {
        let (list, asked) = (List::of(cli, parse(list)?), parse(image)?);
        let part = list.parts()?.into_iter().find(|part| part.asked == asked.full());
        let part = part.ok_or_else(|| Failure::new(format!("No such manifest: {}", asked.full())))?;
        return show(&(indented(&part.descriptor(), "\t")? + "\n"));
    }
    let name = parse(&args[0])?;
    let list = List::of(cli, name.clone());
    if list.exists() {
        let (raw, _) = list.document()?;
        return show(&(reindented(&raw) + "\n"));
    }
    let registries = Registries::of(cli, &name, flags.insecure)?;
    let remote = registries.fetch(&name)?;
    if !flags.verbose {
        return show(&(reindented(&String::from_utf8_lossy(&remote.raw)) + "\n"));
    }
    let Some(entries) = &remote.list else {
        return show(&(indented(&Told::new(&remote, remote.platform.as_ref())?, "\t")? + "\n"));
    };
    let mut parts = Vec::new();
    for (digest, platform) in entries {
        parts.push((registries.fetch(&name.repository().with_digest(digest.clone()))?, platform));
    }
    let all = parts.iter().map(|(part, platform)| Told::new(part, Some(platform)));
    show(&(indented(&all.collect::<Result<Vec<_>, _>>()?, "\t")? + "\n"))
}

/// A manifest with what it is for, as docker tells it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    #[serde(rename = "Ref")]
    name: String,
    descriptor: Described<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_v2_manifest: Option<Value>,
    #[serde(rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
    oci_manifest: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    media_type: &'a str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<For<'a>>,
}

#[derive(Serialize)]
struct For<'a> {
    architecture: &'a str,
    os: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

impl<'a> Told<'a> {
    fn new(remote: &'a Remote, platform: Option<&'a RemotePlatform>) -> Result<Self, Failure> {
        let content: Value = serde_json::from_slice(&remote.raw)
            .map_err(|e| Failure::new(format!("cannot read the manifest: {e}")))?;
        let is_oci = remote.media_type.starts_with("application/vnd.oci.");
        let platform =
            platform.map(|p| For { architecture: &p.architecture, os: &p.os, variant: &p.variant });
        let (digest, size) = (remote.digest.to_string(), remote.raw.len());
        Ok(Self {
            name: remote.name.full(),
            descriptor: Described { media_type: &remote.media_type, digest, size, platform },
            schema_v2_manifest: (!is_oci).then(|| content.clone()),
            oci_manifest: is_oci.then_some(content),
        })
    }
}

/// JSON with tabs, in the order that it came in.
fn reindented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut chars = json.chars().filter(|c| quoted_or_visible(*c)).peekable();
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            (quoted, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n('\t', depth));
        };
        match c {
            ' ' => {}
            '"' => {
                out.push(c);
                quoted = true;
            }
            '{' | '[' => {
                out.push(c);
                while chars.peek() == Some(&' ') {
                    chars.next();
                }
                if !matches!(chars.peek(), Some('}' | ']')) {
                    depth += 1;
                    line(&mut out, depth);
                } else if let Some(end) = chars.next() {
                    out.push(end);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => out.push(other),
        }
    }
    out
}

/// JSON's text has no line ends or tabs inside of strings.
fn quoted_or_visible(c: char) -> bool {
    !matches!(c, '\n' | '\r' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_order_and_gets_dockers_form() {
        let json = r#"{"b": [1, {"x":"a, \"{b}\": \\"}],"a":{},"c":[ ] }"#;
        assert_eq!(
            reindented(json),
            "{\n\t\"b\": [\n\t\t1,\n\t\t{\n\t\t\t\"x\": \"a, \\\"{b}\\\": \\\\\"\n\t\t}\n\t],\n\t\"a\": {},\n\t\"c\": []\n}"
        );
    }
}
