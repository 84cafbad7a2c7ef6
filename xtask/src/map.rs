//! The map in `ARCHITECTURE.md`: which room may use which, drawn from the manifests.
//!
//! The picture itself, what *may* be, is [`PICTURE`]: a new arrow is a change to it, visible in review.

use crate::workspace::Workspace;
use std::collections::BTreeMap;

/// Each room, and the rooms of ours that it may use. `minke` wires everything, `xtask` uses nothing.
pub(crate) const PICTURE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("linux", &[]),
    ("store", &["model"]),
    ("shim", &["linux"]),
    ("image", &["model", "linux"]),
    ("network", &["model", "linux"]),
    ("runtime", &["model", "linux", "shim"]),
    ("compose", &["model"]),
    ("cluster", &["model", "store"]),
    ("build", &["model", "image", "runtime"]),
    ("engine", &["model", "linux", "store", "image", "runtime", "network", "build"]),
    ("api", &["model", "engine", "cluster"]),
    (
        "minke",
        &[
            "model", "linux", "store", "image", "shim", "runtime", "network", "build", "compose", "cluster",
            "engine", "api",
        ],
    ),
    ("sim", &["model", "store", "cluster"]),
    ("xtask", &[]),
];

const DOCUMENT: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- map: written by `cargo xtask map`, held by `cargo xtask tidy` -->\n";
const END: &str = "<!-- end of map -->";

/// How far a room stands above the ground: one more than the highest it uses.
fn levels(workspace: &Workspace) -> BTreeMap<&str, usize> {
    let mut levels: BTreeMap<&str, usize> = workspace.crates.keys().map(|name| (name.as_str(), 0)).collect();
    // As many rounds as rooms: a circle (which cargo refuses anyhow) ends, too.
    for _ in 0..workspace.crates.len() {
        for (name, room) in &workspace.crates {
            let above = room
                .uses(false)
                .iter()
                .filter_map(|used| levels.get(used.as_str()))
                .max()
                .map_or(0, |l| l + 1);
            levels.insert(name, above);
        }
    }
    levels
}

/// The map as the manifests say it.
pub(crate) fn draw(workspace: &Workspace) -> String {
    let levels = levels(workspace);
    let mut rooms: Vec<(usize, &str)> = levels.iter().map(|(name, level)| (*level, *name)).collect();
    rooms.sort();
    let mut map = String::from("| level | room | what it is for | uses |\n|---|---|---|---|\n");
    let mut arrows = 0;
    for (level, name) in rooms {
        let room = &workspace.crates[name];
        let uses = room.uses(false);
        arrows += uses.len();
        let uses = if uses.is_empty() { "nothing of ours".to_owned() } else { uses.join(", ") };
        map += &format!(
            "| {level} | `{}` | {} | {uses} |\n",
            room.dir.display(),
            room.purpose().replace('|', "\\|")
        );
    }
    let depth = levels.values().max().map_or(0, |deepest| deepest + 1);
    map + &format!("\n{} rooms, {arrows} arrows, depth {depth}.\n", workspace.crates.len())
}

/// The document with its map redrawn.
fn redrawn(workspace: &Workspace) -> Result<String, String> {
    let text = workspace.file(DOCUMENT)?;
    let missing = || format!("{DOCUMENT} has no place for the map: {} … {END}", BEGIN.trim());
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", draw(workspace)))
}

/// `cargo xtask map`.
pub(crate) fn write(workspace: &Workspace) -> Result<String, String> {
    workspace.write(DOCUMENT, &redrawn(workspace)?)
}

/// Rule: the map is what the manifests say, and the manifests are within the picture.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, room) in &workspace.crates {
        let Some((_, allowed)) = PICTURE.iter().find(|(room, _)| room == name) else {
            broken.push(format!("{}: a room that xtask/src/map.rs does not know", room.dir.display()));
            continue;
        };
        for used in room.uses(true).iter().filter(|used| !allowed.contains(&used.as_str())) {
            broken.push(format!(
                "{}: an arrow to `{used}`, which is not in the picture (xtask/src/map.rs)",
                room.dir.display()
            ));
        }
    }
    match redrawn(workspace) {
        Ok(text) if workspace.file(DOCUMENT).is_ok_and(|now| now == text) => {}
        Ok(_) => {
            broken.push(format!("{DOCUMENT}: its map is not what the manifests say; run `cargo xtask map`"))
        }
        Err(why) => broken.push(why),
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::PICTURE;

    #[test]
    fn arrows_point_down_only() {
        for (at, (room, uses)) in PICTURE.iter().enumerate() {
            for used in *uses {
                let below = PICTURE[..at].iter().any(|(name, _)| name == used);
                assert!(below, "{room} → {used} does not point to a room above it in the list");
            }
        }
    }
}
