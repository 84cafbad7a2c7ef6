//! Runs one build: finds its files, asks the daemon, says why where it fails.

use super::{
    context::{self, Context, Dockerfile},
    display::Display,
    layout,
    local::Here,
    session::{self, Ended},
    wish::{self, Wish},
};
use crate::{
    cli::{Cli, Failure},
    client::config_file::ConfigFile,
};
use minke_api::remote::{AskError, Excerpt};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// What a stream that is uploaded is called.
const UPLOADED: &str = "context";

/// What the daemon said of a build that is done.
#[derive(Debug)]
pub(crate) struct Built(BTreeMap<String, String>);

impl Built {
    /// The image's id; empty where no image was made.
    pub(crate) fn id(&self) -> &str {
        let keys = ["containerimage.config.digest", "containerimage.digest"];
        keys.iter().find_map(|key| self.0.get(*key)).map_or("", String::as_str)
    }

    /// All of it, as `--metadata-file` has it.
    pub(crate) fn metadata(&self) -> String {
        let value = |text: &String| serde_json::from_str(text).ok().filter(serde_json::Value::is_object);
        let all: serde_json::Map<String, serde_json::Value> = self
            .0
            .iter()
            .map(|(key, text)| (key.clone(), value(text).unwrap_or_else(|| text.clone().into())))
            .collect();
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }
}

/// Builds what is wished for.
pub(crate) fn run(cli: &Cli, wish: Wish, display: &Display) -> Result<Built, Failure> {
    let failed = |text: String| Failure::new(format!("ERROR: failed to build: {text}"));
    let mut ask = wish.ask().map_err(failed)?;
    let found = context::find(&wish).map_err(|failure| failed(failure.text))?;
    if let Some(detected) = &found.detected {
        eprintln!(
            "No Dockerfile: this is {}. Building with one written for it (--print shows it).",
            detected.language
        );
    }
    let mut directories = HashMap::new();
    let mut upload = None;
    match found.context {
        Context::Directory(root) => drop(directories.insert("context".to_owned(), root)),
        Context::Tar(stream) => {
            ask.attributes.insert("context".into(), format!("http://buildkit-session/{UPLOADED}"));
            upload = Some((UPLOADED.to_owned(), stream));
        }
        Context::Remote(url) => drop(ask.attributes.insert("context".into(), url)),
        // A directory with nothing in it but the Dockerfile, which is left out.
        Context::Empty => {}
    }
    ask.attributes.insert("filename".into(), found.file.clone());
    match &found.dockerfile {
        Dockerfile::Directory(directory) => {
            drop(directories.insert("dockerfile".to_owned(), directory.clone()))
        }
        Dockerfile::Made(made) => {
            directories.insert("dockerfile".to_owned(), made.path().to_owned());
            if ask.attributes.contains_key("context") {
                ask.attributes.insert("dockerfilekey".into(), "dockerfile".into());
            }
            let made = made.path().to_owned();
            if !ask.attributes.contains_key("context") {
                directories.entry("context".to_owned()).or_insert(made);
            }
        }
        Dockerfile::Context => {}
    }
    for text in &wish.contexts {
        let further = wish::further(text).map_err(failed)?;
        let key = format!("context:{}", further.name);
        match further.value.contains("://") || further.value.starts_with("git@") {
            true => drop(ask.attributes.insert(key, further.value)),
            false => {
                let root = PathBuf::from(&further.value);
                if !root.is_dir() {
                    return Err(failed(format!(
                        "failed to get build context {}: {} is no directory",
                        further.name, further.value
                    )));
                }
                ask.attributes.insert(key, format!("local:{}", further.name));
                directories.insert(further.name, root);
            }
        }
    }
    // The user's proxies, where nothing else is said, as docker's own command line sends them.
    for (name, value) in cli.config().proxies(&cli.host()?.to_string()) {
        ask.attributes.entry(format!("build-arg:{name}")).or_insert(value);
    }
    let secrets =
        wish.secrets.iter().map(|text| wish::secret(text)).collect::<Result<_, _>>().map_err(failed)?;
    let mut stores = Vec::new();
    let mut kept = Vec::new();
    ask.cache_from.retain_mut(|cache| cache.kind != "local" || layout::find(cache, &mut stores));
    for cache in ask.cache_to.iter().filter(|cache| cache.kind == "local") {
        let dest = cache
            .attributes
            .get("dest")
            .cloned()
            .ok_or_else(|| failed("dest is required for a local cache".into()))?;
        std::fs::create_dir_all(&dest).map_err(|error| failed(format!("{dest}: {error}")))?;
        let tag = cache.attributes.get("tag").cloned().unwrap_or_else(|| "latest".into());
        stores.push(dest.clone());
        kept.push((dest, tag));
    }
    let here = Here {
        stores,
        shared_key: directories.get("context").and_then(|root| root.canonicalize().ok()),
        directories,
        upload: Mutex::new(upload),
        secrets,
        agents: agents(&wish).map_err(failed)?,
        config: ConfigFile::load(cli.config().directory()).0,
        destinations: wish
            .all_outputs()
            .map_err(failed)?
            .into_iter()
            .map(|output| output.destination)
            .collect(),
    };
    let key = here.shared_key.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let done = session::build(cli, &key, ask, Arc::new(here), Arc::new(display.clone()));
    display.end();
    // Until here the Dockerfile's directory had to be there.
    drop(found.dockerfile);
    match done {
        Ok(said) => {
            if let Some(manifest) = said.get("cache.manifest") {
                for (dest, tag) in &kept {
                    layout::keep(dest, tag, manifest).map_err(|error| failed(format!("{dest}: {error}")))?;
                }
            }
            Ok(Built(said))
        }
        Err(Ended::Other(failure)) => Err(failure),
        Err(Ended::Interrupted) => {
            Err(Failure { code: 130, text: "ERROR: failed to build: the build was cancelled".into() })
        }
        Err(Ended::Build(error)) => {
            if let AskError::Refused { excerpt: Some(excerpt), .. } = &error {
                eprint!("{}", shown(excerpt));
            }
            Err(failed(match error {
                AskError::Refused { message, .. } => format!("failed to solve: {message}"),
                other => other.to_string(),
            }))
        }
    }
}

