//! What a build was made from, in the form that `docker buildx` shows and writes into metadata files (SLSA provenance
//! 0.2, as BuildKit fills it: `solver/llbsolver/provenance`). Pure.
//!
//! Never: holds a build argument's value, which may be a secret.

use super::proto::{Timestamp, control};
use serde_json::{Value, json};

/// What kind of statement it is.
pub(crate) const PREDICATE: &str = "https://slsa.dev/provenance/v0.2";
/// How blobs of statements are marked.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// The statement about a build that ended; `steps` are the names of its steps.
pub(crate) fn statement(record: &control::BuildHistoryRecord, platform: &str, steps: &[String]) -> Value {
    let attributes = &record.frontend_attrs;
    let get = |name: &str| attributes.get(name).filter(|value| !value.is_empty());
    let entry = get("filename").map_or("Dockerfile", String::as_str);
    let mut source = json!({ "entryPoint": entry });
    if let Some(context) = get("context") {
        source["uri"] = json!(context);
    }
    let mut parameters = json!({ "frontend": "dockerfile.v0" });
    let told = ["target", "platform", "no-cache", "force-network-mode"];
    let args: serde_json::Map<String, Value> =
        told.iter().filter_map(|name| Some(((*name).to_owned(), json!(get(name)?)))).collect();
    if !args.is_empty() {
        parameters["args"] = Value::Object(args);
    }
    if get("context").is_none() {
        parameters["locals"] = json!([{ "name": "context" }, { "name": "dockerfile" }]);
    }
    let mut materials: Vec<Value> = Vec::new();
    for step in steps {
        let Some(material) = step.split_once("] FROM ").and_then(|(_, image)| material(image, platform))
        else {
            continue;
        };
        if !materials.contains(&material) {
            materials.push(material);
        }
    }
    materials.sort_by_key(|material| material["uri"].to_string());
    json!({
        "builder": { "id": "" },
        "buildType": "https://mobyproject.org/buildkit@v1",
        "materials": materials,
        "invocation": {
            "configSource": source,
            "parameters": parameters,
            "environment": { "platform": platform },
        },
        "metadata": {
            "buildInvocationID": record.reference,
            "buildStartedOn": time(record.created_at),
            "buildFinishedOn": time(record.completed_at),
            "completeness": { "parameters": false, "environment": true, "materials": false },
            "reproducible": false,
        },
    })
}

fn time(time: Option<Timestamp>) -> String {
    let nanos = time.map_or(0, |t| t.seconds.saturating_mul(1_000_000_000).saturating_add(t.nanos.into()));
    minke_model::Timestamp::from_nanos(nanos).to_string()
}

/// `docker.io/library/box:1@sha256:…` as a package's address (purl), with its digest where it is known.
fn material(image: &str, platform: &str) -> Option<Value> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let reference = minke_engine::Reference::parse(name).ok()?;
    let tag = reference.tag().unwrap_or("latest");
    let familiar = reference.familiar_name();
    let platform = platform.replace('/', "%2F");
    let mut material = json!({ "uri": format!("pkg:docker/{familiar}@{tag}?platform={platform}") });
    if let Some(hex) = digest.and_then(|digest| digest.strip_prefix("sha256:")) {
        material["digest"] = json!({ "sha256": hex });
    }
    Some(material)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_bases_and_no_argument() {
        let attributes = [("build-arg:TOKEN", "secret"), ("target", "t")];
        let record = control::BuildHistoryRecord {
            frontend_attrs: attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..Default::default()
        };
        let digest = "a".repeat(64);
        let steps = [format!("[1/2] FROM docker.io/library/box:1@sha256:{digest}"), "[2/2] RUN x".to_owned()];
        let said = statement(&record, "linux/amd64", &steps);
        assert_eq!(said["materials"][0]["uri"], "pkg:docker/box@1?platform=linux%2Famd64");
        assert_eq!(said["materials"][0]["digest"]["sha256"], digest);
        assert_eq!(said["invocation"]["parameters"]["args"]["target"], "t");
        assert_eq!(said["invocation"]["configSource"]["entryPoint"], "Dockerfile");
        assert!(!said.to_string().contains("secret"));
    }
}
