//! The house rules, each a function from the workspace to what breaks it.
//!
//! Start at [`RULES`]. A rule reads; it never repairs.

mod docs;
mod manifests;
mod purity;
mod reach;
mod size;
mod words;

use crate::workspace::Workspace;

/// A rule: its name, and the function that finds what breaks it.
type Rule = (&'static str, fn(&Workspace) -> Vec<String>);

const RULES: &[Rule] = &[
    ("the map is true and arrows point down", crate::map::check),
    ("docs/compatibility.md is what the API says", crate::compatibility::check),
    ("every file says what it is for", docs::modules),
    ("documents name files that exist", docs::paths),
    ("quotations are true", docs::quotations),
    ("the glossary's words are used", docs::glossary),
    ("versions and features stand once, by hand", manifests::check),
    ("only linux and shim say unsafe", words::unsafe_code),
    ("only minke reads the environment", words::environment),
    ("nothing is left to do", words::left_over),
    ("what is pure touches nothing", purity::check),
    ("every file is reached", reach::check),
    ("no file hides a second noun", size::check),
];

/// What breaks the rules, one line each.
fn broken(workspace: &Workspace) -> Vec<String> {
    let find = |(name, rule): &Rule| {
        rule(workspace).into_iter().map(|what| format!("{what}\n    rule: {name}")).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(find).collect()
}

/// `cargo xtask tidy`.
pub(crate) fn report(workspace: &Workspace) -> Result<String, String> {
    let broken = broken(workspace);
    for warning in size::near(workspace) {
        eprintln!("warning: {warning}");
    }
    match broken.len() {
        0 => Ok(format!("tidy: {} rules hold over {} files", RULES.len(), workspace.sources().count())),
        n => Err(format!("{}\ntidy: {n} broken", broken.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let workspace = Workspace::read().expect("the workspace can be read");
        let broken = broken(&workspace);
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }
}
