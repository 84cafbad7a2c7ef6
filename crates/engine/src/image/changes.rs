//! Dockerfile instructions that `commit --change` and `import --change` put into an image's defaults (pure).

use crate::{Error, error::Result};
use minke_model::{
    health::HealthSpec,
    image::ImageDefaults,
    port::{Port, Protocol},
};

/// Instructions that only change defaults; Docker allows no others here.
const ALLOWED: &[&str] = &[
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// `defaults` after the instructions.
pub(crate) fn apply(mut defaults: ImageDefaults, lines: &[String]) -> Result<ImageDefaults> {
    for line in lines {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        apply_one(&mut defaults, &word.to_ascii_uppercase(), rest.trim())?;
    }
    Ok(defaults)
}

fn apply_one(defaults: &mut ImageDefaults, word: &str, rest: &str) -> Result<()> {
    if !ALLOWED.contains(&word) {
        let message = if word.is_empty() {
            "an empty change".to_owned()
        } else {
            format!("{word} is not a valid change command")
        };
        return Err(Error::Invalid(message));
    }
    if rest.is_empty() && !matches!(word, "CMD" | "ENTRYPOINT") {
        return Err(Error::Invalid(format!("{word} requires at least one argument")));
    }
    match word {
        "CMD" => defaults.cmd = Some(command(defaults, rest)),
        "ENTRYPOINT" => defaults.entrypoint = Some(command(defaults, rest)),
        "ENV" => {
            for (name, value) in pairs(word, rest)? {
                defaults.env.retain(|e| e.split('=').next() != Some(name.as_str()));
                defaults.env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => defaults.labels.extend(pairs(word, rest)?),
        "EXPOSE" => {
            for text in words(rest)? {
                defaults.exposed_ports.extend(ports(&text)?);
            }
        }
        "HEALTHCHECK" => defaults.healthcheck = Some(health(rest)?),
        "ONBUILD" => defaults.on_build.push(rest.to_owned()),
        "STOPSIGNAL" => {
            crate::signal::parse(rest)?;
            defaults.stop_signal = Some(rest.to_owned());
        }
        "USER" => defaults.user = rest.to_owned(),
        "VOLUME" => {
            let paths = match json_list(rest) {
                Some(list) => list,
                None => words(rest)?,
            };
            if paths.iter().any(|p| p.trim().is_empty()) {
                return Err(Error::Invalid("VOLUME specified can not be an empty string".into()));
            }
            defaults.volumes.extend(paths);
        }
        _ => {
            defaults.working_dir = if rest.starts_with('/') {
                rest.to_owned()
            } else {
                format!("{}/{rest}", defaults.working_dir.trim_end_matches('/'))
            };
        }
    }
    Ok(())
}

/// The exec form, or the shell form behind the image's shell.
fn command(defaults: &ImageDefaults, rest: &str) -> Vec<String> {
    if let Some(list) = json_list(rest) {
        return list;
    }
    let shell = defaults.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
    shell.into_iter().chain([rest.to_owned()]).collect()
}

fn json_list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// `name=value name2="two words"`, or the old form `name value`.
fn pairs(word: &str, rest: &str) -> Result<Vec<(String, String)>> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::Invalid(format!("{word} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words(rest)?
        .into_iter()
        .map(|w| match w.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            Some(_) => Err(Error::Invalid(format!("{word} names can not be blank"))),
            None => Err(Error::Invalid(format!(
                "Syntax error - can't find = in {w:?}. Must be of the form: name=value"
            ))),
        })
        .collect()
}

/// Words by spaces, quotes taken off.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut out, mut word, mut quote, mut started) = (Vec::new(), String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => (quote, started) = (Some(c), true),
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => {
                word.extend(chars.next());
                started = true;
            }
            (None, c) if c.is_whitespace() => {
                if started {
                    out.push(std::mem::take(&mut word));
                }
                started = false;
            }
            (_, c) => {
                word.push(c);
                started = true;
            }
        }
    }
    if quote.is_some() {
        return Err(Error::Invalid(format!("unterminated quote in {text:?}")));
    }
    if started {
        out.push(word);
    }
    Ok(out)
}

/// `80`, `53/udp`, `8000-8010`.
fn ports(text: &str) -> Result<Vec<Port>> {
    let bad = || Error::Invalid(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol: Protocol = protocol.parse().map_err(|_| bad())?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if first > last {
        return Err(bad());
    }
    Ok((first..=last).map(|number| Port { number, protocol }).collect())
}

/// `NONE`, or flags and `CMD …`.
fn health(rest: &str) -> Result<HealthSpec> {
    let mut spec = HealthSpec::default();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (word, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| Error::Invalid(format!("HEALTHCHECK flag --{word} needs a value")))?;
        let duration = || {
            crate::filter::parse_duration(value)
                .ok_or_else(|| Error::Invalid(format!("HEALTHCHECK --{name}: invalid duration {value:?}")))
        };
        match name {
            "interval" => spec.interval = duration()?,
            "timeout" => spec.timeout = duration()?,
            "start-period" => spec.start_period = duration()?,
            "start-interval" => spec.start_interval = duration()?,
            "retries" => {
                spec.retries = value
                    .parse()
                    .map_err(|_| Error::Invalid(format!("HEALTHCHECK --retries: invalid number {value:?}")))?
            }
            _ => return Err(Error::Invalid(format!("unknown flag: --{name}"))),
        }
        rest = after.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    spec.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" => vec!["NONE".into()],
        "CMD" => match json_list(arguments.trim()) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None if !arguments.trim().is_empty() => vec!["CMD-SHELL".into(), arguments.trim().to_owned()],
            None => return Err(Error::Invalid("Missing command after HEALTHCHECK CMD".into())),
        },
        other => return Err(Error::Invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    });
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Result<ImageDefaults> {
        apply(ImageDefaults::default(), &lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_instruction_changes_its_default() {
        let got = after(&[
            "CMD [\"a\",\"b\"]",
            "entrypoint echo hi",
            "ENV A=1 B=\"two words\"",
            "ENV C three words",
            "EXPOSE 80 53/udp",
            "LABEL x='y z'",
            "USER 5:6",
            "VOLUME /data",
            "WORKDIR /srv",
            "STOPSIGNAL SIGHUP",
            "HEALTHCHECK --interval=5s CMD true",
        ])
        .unwrap();
        assert_eq!(got.cmd, Some(vec!["a".into(), "b".into()]));
        assert_eq!(got.entrypoint, Some(vec!["/bin/sh".into(), "-c".into(), "echo hi".into()]));
        assert_eq!(got.env, ["A=1", "B=two words", "C=three words"]);
        assert_eq!(
            got.exposed_ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["53/udp", "80/tcp"]
        );
        assert_eq!(
            (got.labels["x"].as_str(), got.user.as_str(), got.working_dir.as_str()),
            ("y z", "5:6", "/srv")
        );
        assert_eq!(
            got.healthcheck.map(|h| (h.interval, h.test)),
            Some((5_000_000_000, Some(vec!["CMD-SHELL".into(), "true".into()])))
        );
    }

    #[test]
    fn what_is_no_change_is_refused_by_name() {
        assert_eq!(
            after(&["RUN true"]).map_err(|e| e.to_string()).err(),
            Some("RUN is not a valid change command".into())
        );
        assert!(after(&["EXPOSE x"]).is_err());
        assert!(after(&["ENV"]).is_err());
        assert!(after(&["LABEL a=\"b"]).is_err());
    }
}
