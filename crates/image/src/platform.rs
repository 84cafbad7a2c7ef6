//! Which platforms there are, how they are written, and which of an index's images suits a machine best.
//!
//! Names and rules are those of containerd's `platforms` as Docker 28 uses it. Never: looks at an image.

use minke_model::{Kind, image::Platform};

/// Why a text is no platform. Docker's sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// It has a `*`.
    #[error("{0:?}: wildcards not yet supported: invalid argument")]
    Wildcard(String),
    /// The first part has other than letters, digits, `_`, `-` and a version in parentheses.
    #[error(
        "{part:?} is an invalid OS component of {text:?}: OSAndVersion specifier component must match {OS_PATTERN:?}: invalid argument"
    )]
    Os {
        /// The wrong part.
        part: String,
        /// All that was given.
        text: String,
    },
    /// A further part has other than letters, digits, `_`, `.`, `-`.
    #[error(
        "{part:?} is an invalid component of {text:?}: platform specifier component must match {PART_PATTERN:?}: invalid argument"
    )]
    Part {
        /// The wrong part.
        part: String,
        /// All that was given.
        text: String,
    },
    /// One word that is neither an operating system nor a processor.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three parts.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    Parts(String),
}

/// As Docker's message quotes it.
const OS_PATTERN: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?$";

/// As Docker's message quotes it.
const PART_PATTERN: &str = "^[A-Za-z0-9_.-]+$";

/// Operating systems that may stand alone.
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// Processors that may stand alone.
const PROCESSORS: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl PlatformError {
    /// Always the request's fault.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Parses `os`, `architecture`, `os/architecture` or `os/architecture/variant`. What is missing is this
/// machine's. A version in parentheses after the system is taken and dropped: only Windows has them.
pub fn parse(text: &str) -> Result<Platform, PlatformError> {
    if text.contains('*') {
        return Err(PlatformError::Wildcard(text.to_owned()));
    }
    let parts: Vec<&str> = text.splitn(4, '/').collect();
    let first = parts.first().copied().unwrap_or_default();
    let os = system_name(first).ok_or_else(|| PlatformError::Os { part: first.into(), text: text.into() })?;
    let is_part =
        |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if let Some(part) = parts.iter().skip(1).find(|part| !is_part(part)) {
        return Err(PlatformError::Part { part: (*part).into(), text: text.into() });
    }
    let os = normal_os(os);
    match parts[..] {
        [_] if SYSTEMS.contains(&os.as_str()) => Ok(Platform { os, ..host() }),
        [word] => {
            let (architecture, variant) = normal_processor(word, "");
            if !PROCESSORS.contains(&architecture.as_str()) {
                return Err(PlatformError::Unknown(text.to_owned()));
            }
            Ok(Platform { os: "linux".into(), variant: unless_default(&architecture, variant), architecture })
        }
        [_, processor] => {
            let (architecture, variant) = normal_processor(processor, "");
            Ok(Platform { os, variant: unless_default(&architecture, variant), architecture })
        }
        [_, processor, variant] => {
            let (architecture, mut variant) = normal_processor(processor, variant);
            if architecture == "arm64" && variant.is_empty() {
                variant = "v8".into();
            }
            Ok(Platform { os, architecture, variant })
        }
        _ => Err(PlatformError::Parts(text.to_owned())),
    }
}

/// The name in front of an optional version in parentheses.
fn system_name(part: &str) -> Option<&str> {
    let (name, version) = match part.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?),
        None => (part, ""),
    };
    let name_good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let version_good = version.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    (name_good && version_good).then_some(name)
}

/// `arm` without a variant stays without one where it was not asked for.
fn unless_default(architecture: &str, variant: String) -> String {
    if architecture == "arm" && variant == "v7" { String::new() } else { variant }
}

/// `os/architecture[/variant]`; `unknown` without an operating system.
pub fn format(platform: &Platform) -> String {
    if platform.os.is_empty() {
        return "unknown".into();
    }
    let parts = [&platform.os, &platform.architecture, &platform.variant];
    parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("/")
}

/// With the usual names (`x86_64` is `amd64`, `aarch64` is `arm64`) and without variants that go without saying
/// (`amd64/v1`, `arm64/v8`); `arm` is `v7`.
pub fn normalize(platform: &Platform) -> Platform {
    let (architecture, variant) = normal_processor(&platform.architecture, &platform.variant);
    Platform { os: normal_os(&platform.os), architecture, variant }
}

fn normal_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "" => "linux".into(),
        "macos" => "darwin".into(),
        other => other.into(),
    }
}

