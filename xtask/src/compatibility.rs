//! `docs/compatibility.md`: every endpoint of the Engine API, and what it answers here, from the API's own code.
//!
//! The router's table says which there are, the dispatcher which of them lead to the file of those that are refused. Each of
//! these has its reason in [`REASONS`]; a reason for one that is supported is an error, so that the list shrinks with the work.

use crate::workspace::Workspace;

const ROUTER: &str = "crates/api/src/router.rs";
const DISPATCHER: &str = "crates/api/src/routes/mod.rs";
/// Where the dispatcher sends what is not supported.
const ELSEWHERE: &str = "=> elsewhere::handle";
const DOCUMENT: &str = "docs/compatibility.md";

/// What endpoints answer that are not supported, by the router's names.
const REASONS: &[(&str, &str)] = &[
    ("ContainerCheckpoint", "refused: no checkpoints, they need CRIU"),
    ("PluginList", "an empty list: no plugins"),
    ("Plugin", "not found: no plugins"),
    ("PluginChange", "refused: no plugins"),
    ("VolumeUpdate", "refused: no cluster volumes"),
];

/// Refused by the file of their noun, as dockerd refuses them outside of a swarm.
const REFUSED_AT_HOME: &[&str] = &["VolumeUpdate"];

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

/// The endpoints that the dispatcher sends elsewhere: the names in the arm `E::A | E::B => elsewhere::handle…`.
fn elsewhere(dispatcher: &str) -> Vec<&str> {
    let before = dispatcher
        .split(ELSEWHERE)
        .next()
        .filter(|before| before.len() < dispatcher.len())
        .unwrap_or_default();
    // The arm begins after the one before it.
    let arm = before.rsplit("=>").next().unwrap_or_default();
    let names = arm.split(|c: char| !c.is_alphanumeric() && c != ':' && c != '_');
    names.filter_map(|name| name.strip_prefix("E::")).collect()
}

/// The document as the API says it.
fn draw(workspace: &Workspace) -> Result<String, String> {
    let (router, dispatcher) = (workspace.file(ROUTER)?, workspace.file(DISPATCHER)?);
    let (routes, elsewhere) = (routes(&router), elsewhere(&dispatcher));
    if routes.is_empty() || elsewhere.is_empty() {
        return Err(format!("{ROUTER} and {DISPATCHER} are not as xtask/src/compatibility.rs reads them"));
    }
    let reason = |endpoint: &str| REASONS.iter().find(|(name, _)| *name == endpoint).map(|(_, why)| *why);
    if let Some(silent) = elsewhere.iter().find(|name| reason(name).is_none()) {
        return Err(format!("xtask/src/compatibility.rs: `{silent}` is refused, but no reason is given"));
    }
    let refused = |name: &&str| elsewhere.contains(name) || REFUSED_AT_HOME.contains(name);
    if let Some((gone, _)) = REASONS.iter().find(|(name, _)| !refused(name)) {
        return Err(format!("xtask/src/compatibility.rs: a reason for `{gone}`, but it is supported"));
    }
    let later = routes.iter().filter(|r| reason(r.endpoint).is_some()).count();
    let mut text = format!(
        "<!-- Written by `cargo xtask compatibility` from {ROUTER} and {DISPATCHER}; held by `cargo xtask tidy`. -->\n\
         # Compatibility with the Docker Engine API\n\n\
         Versions 1.24 to 1.51 are negotiated as dockerd does. {} endpoints are supported, {later} answer with their reason.\n\n\
         | method | path | answer |\n|---|---|---|\n",
        routes.len() - later
    );
    for route in &routes {
        let answer = reason(route.endpoint).unwrap_or("supported");
        text += &format!("| {} | `{}` | {answer} |\n", route.method, route.path.replace("{}", "{name}"));
    }
    Ok(text)
}

/// `cargo xtask compatibility`.
pub(crate) fn write(workspace: &Workspace) -> Result<String, String> {
    workspace.write(DOCUMENT, &draw(workspace)?)
}

/// Rule: the document is what the API says.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    match draw(workspace) {
        Ok(text) if workspace.file(DOCUMENT).is_ok_and(|now| now == text) => Vec::new(),
        Ok(_) => vec![format!("{DOCUMENT}: not what the API says; run `cargo xtask compatibility`")],
        Err(why) => vec![why],
    }
}

#[cfg(test)]
mod tests {
    use super::{elsewhere, routes};

    #[test]
    fn the_table_is_read_and_nothing_else() {
        let router = "enum E { A }\nconst ROUTES: &[X] = &[\n    (\"GET\", \"/a/{}\", A),\n    // note\n];\n(\"GET\", \"/b\", B)";
        let found = routes(router);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].method, found[0].path, found[0].endpoint), ("GET", "/a/{}", "A"));
    }

    #[test]
    fn the_arm_of_what_is_refused_is_read_and_no_other() {
        let dispatcher = "match e {\n E::A | E::B => a::handle(ask),\n E::C\n | E::D => elsewhere::handle(ask),\n E::F => f(),\n}";
        assert_eq!(elsewhere(dispatcher), ["C", "D"]);
        assert_eq!(elsewhere("nothing"), Vec::<&str>::new());
    }
}
