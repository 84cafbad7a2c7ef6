//! Variables: which there are from the start, and which a stage has (pure).
//!
//! Sources: the Dockerfile reference, “Automatic platform ARGs in the global scope”, “Predefined ARGs”.

use crate::dockerfile::{
    expand::{Expanded, Expander, Variables},
    fault::{ExpandFault, Fault},
    instruction::{Argument, Pairs},
};
use minke_image::platform;
use minke_model::image::Platform;
use std::collections::BTreeMap;

/// Names and values, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    values: BTreeMap<String, (u64, String)>,
    latest: u64,
}

impl Scope {
    /// Sets one; it becomes the latest.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.latest += 1;
        self.values.insert(name.to_owned(), (self.latest, value.to_owned()));
    }

    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// `NAME=value` of each, the latest last.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut all: Vec<_> = self.values.iter().collect();
        all.sort_by_key(|(_, (at, _))| *at);
        all.into_iter().map(|(name, (_, value))| format!("{name}={value}")).collect()
    }
}

impl Variables for Scope {
    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }
}

/// What every file may name in `FROM`, and in a stage after `ARG`: the platforms that build and are built for.
pub(crate) fn predefined(build: &Platform, target: &Platform, stage: &str, given: &Pairs) -> Scope {
    let mut scope = Scope::default();
    let (build_text, target_text) = (platform::format(build), platform::format(target));
    let all: [(&str, &str); 11] = [
        ("BUILDPLATFORM", &build_text),
        ("BUILDOS", &build.os),
        ("BUILDOSVERSION", ""),
        ("BUILDARCH", &build.architecture),
        ("BUILDVARIANT", &build.variant),
        ("TARGETPLATFORM", &target_text),
        ("TARGETOS", &target.os),
        ("TARGETOSVERSION", ""),
        ("TARGETARCH", &target.architecture),
        ("TARGETVARIANT", &target.variant),
        ("TARGETSTAGE", if stage.is_empty() { "default" } else { stage }),
    ];
    for (name, value) in all {
        scope.set(name, given.get(name).map_or(value, String::as_str));
    }
    scope
}

/// Build arguments that processes get without any `ARG`, and that no cache and no history knows.
pub(crate) fn proxy(given: &Pairs) -> Vec<(String, String)> {
    let mut proxy = Vec::new();
    for upper in ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"] {
        // In either case, the last in the order of names; processes get both.
        if let Some((_, value)) = given.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(upper)) {
            proxy.push((upper.to_owned(), value.clone()));
            proxy.push((upper.to_lowercase(), value.clone()));
        }
    }
    proxy
}

/// Adds `ARG`s that stand before the first `FROM`. A given value counts as it is, a default is expanded.
pub(crate) fn add_global(
    scope: &mut Scope,
    arguments: &[Argument],
    given: &Pairs,
    expander: &Expander,
) -> Result<(), (Fault, String)> {
    for argument in arguments {
        let value = match (given.get(&argument.name), &argument.default) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(default)) => Some(word(expander, default, scope)?.text),
            (None, None) => None,
        };
        if let Some(value) = value {
            scope.set(&argument.name, &value);
        }
    }
    Ok(())
}

/// `text` expanded; the fault names it.
pub(crate) fn word(
    expander: &Expander,
    text: &str,
    scope: &dyn Variables,
) -> Result<Expanded, (Fault, String)> {
    expander.word(text, scope).map_err(|reason| failed(text, reason))
}

/// The fault of an expansion, and the word to mark.
pub(crate) fn failed(text: &str, reason: ExpandFault) -> (Fault, String) {
    (Fault::Expand { word: text.to_owned(), reason }, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        platform::parse(text).unwrap()
    }

    #[test]
    fn platforms_are_known_from_the_start_and_can_be_given() {
        let given = Pairs::from([("TARGETOS".into(), "plan9".into()), ("other".into(), "x".into())]);
        let scope = predefined(&platform("linux/amd64"), &platform("linux/arm/v7"), "", &given);
        let value = |name| scope.value(name).unwrap_or("-").to_owned();
        assert_eq!(value("BUILDPLATFORM"), "linux/amd64");
        assert_eq!(value("TARGETPLATFORM"), "linux/arm/v7");
        assert_eq!((value("TARGETVARIANT"), value("TARGETOS")), ("v7".into(), "plan9".into()));
        assert_eq!((value("TARGETSTAGE"), value("other")), ("default".into(), "-".into()));
    }

    #[test]
    fn global_arguments_build_on_each_other() {
        let argument = |name: &str, default: Option<&str>| Argument {
            name: name.into(),
            default: default.map(Into::into),
            description: String::new(),
        };
        let mut scope = Scope::default();
        let all = [
            argument("a", Some("1")),
            argument("b", Some("$a-${c:-2}")),
            argument("d", None),
            argument("e", Some("x")),
        ];
        add_global(&mut scope, &all, &Pairs::from([("e".into(), "$a".into())]), &Expander::new('\\'))
            .unwrap();
        assert_eq!(scope.lines(), ["a=1", "b=1-2", "e=$a"]);
    }

    #[test]
    fn proxies_in_either_case() {
        let given = Pairs::from([("http_proxy".into(), "p".into()), ("NO_PROXY".into(), "n".into())]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            proxy(&given),
            [pair("HTTP_PROXY", "p"), pair("http_proxy", "p"), pair("NO_PROXY", "n"), pair("no_proxy", "n")]
        );
    }

    #[test]
    fn a_variable_set_again_is_the_latest() {
        let mut scope = Scope::default();
        scope.set("a", "1");
        scope.set("b", "2");
        scope.set("a", "3");
        assert_eq!(scope.lines(), ["b=2", "a=3"]);
    }
}
