//! Build checks: what BuildKit warns about, by rule (pure).
//!
//! Names, texts and addresses are those of docs.docker.com/reference/build-checks, for tools that know them.

use crate::{
    dockerfile::{directive::Reader, fault::Fault},
    error::Lines,
    go::{parse_bool, quote},
    plan::Finding,
};
use std::collections::BTreeSet;

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `StageNameCasing`
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Where it is explained; may be empty.
    pub url: &'static str,
    /// Only where asked for.
    pub experimental: bool,
}

macro_rules! rules {
    ($($constant:ident $name:literal $slug:literal $description:literal $(, $experimental:ident)?;)*) => {
        $(
            #[doc = $description]
            pub const $constant: Rule = Rule {
                name: $name,
                description: $description,
                url: rules!(@url $slug),
                experimental: rules!(@experimental $($experimental)?),
            };
        )*
        /// All of them.
        pub const RULES: &[Rule] = &[$($constant),*];
    };
    (@url "") => { "" };
    (@url $slug:literal) => { concat!("https://docs.docker.com/go/dockerfile/rule/", $slug, "/") };
    (@experimental) => { false };
    (@experimental experimental) => { true };
}

rules! {
    STAGE_NAME_CASING "StageNameCasing" "stage-name-casing" "Stage names should be lowercase";
    FROM_AS_CASING "FromAsCasing" "from-as-casing" "The 'as' keyword should match the case of the 'from' keyword";
    NO_EMPTY_CONTINUATION "NoEmptyContinuation" "no-empty-continuation"
        "Empty continuation lines will become errors in a future release";
    CONSISTENT_INSTRUCTION_CASING "ConsistentInstructionCasing" "consistent-instruction-casing"
        "All commands within the Dockerfile should use the same casing (either upper or lower)";
    DUPLICATE_STAGE_NAME "DuplicateStageName" "duplicate-stage-name" "Stage names should be unique";
    RESERVED_STAGE_NAME "ReservedStageName" "reserved-stage-name" "Reserved words should not be used as stage names";
    JSON_ARGS_RECOMMENDED "JSONArgsRecommended" "json-args-recommended"
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    MAINTAINER_DEPRECATED "MaintainerDeprecated" "maintainer-deprecated"
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    UNDEFINED_ARG_IN_FROM "UndefinedArgInFrom" "undefined-arg-in-from" "FROM command must use declared ARGs";
    WORKDIR_RELATIVE_PATH "WorkdirRelativePath" "workdir-relative-path"
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    UNDEFINED_VAR "UndefinedVar" "undefined-var" "Variables should be defined before their use";
    MULTIPLE_INSTRUCTIONS "MultipleInstructionsDisallowed" "multiple-instructions-disallowed"
        "Multiple instructions of the same type should not be used in the same stage";
    LEGACY_KEY_VALUE "LegacyKeyValueFormat" "legacy-key-value-format"
        "Legacy key/value format with whitespace separator should not be used";
    INVALID_BASE_IMAGE_PLATFORM "InvalidBaseImagePlatform" ""
        "Base image platform does not match expected target platform";
    REDUNDANT_TARGET_PLATFORM "RedundantTargetPlatform" "redundant-target-platform"
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    SECRETS_IN_ARG_OR_ENV "SecretsUsedInArgOrEnv" "secrets-used-in-arg-or-env"
        "Sensitive data should not be used in the ARG or ENV commands";
    INVALID_DEFAULT_ARG_IN_FROM "InvalidDefaultArgInFrom" "invalid-default-arg-in-from"
        "Default value for global ARG results in an empty or invalid base image name";
    FROM_PLATFORM_CONST "FromPlatformFlagConstDisallowed" "from-platform-flag-const-disallowed"
        "FROM --platform flag should not use a constant value";
    COPY_IGNORED_FILE "CopyIgnoredFile" "copy-ignored-file"
        "Attempting to Copy file that is excluded by .dockerignore";
    INVALID_DEFINITION_DESCRIPTION "InvalidDefinitionDescription" "invalid-definition-description"
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.", experimental;
    EXPOSE_PROTO_CASING "ExposeProtoCasing" "expose-proto-casing"
        "Protocol in EXPOSE instruction should be lowercase";
    EXPOSE_INVALID_FORMAT "ExposeInvalidFormat" "expose-invalid-format"
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";
}

/// Which rules count: `# check=skip=…;experimental=…;error=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Which {
    skip_all: bool,
    skip: BTreeSet<String>,
    experimental_all: bool,
    experimental: BTreeSet<String>,
    error: bool,
}

impl Which {
    fn parse(text: &str) -> Result<Self, Fault> {
        let mut which = Self::default();
        for part in text.trim().splitn(3, ';').filter(|_| !text.trim().is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| Fault::CheckOption(part.into()))?;
            let value = value.trim();
            let names = || value.split(',').map(|name| name.trim().to_owned()).collect();
            match key.trim() {
                "skip" if value == "all" => which.skip_all = true,
                "skip" => which.skip = names(),
                "experimental" if value == "all" => which.experimental_all = true,
                "experimental" => which.experimental = names(),
                "error" => {
                    let error =
                        parse_bool(value).ok_or_else(|| Fault::CheckBool(part.into(), value.into()))?;
                    which.error = error;
                }
                other => return Err(Fault::CheckOption(other.into())),
            }
        }
        Ok(which)
    }

    /// With what a comment right above the instruction says.
    fn with_comments(&self, comments: &[String]) -> Self {
        let mut which = self.clone();
        let check = comments.iter().find_map(|comment| match Reader::new("").line(comment) {
            Ok(Some(("check", value))) => Some(value),
            _ => None,
        });
        let here = check.and_then(|value| Self::parse(value.split(' ').next().unwrap_or(value)).ok());
        if let Some(here) = here {
            which.skip_all |= here.skip_all;
            which.skip.extend(here.skip);
            which.experimental_all |= here.experimental_all;
            which.experimental.extend(here.experimental);
        }
        which
    }

    fn counts(&self, rule: &Rule) -> bool {
        if rule.experimental {
            self.experimental_all || self.experimental.contains(rule.name)
        } else {
            !self.skip_all && !self.skip.contains(rule.name)
        }
    }
}

