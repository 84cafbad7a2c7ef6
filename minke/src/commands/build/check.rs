//! `build --check`: reads and plans the Dockerfile here and tells what checks find. No daemon, nothing is built.

use super::{context, run, wish::Wish};
use crate::cli::{Failure, Outcome, show};
use minke_api::remote::Excerpt;
use minke_engine::{
    build::{
        Dockerfile, PlanOptions, ignore,
        plan::{Finding, Given, Planner},
    },
    platform,
};
use std::collections::BTreeMap;

/// Checks; what is found makes the exit code 1.
pub(super) fn check(wish: &Wish) -> Outcome {
    let found = context::find(wish)?;
    let text = context::dockerfile_text(&found)?;
    let ignored = match &found.context {
        context::Context::Directory(root) => std::fs::read(root.join(".dockerignore")).unwrap_or_default(),
        _ => Vec::new(),
    };
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let platforms = wish.platforms.iter().map(|text| platform::parse(text)).collect::<Result<Vec<_>, _>>();
    let platforms = platforms.map_err(|error| Failure::new(error.to_string()))?;
    let options = PlanOptions {
        target: Some(wish.target.clone()).filter(|target| !target.is_empty()),
        build_args: wish.arguments.iter().filter_map(pair).collect::<BTreeMap<_, _>>(),
        build_platform: platform::host(),
        platform: platforms.into_iter().next(),
        ignore: ignore::lines(&ignored),
        all_stages: true,
        ..PlanOptions::default()
    };
    let findings = findings(&found.file, &text, options).map_err(|error| {
        eprint!("{}", error.report());
        Failure::new(format!("ERROR: failed to build: {error}"))
    })?;
    if findings.is_empty() {
        return show("Check complete, no warnings found.\n");
    }
    let count = findings.len();
    show(&match count {
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        _ => format!("Check complete, {count} warnings have been found!\n"),
    })?;
    let text = String::from_utf8_lossy(&text).into_owned();
    for finding in &findings {
        let url = if finding.url.is_empty() { String::new() } else { format!(" - {}", finding.url) };
        let excerpt = Excerpt {
            file: found.file.clone(),
            text: text.clone(),
            first: finding.lines.first,
            last: finding.lines.last,
        };
        show(&format!("\nWARNING: {}{url}\n{}\n{}", finding.rule, finding.message, run::shown(&excerpt)))?;
    }
    Err(Failure::silent(1))
}

/// What checks find. What images say of themselves is not looked up: no check needs more than the file.
fn findings(
    file: &str,
    text: &[u8],
    options: PlanOptions,
) -> Result<Vec<Finding>, Box<minke_engine::build::DockerfileError>> {
    let mut planner = Planner::new(Dockerfile::parse(file, text)?, options)?;
    while let Some(wanted) = planner.wanted().into_iter().next() {
        planner.give(wanted.id, Given::default())?;
    }
    planner.finish().map(|plan| plan.findings).map_err(Box::new)
}
