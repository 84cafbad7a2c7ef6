//! Checks that need only the file's form: casing, names, old spellings (pure).

use crate::{
    checks::{self, Checks, Rule},
    dockerfile::{Dockerfile, Instruction, Stage, instruction::Command},
    error::Lines,
    go::quote,
};
use std::collections::BTreeSet;

/// Runs them all, in BuildKit's order.
pub(super) fn check(file: &Dockerfile, checks: &mut Checks) {
    for line in &file.empty_continuations {
        let message = "Empty continuation line".to_owned();
        checks.find(&checks::NO_EMPTY_CONTINUATION, Lines::one(*line), &[], message);
    }
    file.arguments.iter().for_each(|instruction| one(instruction, checks));
    for stage in &file.stages {
        from(stage, checks);
        stage.instructions.iter().for_each(|instruction| one(instruction, checks));
    }
    names(&file.stages, checks);
    casing(&file.stages, checks);
}

fn one(instruction: &Instruction, checks: &mut Checks) {
    let Instruction { command, lines, comments, .. } = instruction;
    match command {
        Command::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            checks.find(&checks::MAINTAINER_DEPRECATED, *lines, comments, message);
        }
        Command::Arg(arguments) => {
            let names: Vec<&str> = arguments.iter().map(|a| a.name.as_str()).collect();
            description("ARG", &names, *lines, comments, checks);
        }
        _ => {}
    }
}

fn from(stage: &Stage, checks: &mut Checks) {
    let Some((spelt, word)) = &stage.spelt else { return };
    if *spelt != spelt.to_lowercase() {
        let message = format!("Stage name '{spelt}' should be lowercase");
        checks.find(&checks::STAGE_NAME_CASING, stage.lines, &stage.comments, message);
    }
    let keyword = &stage.keyword;
    // A mixed FROM is told of elsewhere.
    let fits = match () {
        () if *keyword == keyword.to_lowercase() => *word == word.to_lowercase(),
        () if *keyword == keyword.to_uppercase() => *word == word.to_uppercase(),
        () => true,
    };
    if !fits {
        let message = format!("'{word}' and '{keyword}' keywords' casing do not match");
        checks.find(&checks::FROM_AS_CASING, stage.lines, &stage.comments, message);
    }
    description("FROM", &[&spelt.to_lowercase()], stage.lines, &stage.comments, checks);
}

/// The comment above a definition describes it by its name.
fn description(keyword: &str, names: &[&str], lines: Lines, comments: &[String], checks: &mut Checks) {
    let Some(comment) = comments.last() else { return };
    let first = comment.split(' ').next().unwrap_or_default();
    if names.is_empty() || names.contains(&first) {
        return;
    }
    let name = if names.len() > 1 { "<arg_key>" } else { names[0] };
    let message = format!("Comment for {keyword} should follow the format: `# {name} <description>`");
    checks.find(&checks::INVALID_DEFINITION_DESCRIPTION, lines, comments, message);
}

fn names(stages: &[Stage], checks: &mut Checks) {
    let mut seen = BTreeSet::new();
    for stage in stages {
        let Some(name) = &stage.name else { continue };
        // A comment above the stage has no say here, as in BuildKit.
        if name == "context" || name == "scratch" {
            let message =
                format!("Stage name should not use the same name as reserved stage {}", quote(name));
            checks.find(&checks::RESERVED_STAGE_NAME, stage.lines, &[], message);
        }
        if !seen.insert(name) {
            let message = format!("Duplicate stage name {}, stage names should be unique", quote(name));
            checks.find(&checks::DUPLICATE_STAGE_NAME, stage.lines, &[], message);
        }
    }
}

/// Each instruction is spelt in the case of most.
fn casing(stages: &[Stage], checks: &mut Checks) {
    let keywords = || {
        stages.iter().flat_map(|stage| {
            let own = std::iter::once((stage.keyword.as_str(), stage.lines));
            own.chain(stage.instructions.iter().map(|i| (i.keyword.as_str(), i.lines)))
        })
    };
    let (mut lower, mut upper) = (0, 0);
    for (keyword, _) in keywords() {
        lower += usize::from(keyword == keyword.to_lowercase());
        upper += usize::from(keyword == keyword.to_uppercase());
    }
    let rule: &Rule = &checks::CONSISTENT_INSTRUCTION_CASING;
    for (keyword, lines) in keywords() {
        let (right, case) = match lower > upper {
            true => (keyword.to_lowercase(), "lowercase"),
            false => (keyword.to_uppercase(), "uppercase"),
        };
        if keyword != right {
            let message =
                format!("Command '{keyword}' should match the case of the command majority ({case})");
            checks.find(rule, lines, &[], message);
        }
    }
}