/// Gathers findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    which: Which,
    pub(crate) findings: Vec<Finding>,
}

impl Checks {
    /// With the rules of a `check` directive, or of the build argument that stands for it.
    pub(crate) fn new(directive: Option<&str>) -> Result<Self, Fault> {
        Ok(Self { which: Which::parse(directive.unwrap_or_default())?, findings: Vec::new() })
    }

    /// Notes what `rule` found, unless it does not count here.
    pub(crate) fn find(&mut self, rule: &Rule, lines: Lines, comments: &[String], message: String) {
        if !self.which.with_comments(comments).counts(rule) {
            return;
        }
        let Rule { name, description, url, .. } = *rule;
        self.findings.push(Finding { rule: name, description, url, message, lines });
    }

    /// Fails where findings are errors.
    pub(crate) fn verdict(&self) -> Result<(), Fault> {
        if !self.which.error || self.findings.is_empty() {
            return Ok(());
        }
        let rules: BTreeSet<&str> = self.findings.iter().map(|f| f.rule).collect();
        Err(Fault::Checks(rules.into_iter().collect::<Vec<_>>().join(", ")))
    }
}

impl Finding {
    /// As progress shows it: `StageNameCasing: Stage name 'A' should be lowercase (line 3)`.
    pub fn short(&self) -> String {
        match self.lines.first {
            0 => format!("{}: {}", self.rule, self.message),
            line => format!("{}: {} (line {line})", self.rule, self.message),
        }
    }
}

/// Words in a variable's name that tell of a secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that tell of none.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// What [`SECRETS_IN_ARG_OR_ENV`] says of a variable `name`, if anything.
pub(crate) fn secret(keyword: &str, name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    let says = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {})", quote(name));
    (has(&SECRET) && !has(&HARMLESS)).then_some(says)
}

/// ` (did you mean x?)`, or nothing.
pub(crate) fn did_you_mean(prefix: &str, near: Option<String>) -> String {
    near.map(|near| format!(" (did you mean {prefix}{near}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(directive: &str, rule: &Rule, comments: &[&str]) -> usize {
        let mut checks = Checks::new(Some(directive)).unwrap();
        let comments: Vec<String> = comments.iter().map(|c| (*c).to_owned()).collect();
        checks.find(rule, Lines::one(3), &comments, "x".into());
        checks.findings.len()
    }

    #[test]
    fn rules_are_skipped_by_the_file_or_the_comment_above() {
        assert_eq!(found("", &STAGE_NAME_CASING, &[]), 1);
        assert_eq!(found("skip=all", &STAGE_NAME_CASING, &[]), 0);
        assert_eq!(found("skip=FromAsCasing, StageNameCasing", &STAGE_NAME_CASING, &[]), 0);
        assert_eq!(found("", &STAGE_NAME_CASING, &["check=skip=StageNameCasing // why"]), 0);
        assert_eq!(found("", &INVALID_DEFINITION_DESCRIPTION, &[]), 0);
        assert_eq!(found("experimental=all;skip=all", &INVALID_DEFINITION_DESCRIPTION, &[]), 1);
    }

    #[test]
    fn options_that_there_are_not_are_refused() {
        let sentence = |text| Checks::new(Some(text)).unwrap_err().to_string();
        assert_eq!(sentence("x"), "failed to parse check options: invalid check option \"x\"");
        assert_eq!(sentence("y=1"), "failed to parse check options: invalid check option \"y\"");
        assert!(sentence("error=maybe").ends_with("strconv.ParseBool: parsing \"maybe\": invalid syntax"));
    }

    #[test]
    fn findings_can_be_errors() {
        let mut checks = Checks::new(Some("error=true")).unwrap();
        assert_eq!(checks.verdict(), Ok(()));
        checks.find(&STAGE_NAME_CASING, Lines::one(3), &[], "Stage name 'A' should be lowercase".into());
        assert_eq!(checks.verdict(), Err(Fault::Checks("StageNameCasing".into())));
        assert_eq!(
            checks.findings[0].short(),
            "StageNameCasing: Stage name 'A' should be lowercase (line 3)"
        );
        assert_eq!(checks.findings[0].url, "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/");
    }

    #[test]
    fn names_of_secrets() {
        for name in ["SECRET_PASSPHRASE", "SUPER_Secret", "password", "git_key", "AUTH", "apikey"] {
            assert!(secret("ENV", name).is_some(), "{name}");
        }
        for name in ["sunflower", "PUBLIC_KEY", "password_file", "AUTH_MODULE_VERSION", "KEYBOARD", "monkey"]
        {
            assert!(secret("ENV", name).is_none(), "{name}");
        }
    }
}