fn normal_processor(architecture: &str, variant: &str) -> (String, String) {
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
        "i386" => ("386", ""),
        "x86_64" | "x86-64" | "amd64" if variant == "v1" => ("amd64", ""),
        "x86_64" | "x86-64" | "amd64" => ("amd64", variant.as_str()),
        "aarch64" | "arm64" => match variant.as_str() {
            "8" | "v8" | "v8.0" => ("arm64", ""),
            "9" | "9.0" | "v9.0" => ("arm64", "v9"),
            other => ("arm64", other),
        },
        "armhf" => ("arm", "v7"),
        "armel" => ("arm", "v6"),
        "arm" => match variant.as_str() {
            "" | "7" => ("arm", "v7"),
            "5" => ("arm", "v5"),
            "6" => ("arm", "v6"),
            "8" => ("arm", "v8"),
            other => ("arm", other),
        },
        other => return (other.to_owned(), variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

/// This machine, as Docker names it: `linux/amd64`, `linux/arm64/v8`.
pub fn host() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "x86" => ("386", ""),
        "aarch64" => ("arm64", "v8"),
        "arm" => ("arm", "v7"),
        "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
        "powerpc64" => ("ppc64", ""),
        "loongarch64" => ("loong64", ""),
        other => (other, ""),
    };
    Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
}

/// This machine with the highest level of its processor: images built for it come first.
fn best_host() -> Platform {
    let host = host();
    match host.architecture.as_str() {
        "amd64" => Platform { variant: amd64_level().into(), ..host },
        _ => host,
    }
}

/// The x86-64 psABI's level of this processor, from v2 up; empty is v1.
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("cmpxchg16b")
        && has!("popcnt")
        && has!("sse3")
        && has!("ssse3")
        && has!("sse4.1")
        && has!("sse4.2");
    let v3 = has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v2, v3, v4) {
        (true, true, true) => "v4",
        (true, true, false) => "v3",
        (true, false, _) => "v2",
        _ => "",
    }
}

/// Other processors have no such levels.
#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> &'static str {
    ""
}

/// What runs on a platform, best first.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Normalized.
    vector: Vec<Platform>,
}

impl Matcher {
    /// For `wanted`; what it leaves empty, or all of it, is this machine's.
    pub fn new(wanted: Option<&Platform>) -> Self {
        let mut wanted = wanted.cloned().unwrap_or_default();
        let host = best_host();
        if wanted.os.is_empty() {
            wanted.os = host.os;
        }
        if wanted.architecture.is_empty() {
            (wanted.architecture, wanted.variant) = (host.architecture, host.variant);
        }
        Self { vector: vector(&normalize(&wanted)).iter().map(normalize).collect() }
    }

    /// How well `platform` suits: 0 is best; `None` is not at all.
    pub fn rank(&self, platform: &Platform) -> Option<usize> {
        let platform = normalize(platform);
        self.vector.iter().position(|known| *known == platform)
    }

