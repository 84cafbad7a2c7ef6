//! `manifest inspect`

use super::list::List;
use super::{Registries, parse};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use minke_image::registry::{RemotePlatform, remote::Remote};
use serde_json::{Value, json};

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
        return print(&part.descriptor());
    }
    let name = parse(&args[0])?;
    let list = List::of(cli, name.clone());
    if list.exists() {
        let (raw, _) = list.document()?;
        return print(&read(raw.as_bytes())?);
    }
    let registries = Registries::of(cli, &name, flags.insecure)?;
    let remote = registries.fetch(&name)?;
    if !flags.verbose {
        return print(&read(&remote.raw)?);
    }
    let Some(entries) = &remote.list else { return print(&told(&remote, remote.platform.as_ref())?) };
    let mut all = Vec::new();
    for (digest, platform) in entries {
        let part = registries.fetch(&name.repository().with_digest(digest.clone()))?;
        all.push(told(&part, Some(platform))?);
    }
    print(&Value::Array(all))
}

/// A manifest with what it is for.
fn told(remote: &Remote, platform: Option<&RemotePlatform>) -> Result<Value, Failure> {
    let mut descriptor = json!({
        "mediaType": remote.media_type, "digest": remote.digest, "size": remote.raw.len(),
    });
    if let Some(platform) = platform {
        descriptor["platform"] = json!({ "architecture": platform.architecture, "os": platform.os });
        if !platform.variant.is_empty() {
            descriptor["platform"]["variant"] = json!(platform.variant);
        }
    }
    let field = if remote.media_type.starts_with("application/vnd.oci.") { "OCIManifest" } else { "SchemaV2Manifest" };
    let mut told = json!({ "Ref": remote.name.full(), "Descriptor": descriptor });
    told[field] = read(&remote.raw)?;
    Ok(told)
}

fn read(raw: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(raw).map_err(|e| Failure::new(format!("cannot read the manifest: {e}")))
}

/// As docker indents here.
fn print(value: &Value) -> Outcome {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut serializer).map_err(|e| Failure::new(e.to_string()))?;
    show(&format!("{}\n", String::from_utf8_lossy(&out)))
}