/// Sockets of agents: `default` is the one of the environment.
fn agents(wish: &Wish) -> Result<HashMap<String, PathBuf>, String> {
    let mut agents = HashMap::new();
    for text in &wish.ssh {
        let (name, path) = wish::agent(text);
        let path = match path {
            Some(path) => PathBuf::from(path),
            None => std::env::var_os("SSH_AUTH_SOCK")
                .map(PathBuf::from)
                .ok_or("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")?,
        };
        use std::os::unix::fs::FileTypeExt as _;
        let is_socket = std::fs::metadata(&path).is_ok_and(|meta| meta.file_type().is_socket());
        if !is_socket {
            return Err(format!(
                "{} is no socket of an ssh agent: keys are given to an agent first (ssh-add)",
                path.display()
            ));
        }
        agents.insert(name, path);
    }
    Ok(agents)
}

/// Lines of a Dockerfile as buildx shows where a build failed.
pub(super) fn shown(excerpt: &Excerpt) -> String {
    let lines: Vec<&str> = excerpt.text.split('\n').collect();
    let (first, last) = (excerpt.first as usize, excerpt.last.max(excerpt.first) as usize);
    if first == 0 || last > lines.len() {
        return String::new();
    }
    let (mut start, mut end) = (first, last);
    let most = if first == last { 4 } else { 2 };
    let mut padded = 0;
    while padded < most {
        if start > 1 {
            start -= 1;
            padded += 1;
        }
        if end != lines.len() {
            end += 1;
            padded += 1;
        }
        padded += 1;
    }
    let mut out = format!("{}:{first}\n--------------------\n", excerpt.file);
    for number in start..=end {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        out.push_str(&format!(" {number:3} | {mark} {}\n", lines[number - 1]));
    }
    out + "--------------------\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_around_are_shown() {
        let excerpt = Excerpt {
            file: "Dockerfile".into(),
            text: "FROM busybox\nRUN false\n".into(),
            first: 2,
            last: 2,
        };
        assert_eq!(
            shown(&excerpt),
            "Dockerfile:2\n--------------------\n   1 |     FROM busybox\n   2 | >>> RUN false\n   3 |     \n--------------------\n"
        );
    }

    #[test]
    fn metadata_is_json_with_objects_as_such() {
        let built = Built(BTreeMap::from([
            ("containerimage.config.digest".into(), "sha256:a".into()),
            ("containerimage.descriptor".into(), "{\"size\":1}".into()),
        ]));
        assert_eq!(built.id(), "sha256:a");
        let value: serde_json::Value = serde_json::from_str(&built.metadata()).unwrap();
        assert_eq!(value["containerimage.descriptor"]["size"], 1);
    }
}