    /// The suiting ones of `entries`, best first; equals stay in order. An entry without a platform suits, last.
    pub fn choose<T>(&self, entries: impl IntoIterator<Item = (T, Option<Platform>)>) -> Vec<T> {
        let mut suiting: Vec<(usize, T)> = entries
            .into_iter()
            .filter_map(|(entry, platform)| match platform {
                Some(platform) => self.rank(&platform).map(|rank| (rank, entry)),
                None => Some((usize::MAX, entry)),
            })
            .collect();
        suiting.sort_by_key(|(rank, _)| *rank);
        suiting.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Whether an image whose configuration says `image` may stand for `wanted`. A configuration without a variant is
/// believed whatever variant is wanted, as builders often leave it out.
pub fn suits(wanted: &Platform, image: &Platform) -> bool {
    if Matcher::new(Some(wanted)).rank(image).is_some() {
        return true;
    }
    let (wanted, normal) = (normalize(wanted), normalize(image));
    image.variant.is_empty() && wanted.os == normal.os && wanted.architecture == normal.architecture
}

/// What a processor runs: itself, its lower levels, its 32-bit mode.
fn vector(platform: &Platform) -> Vec<Platform> {
    let of = |architecture: &str, variant: String| Platform {
        os: platform.os.clone(),
        architecture: architecture.into(),
        variant,
    };
    // At most this many levels are tried: variants come from outside.
    let level = platform.variant.strip_prefix('v').and_then(|v| v.parse::<u8>().ok()).filter(|v| *v <= 16);
    match platform.architecture.as_str() {
        "amd64" => {
            let lower = (1..level.unwrap_or(1)).rev().map(|n| of("amd64", format!("v{n}")));
            [platform.clone()].into_iter().chain(lower).chain([of("386", String::new())]).collect()
        }
        "arm" => {
            let lower = (5..level.unwrap_or(5)).rev().map(|n| of("arm", format!("v{n}")));
            [platform.clone()].into_iter().chain(lower).collect()
        }
        "arm64" => {
            let variant = if platform.variant.is_empty() { "v8" } else { &platform.variant };
            let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
            let Ok(minor) = minor.parse::<u8>() else { return vec![] };
            // Armv9.n has all of Armv8.(n + 5), up to 8.9.
            let (nine, eight) = match (major, minor) {
                ("v8", 0..=9) => (None, minor),
                ("v9", 0..=7) => (Some(minor), (minor + 5).min(9)),
                _ => return vec![],
            };
            let name = |major: u8, minor: u8| match minor {
                0 => format!("v{major}"),
                _ => format!("v{major}.{minor}"),
            };
            let nines = nine.into_iter().flat_map(|top| (0..=top).rev()).map(|n| of("arm64", name(9, n)));
            let eights = (0..=eight).rev().map(|n| of("arm64", name(8, n)));
            nines.chain(eights).chain(vector(&of("arm", "v8".into()))).collect()
        }
        _ => vec![platform.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Platform { os: next(), architecture: next(), variant: next() }
    }

    #[test]
    fn platforms_are_written_in_many_ways_and_shown_in_one() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/X86-64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm64/8", "linux/arm64/v8"),
            ("arm64", "linux/arm64"),
            ("linux/arm", "linux/arm"),
            ("linux/arm/7", "linux/arm/v7"),
            ("armhf", "linux/arm"),
            ("armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("windows(10.0.17763)/amd64", "windows/amd64"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/whatever", "linux/whatever"),
        ] {
            assert_eq!(parse(text).map(|p| format(&p)), Ok(shown.to_owned()), "{text}");
        }
        assert_eq!(parse("linux"), Ok(host()));
    }

    #[test]
    fn what_is_no_platform_is_refused_in_dockers_words() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(error("foo"), "\"foo\": unknown operating system or architecture: invalid argument");
        assert_eq!(error("linux/*"), "\"linux/*\": wildcards not yet supported: invalid argument");
        assert_eq!(error("a/b/c/d"), "\"a/b/c/d\": cannot parse platform specifier: invalid argument");
        assert_eq!(
            error("linux/a d"),
            "\"a d\" is an invalid component of \"linux/a d\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
        );
        assert_eq!(
            error(""),
            "\"\" is an invalid OS component of \"\": OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument"
        );
    }

    #[test]
    fn the_nearest_image_of_an_index_is_chosen_and_the_others_follow() {
        let choose = |wanted: &str, index: &[&str]| -> Vec<String> {
            let entries =
                index.iter().map(|p| (p.to_string(), Some(platform(p)).filter(|p| !p.os.is_empty())));
            Matcher::new(Some(&platform(wanted))).choose(entries)
        };
        let index =
            ["linux/arm/v5", "linux/386", "linux/amd64", "linux/arm/v7", "linux/arm64/v8", "windows/amd64"];
        assert_eq!(choose("linux/amd64", &index), ["linux/amd64", "linux/386"]);
        assert_eq!(choose("linux/arm64", &index), ["linux/arm64/v8", "linux/arm/v7", "linux/arm/v5"]);
        assert_eq!(choose("linux/arm/v6", &index), ["linux/arm/v5"]);
        assert_eq!(choose("linux/arm", &index), ["linux/arm/v7", "linux/arm/v5"]);
        assert_eq!(choose("linux/s390x", &index), [""; 0]);
        let levels = ["linux/amd64", "linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v4", ""];
        assert_eq!(
            choose("linux/amd64/v3", &levels),
            ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", ""]
        );
        assert_eq!(
            choose("linux/arm64/v9.1", &["linux/arm64", "linux/arm64/v8.6", "linux/arm64/v9"]),
            ["linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64"]
        );
        assert_eq!(choose("linux/arm64/x", &index), [""; 0], "an unknown variant matches nothing");
    }

    #[test]
    fn without_a_wish_it_is_this_machines_platform() {
        let matcher = Matcher::new(None);
        assert!(matcher.rank(&host()).is_some());
        assert_eq!(matcher.rank(&platform("plan9/amd64")), None);
    }

    #[test]
    fn a_configuration_without_a_variant_is_believed() {
        assert!(suits(&platform("linux/arm/v6"), &platform("linux/arm")));
        assert!(!suits(&platform("linux/arm/v6"), &platform("linux/arm/v7")));
        assert!(suits(&platform("linux/arm64/v8"), &platform("linux/arm64")));
        assert!(!suits(&platform("linux/arm64"), &platform("linux/amd64")));
    }
}
