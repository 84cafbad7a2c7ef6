//! Which system calls a container may make: Docker's JSON profiles and the default, resolved for a set of
//! capabilities, compiled once and kept.
//!
//! The format is moby's `profiles/seccomp`: rules with `includes` and `excludes`. Pure.

use super::{SpecError, defaults, seccomp_default, security};
use minke_linux::seccomp::{Action, Arch, Compare, Condition, Profile, Rule, compile};
use minke_model::security::{SeccompChoice, SecuritySpec};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// A profile with conditions that capabilities, machine and kernel decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) default: Action,
    pub(super) arches: Vec<Arch>,
    pub(super) rules: Vec<SourceRule>,
}

/// A rule, and when it is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceRule {
    pub(super) names: Vec<String>,
    /// `None` is to allow.
    pub(super) action: Option<Action>,
    pub(super) conditions: Vec<Condition>,
    /// Only with all of these capabilities.
    pub(super) with: u64,
    /// Only without any of these.
    pub(super) without: u64,
    /// Only on one of these machines, by Go's names; empty is all.
    pub(super) arches: Vec<&'static str>,
    /// Never on any of these.
    pub(super) not_arches: Vec<&'static str>,
    /// Only from this kernel on.
    pub(super) min_kernel: Option<(u32, u32)>,
}

impl Source {
    /// The profile for one set of capabilities on this machine.
    fn resolve(&self, capabilities: u64, kernel: (u32, u32)) -> Profile {
        let native = Arch::NATIVE.go_name();
        let applies = |rule: &&SourceRule| {
            capabilities & rule.with == rule.with
                && capabilities & rule.without == 0
                && (rule.arches.is_empty() || rule.arches.contains(&native))
                && !rule.not_arches.contains(&native)
                && rule.min_kernel.is_none_or(|least| kernel >= least)
        };
        let rule = |rule: &SourceRule| Rule {
            names: rule.names.clone(),
            action: rule.action.unwrap_or(Action::Allow),
            conditions: rule.conditions.clone(),
        };
        Profile {
            default: self.default,
            arches: self.arches.clone(),
            rules: self.rules.iter().filter(applies).map(rule).collect(),
        }
    }
}

