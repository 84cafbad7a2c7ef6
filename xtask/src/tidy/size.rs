//! Rule: a file is one noun. Near 600 lines a second one may hide in it; past 900 it does.

use crate::workspace::{Source, Workspace};

const NEAR: usize = 600;
const TOO_LONG: usize = 900;

fn lines(source: &Source) -> usize {
    source.without_tests().lines().count()
}

/// The rule.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let long = workspace.sources().filter(|(_, s)| lines(s) > TOO_LONG);
    long.map(|(_, s)| format!("{}: {} lines; which noun is hiding?", s.path.display(), lines(s))).collect()
}

/// Files to look at before they break the rule.
pub(super) fn near(workspace: &Workspace) -> Vec<String> {
    let near = workspace.sources().filter(|(_, s)| !s.is_test() && (NEAR..=TOO_LONG).contains(&lines(s)));
    near.map(|(_, s)| format!("{}: {} lines; which noun is hiding?", s.path.display(), lines(s))).collect()
}
