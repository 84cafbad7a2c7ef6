//! The group as a whole.

use super::*;
use crate::cli::parse::parse;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn flags_of_the_group_stand_before_the_command() {
    let count = (GROUP.leading)(&words("-f a.yaml -f b.yaml -p shop --profile=x up -d")).ok();
    assert_eq!(count, Some(7));
    assert_eq!((GROUP.leading)(&words("up -f x")).ok(), Some(0));
    assert!((GROUP.leading)(&words("--unknown up")).is_err());
    let parsed = parse::<ProjectFlags>(&words("-f a -f b -p shop up"), false).unwrap();
    assert_eq!(
        (parsed.flags.file.len(), parsed.flags.project_name.as_str(), parsed.args.join(" ").as_str()),
        (2, "shop", "up")
    );
}