/// Docker's file format.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<FileArch>>,
    #[serde(default)]
    syscalls: Option<Vec<FileRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileArch {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileRule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<FileCondition>>,
    #[serde(default)]
    includes: Option<FileFilter>,
    #[serde(default)]
    excludes: Option<FileFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileCondition {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileFilter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Go's names of machines that a profile's conditions may say.
const GO_ARCHES: [&str; 5] = ["amd64", "x86", "x32", "arm64", "arm"];

/// Reads a profile in Docker's JSON format.
///
/// # Errors
/// A sentence, in Docker's words where its clients may know them.
pub(super) fn parse(json: &str) -> Result<Source, String> {
    let file: File =
        serde_json::from_str(json).map_err(|e| format!("Decoding seccomp profile failed: {e}"))?;
    if file.architectures.as_ref().is_some_and(|a| !a.is_empty())
        && file.arch_map.as_ref().is_some_and(|a| !a.is_empty())
    {
        return Err("both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'".into());
    }
    let action = |word: &str, errno| {
        Action::parse(word, errno).ok_or_else(|| format!("invalid seccomp action: {word}"))
    };
    let mut rules = Vec::new();
    for rule in file.syscalls.into_iter().flatten() {
        let mut names = rule.names.unwrap_or_default();
        if !rule.name.is_empty() {
            if !names.is_empty() {
                return Err("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'".into());
            }
            names.push(rule.name);
        }
        let mut conditions = Vec::new();
        for arg in rule.args.into_iter().flatten() {
            let compare =
                Compare::parse(&arg.op).ok_or_else(|| format!("invalid seccomp operator: {}", arg.op))?;
            conditions.push(Condition {
                argument: arg.index,
                compare,
                value: arg.value,
                second: arg.value_two,
            });
        }
        let (includes, excludes) = (rule.includes.unwrap_or_default(), rule.excludes.unwrap_or_default());
        let min_kernel =
            includes.min_kernel.as_deref().filter(|v| !v.is_empty()).map(kernel_version).transpose()?;
        let not_arches = arches(&excludes.arches);
        let asked = includes.arches.as_ref().is_some_and(|a| !a.is_empty());
        let mut only = arches(&includes.arches);
        if asked && only.is_empty() {
            // None of them is a machine of ours.
            only.push("none");
        }
        rules.push(SourceRule {
            names,
            action: Some(action(&rule.action, rule.errno_ret)?),
            conditions,
            with: capability_set(&includes.caps).unwrap_or(u64::MAX),
            without: capability_set(&excludes.caps).unwrap_or(0),
            arches: only,
            not_arches,
            min_kernel,
        });
    }
    Ok(Source {
        default: action(&file.default_action, file.default_errno_ret)?,
        arches: machines(file.architectures, file.arch_map),
        rules,
    })
}

/// All capabilities of a list; `None` when one is unknown, which nobody can have.
fn capability_set(names: &Option<Vec<String>>) -> Option<u64> {
    names.iter().flatten().try_fold(0, |set, name| Some(set | defaults::capability(name)?))
}

/// Go's names that we know.
fn arches(names: &Option<Vec<String>>) -> Vec<&'static str> {
    let known = |name: &String| GO_ARCHES.iter().find(|known| *known == name).copied();
    names.iter().flatten().filter_map(known).collect()
}

/// `4.8`, `5.10`.
fn kernel_version(text: &str) -> Result<(u32, u32), String> {
    let version =
        text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    version.ok_or_else(|| format!("invalid kernel version: {text}"))
}

/// Machines of a profile: its plain list, or this machine's entry of its map; always this machine.
fn machines(plain: Option<Vec<String>>, map: Option<Vec<FileArch>>) -> Vec<Arch> {
    let mut arches = vec![Arch::NATIVE];
    let mapped =
        map.into_iter().flatten().find(|entry| Arch::parse(&entry.architecture) == Some(Arch::NATIVE));
    let named = plain
        .into_iter()
        .flatten()
        .chain(mapped.and_then(|entry| entry.sub_architectures).into_iter().flatten());
    for arch in named.filter_map(|word| Arch::parse(&word)) {
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    arches
}

/// How many compiled filters are kept; one daemon sees few different ones.
const MOST: usize = 64;

/// Which profile, by its text; `None` is the built-in one.
type Key = (Option<String>, u64);

/// Compiled filters by profile and capabilities. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    kept: Arc<Mutex<HashMap<Key, Arc<[u8]>>>>,
    /// The daemon's own profile, for containers that ask for none.
    daemon: Option<SeccompChoice>,
    kernel: (u32, u32),
}

impl Filters {
    /// With the daemon's setting: empty or `builtin`, `unconfined`, or a profile's JSON.
    ///
    /// # Errors
    /// When that profile is wrong.
    pub fn new(setting: &str, kernel: (u32, u32)) -> Result<Self, SpecError> {
        let daemon = match setting {
            "" | "builtin" | "default" => None,
            "unconfined" => Some(SeccompChoice::Unconfined),
            json => {
                parse(json).map_err(SpecError::Seccomp)?;
                Some(SeccompChoice::Profile(json.to_owned()))
            }
        };
        Ok(Filters { kept: Arc::default(), daemon, kernel })
    }

    /// The filter of a container with these capabilities, as the kernel takes it; empty is none.
    ///
    /// # Errors
    /// When its profile is wrong.
    pub fn get(&self, spec: &SecuritySpec, capabilities: u64) -> Result<Arc<[u8]>, SpecError> {
        let key = match self.choice(spec) {
            SeccompChoice::Unconfined => return Ok(Arc::from([])),
            SeccompChoice::Builtin => (None, capabilities),
            SeccompChoice::Profile(json) => (Some(json), capabilities),
        };
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().get(&key) {
            return Ok(Arc::clone(found));
        }
        let profile = self.resolve(key.0.as_deref(), capabilities)?;
        let program = compile(&profile).map_err(|e| SpecError::Seccomp(e.to_string()))?;
        let bytes: Arc<[u8]> = program.to_bytes().into();
        let mut kept = lock();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// The same filter in words, for another runtime to compile; `None` is none.
    ///
    /// # Errors
    /// When its profile is wrong.
    pub fn profile(&self, spec: &SecuritySpec, capabilities: u64) -> Result<Option<Profile>, SpecError> {
        match self.choice(spec) {
            SeccompChoice::Unconfined => Ok(None),
            SeccompChoice::Builtin => self.resolve(None, capabilities).map(Some),
            SeccompChoice::Profile(json) => self.resolve(Some(&json), capabilities).map(Some),
        }
    }

    /// The container's choice, else the daemon's.
    fn choice(&self, spec: &SecuritySpec) -> SeccompChoice {
        security::seccomp_choice(spec).or_else(|| self.daemon.clone()).unwrap_or(SeccompChoice::Builtin)
    }

    /// A profile's JSON, or the built-in one, for one set of capabilities.
    fn resolve(&self, json: Option<&str>, capabilities: u64) -> Result<Profile, SpecError> {
        let source = match json {
            None => seccomp_default::source(),
            Some(json) => parse(json).map_err(SpecError::Seccomp)?,
        };
        Ok(source.resolve(capabilities, self.kernel))
    }
}

/// Checks a profile's JSON, for create.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_profile(json: &str) -> Result<(), String> {
    let source = parse(json)?;
    compile(&source.resolve(0, (u32::MAX, 0))).map(drop).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDINARY: u64 = 0xa804_25fb;

    /// What a profile does with a call on this machine, or `default`.
    fn said(source: &Source, capabilities: u64, name: &str) -> Vec<(Action, Vec<Condition>)> {
        let profile = source.resolve(capabilities, (6, 1));
        let rules = profile.rules.iter().filter(|rule| rule.names.iter().any(|n| n == name));
        rules.map(|rule| (rule.action, rule.conditions.clone())).collect()
    }

    #[test]
    fn the_default_knows_every_name_that_it_says() {
        for rule in seccomp_default::source().rules {
            for name in &rule.names {
                assert!(minke_linux::seccomp::is_known(name), "{name}");
            }
        }
    }

    #[test]
    fn capabilities_open_their_calls() {
        let source = seccomp_default::source();
        assert_eq!(said(&source, ORDINARY, "mount"), []);
        assert_eq!(said(&source, ORDINARY | 1 << 21, "mount"), [(Action::Allow, vec![])]);
        assert_eq!(said(&source, ORDINARY, "chroot"), [(Action::Allow, vec![])]);
        assert_eq!(said(&source, ORDINARY, "clone3"), [(Action::Errno(38), vec![])]);
        assert_eq!(said(&source, ORDINARY | 1 << 21, "clone3"), [(Action::Allow, vec![])]);
        assert_eq!(said(&source, ORDINARY, "socket").len(), 3);
    }

    #[test]
    fn docker_s_json_is_read_with_its_conditions() {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}, {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
            "syscalls": [
                {"name": "read", "action": "SCMP_ACT_ALLOW"},
                {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 1, "value": 7, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}], "includes": {"caps": ["CAP_CHOWN"], "minKernel": "5.9"}, "excludes": {"arches": ["s390"]}},
                {"names": ["open"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
                {"names": ["close"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_OF_THE_FUTURE"]}}
            ]}"#;
        let source = parse(json).unwrap();
        assert_eq!(source.default, Action::Errno(13));
        assert_eq!(said(&source, 1, "read"), [(Action::Allow, vec![])]);
        let masked = Condition { argument: 1, compare: Compare::Masked, value: 7, second: 3 };
        assert_eq!(said(&source, 1, "write"), [(Action::Errno(5), vec![masked])]);
        for absent in ["open", "close"] {
            assert_eq!(said(&source, ORDINARY, absent), [], "{absent}");
        }
        assert_eq!(said(&source, 0, "write"), []);
        assert_eq!(source.resolve(1, (5, 8)).rules.len(), 1);
    }

    #[test]
    fn wrong_profiles_are_refused() {
        for bad in [
            "{",
            r#"{"defaultAction": "SCMP_ACT_DANCE"}"#,
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}"#,
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
        ] {
            check_profile(bad).unwrap_err();
        }
    }

    #[test]
    fn a_filter_is_compiled_once_for_each_profile_and_set() {
        let filters = Filters::new("", (6, 1)).unwrap();
        let spec = SecuritySpec::default();
        let first = filters.get(&spec, ORDINARY).unwrap();
        assert!(Arc::ptr_eq(&first, &filters.get(&spec, ORDINARY).unwrap()));
        assert_ne!(first, filters.get(&spec, ORDINARY | 1 << 21).unwrap());
        assert!(
            filters
                .get(&SecuritySpec { privileged: true, ..Default::default() }, u64::MAX)
                .unwrap()
                .is_empty()
        );
        assert!(Filters::new("unconfined", (6, 1)).unwrap().get(&spec, ORDINARY).unwrap().is_empty());
        // The whole default stays far below what the kernel takes.
        assert!(first.len() / 8 < 1500, "{}", first.len() / 8);
    }
}
