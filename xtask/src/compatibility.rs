//! `docs/compatibility.md`: every endpoint of the Engine API, and what it answers here, from the router's own table.
//!
//! A route is supported unless its endpoint stands in [`LATER`] with a reason; a name in `LATER` that no route has is an
//! error, so that the list shrinks with the work.

use crate::workspace::Workspace;

const ROUTER: &str = "crates/api/src/router.rs";
const DOCUMENT: &str = "docs/compatibility.md";

/// Endpoints that answer with a reason only, by the router's names.
const LATER: &[(&str, &str)] = &[
    ("Build", "images are not built yet; `commit` and `import` make them"),
    ("BuildCancel", "images are not built yet"),
    ("Session", "BuildKit's session comes with building"),
    ("Grpc", "BuildKit's API comes with building"),
    ("ImagePush", "pushing comes with building"),
    ("ImageSearch", "no search on Docker Hub"),
    ("Distribution", "registries are asked by `pull` only"),
    ("ContainerCheckpoint", "no checkpoints: they need CRIU"),
    ("Plugin", "no plugins: lists are empty, names are unknown"),
    ("PluginChange", "no plugins"),
    ("SwarmJoin", "one machine only; clusters come later"),
    ("SwarmLeave", "this machine is in no swarm, and says so as dockerd does"),
    ("Swarm", "this machine is in no swarm, and says so as dockerd does"),
    ("SwarmLogs", "this machine is in no swarm, and says so as dockerd does"),
    ("VolumeUpdate", "cluster volumes come with clusters"),
];

struct Line<'a> {
    method: &'a str,
    path: &'a str,
    endpoint: &'a str,
}

/// The router's table: lines of the form `("GET", "/version", Version),`.
fn routes(router: &str) -> Vec<Line<'_>> {
    let table =
        router.split("const ROUTES").nth(1).and_then(|rest| rest.split("\n];").next()).unwrap_or_default();
    table.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Line<'_>> {
    let inside = line.trim().strip_prefix('(')?.split(')').next()?;
    let mut parts = inside.split(',').map(|part| part.trim().trim_matches('"'));
    Some(Line { method: parts.next()?, path: parts.next()?, endpoint: parts.next()? })
}

/// The document as the router says it.
fn draw(workspace: &Workspace) -> Result<String, String> {
    let router = workspace.file(ROUTER)?;
    let routes = routes(&router);
    if routes.is_empty() {
        return Err(format!("{ROUTER} holds no table `ROUTES` that can be read"));
    }
    if let Some((gone, _)) = LATER.iter().find(|(name, _)| !routes.iter().any(|r| r.endpoint == *name)) {
        return Err(format!(
            "xtask/src/compatibility.rs says that `{gone}` comes later, but no route has that name"
        ));
    }
    let reason = |r: &Line<'_>| LATER.iter().find(|(name, _)| *name == r.endpoint).map(|(_, why)| *why);
    let later = routes.iter().filter(|r| reason(r).is_some()).count();
    let mut text = format!(
        "<!-- Written by `cargo xtask compatibility` from {ROUTER}; held by `cargo xtask tidy`. -->\n\
         # Compatibility with the Docker Engine API\n\n\
         Versions 1.24 to 1.51 are negotiated as dockerd does. {} endpoints are supported, {later} answer with their reason.\n\n\
         | method | path | answer |\n|---|---|---|\n",
        routes.len() - later
    );
    for route in &routes {
        let answer = reason(route).map_or("supported".to_owned(), |why| format!("refused: {why}"));
        text += &format!("| {} | `{}` | {answer} |\n", route.method, route.path.replace("{}", "{name}"));
    }
    Ok(text)
}

/// `cargo xtask compatibility`.
pub(crate) fn write(workspace: &Workspace) -> Result<String, String> {
    workspace.write(DOCUMENT, &draw(workspace)?)
}

/// Rule: the document is what the router says.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    match draw(workspace) {
        Ok(text) if workspace.file(DOCUMENT).is_ok_and(|now| now == text) => Vec::new(),
        Ok(_) => vec![format!("{DOCUMENT}: not what the router says; run `cargo xtask compatibility`")],
        Err(why) => vec![why],
    }
}

#[cfg(test)]
mod tests {
    use super::routes;

    #[test]
    fn the_table_is_read_and_nothing_else() {
        let router = "enum E { A }\nconst ROUTES: &[X] = &[\n    (\"GET\", \"/a/{}\", A),\n    // note\n];\n(\"GET\", \"/b\", B)";
        let found = routes(router);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].method, found[0].path, found[0].endpoint), ("GET", "/a/{}", "A"));
    }
}
