//! Words of a command line become flags and arguments, by docker's rules.
//!
//! Invariant: the same words give the same flags as in docker's own command line, errors included.

use super::flag::{Flag, Flags};
use minke_model::go::quote;

/// Why the words were refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// `--help` was asked for.
    Help,
    /// `-h` was asked for where it is no flag of the command.
    ShortHelp,
    /// A sentence for the user.
    Sentence(String),
}

/// What came of the words.
pub(crate) struct Parsed<F> {
    /// The flags.
    pub(crate) flags: F,
    /// What is no flag, in order.
    pub(crate) args: Vec<String>,
    /// How many of `args` stood before a `--`, when there was one.
    pub(crate) dash: Option<usize>,
    /// Sentences about flags that go away.
    pub(crate) notices: Vec<String>,
}

/// Parses `words`. Without `interspersed`, the first argument ends the flags.
pub(crate) fn parse<F: Flags>(words: &[String], interspersed: bool) -> Result<Parsed<F>, Wrong> {
    let mut parsed = Parsed { flags: F::default(), args: Vec::new(), dash: None, notices: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word.len() < 2 || !word.starts_with('-') {
            parsed.args.push(word.clone());
            if !interspersed {
                break;
            }
            continue;
        }
        if word == "--" {
            parsed.dash = Some(parsed.args.len());
            break;
        }
        match word.strip_prefix("--") {
            Some(long) => parse_long(&mut parsed, long, &mut words)?,
            None => parse_short(&mut parsed, &word[1..], &mut words)?,
        }
    }
    parsed.args.extend(words.cloned());
    Ok(parsed)
}

fn parse_long<F: Flags>(
    parsed: &mut Parsed<F>,
    long: &str,
    words: &mut std::slice::Iter<'_, String>,
) -> Result<(), Wrong> {
    if long.starts_with(['-', '=']) {
        return Err(Wrong::Sentence(format!("bad flag syntax: --{long}")));
    }
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let Some(flag) = F::FLAGS.iter().find(|flag| flag.name == name) else {
        if name != "help" {
            return Err(Wrong::Sentence(format!("unknown flag: --{name}")));
        }
        return match super::flag::parse_bool(value.unwrap_or("true")) {
            Ok(true) => Err(Wrong::Help),
            Ok(false) => Ok(()),
            Err(why) => Err(invalid(value.unwrap_or_default(), "--help", &why)),
        };
    };
    let value = match value {
        Some(value) => value,
        None if flag.bare => "true",
        None => match words.next() {
            Some(next) => next,
            None => return Err(Wrong::Sentence(format!("flag needs an argument: --{name}"))),
        },
    };
    set(parsed, flag, value)
}

fn parse_short<F: Flags>(
    parsed: &mut Parsed<F>,
    group: &str,
    words: &mut std::slice::Iter<'_, String>,
) -> Result<(), Wrong> {
    let mut rest = group;
    while let Some(letter) = rest.chars().next() {
        let here = rest;
        rest = &rest[letter.len_utf8()..];
        let Some(flag) = F::FLAGS.iter().find(|flag| flag.short == Some(letter)) else {
            if letter == 'h' {
                return Err(Wrong::ShortHelp);
            }
            return Err(Wrong::Sentence(format!("unknown shorthand flag: '{letter}' in -{here}")));
        };
        let value = match rest.strip_prefix('=') {
            Some(value) if !value.is_empty() => {
                rest = "";
                value
            }
            _ if flag.bare => "true",
            _ if !rest.is_empty() => std::mem::take(&mut rest),
            _ => match words.next() {
                Some(next) => next,
                None => {
                    return Err(Wrong::Sentence(format!("flag needs an argument: '{letter}' in -{here}")));
                }
            },
        };
        set(parsed, flag, value)?;
    }
    Ok(())
}

fn set<F: Flags>(parsed: &mut Parsed<F>, flag: &Flag, value: &str) -> Result<(), Wrong> {
    parsed.flags.set(flag.name, value).map_err(|why| {
        let name = match flag.short {
            Some(short) => format!("-{short}, --{}", flag.name),
            None => format!("--{}", flag.name),
        };
        invalid(value, &name, &why)
    })?;
    if let Some(instead) = flag.deprecated {
        parsed.notices.push(format!("Flag --{} has been deprecated, {instead}", flag.name));
    }
    Ok(())
}

fn invalid(value: &str, name: &str, why: &str) -> Wrong {
    Wrong::Sentence(format!("invalid argument {} for {} flag: {why}", quote(value), quote(name)))
}

#[cfg(test)]
mod tests {
    use super::super::flag::flags;
    use super::*;

    flags! {
        /// A few flags of every kind.
        struct Some {
            detach: bool ["detach" 'd'], "Run in the background";
            interactive: bool ["interactive" 'i'], "Keep stdin open";
            tty: bool ["tty" 't'], "A terminal";
            remove: bool ["rm"], "Remove";
            publish: Vec<String> ["publish" 'p'], "Publish";
            env: Vec<String> ["env" 'e'], "Environment";
            name: String ["name"], "Name";
            proxy: bool ["sig-proxy"] = "true", "Proxy";
            timeout: Option<i64> ["timeout" 's'], "Timeout";
        }
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn good(line: &str) -> Parsed<Some> {
        match parse(&words(line), false) {
            Ok(parsed) => parsed,
            Err(wrong) => panic!("{line}: {wrong:?}"),
        }
    }

    fn bad(line: &str) -> String {
        match parse::<Some>(&words(line), true) {
            Err(Wrong::Sentence(sentence)) => sentence,
            _ => panic!("{line} was accepted"),
        }
    }

    #[test]
    fn fingers_write_flags_in_many_ways() {
        let p = good("-itd -p=80:80 -p 81:81 -p82:82 --env=A=1 -eB=2 --rm=false --name x image -d --name y");
        assert!(p.flags.interactive && p.flags.tty && p.flags.detach && !p.flags.remove && p.flags.proxy);
        assert_eq!(p.flags.publish, ["80:80", "81:81", "82:82"]);
        assert_eq!(p.flags.env, ["A=1", "B=2"]);
        assert_eq!((p.flags.name.as_str(), p.args.join(" ").as_str()), ("x", "image -d --name y"));
        assert_eq!(good("-s -1 a").flags.timeout, Some(-1));
        assert!(!good("--sig-proxy=0 a").flags.proxy);
    }

    #[test]
    fn two_dashes_end_the_flags() {
        let p = parse::<Some>(&words("a -d -- -t b"), true).unwrap_or_else(|_| panic!("refused"));
        assert_eq!(
            (p.args.join(" ").as_str(), p.flags.detach, p.flags.tty, p.dash),
            ("a -t b", true, false, Some(1))
        );
        let p = parse::<Some>(&words("- a"), true).unwrap_or_else(|_| panic!("refused"));
        assert_eq!(p.args, ["-", "a"]);
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        assert_eq!(bad("--foo"), "unknown flag: --foo");
        assert_eq!(bad("-itz"), "unknown shorthand flag: 'z' in -z");
        assert_eq!(bad("-d="), "unknown shorthand flag: '=' in -=");
        assert_eq!(bad("--name"), "flag needs an argument: --name");
        assert_eq!(bad("-p"), "flag needs an argument: 'p' in -p");
        assert_eq!(bad("---x"), "bad flag syntax: ---x");
        assert_eq!(
            bad("-d=foo"),
            "invalid argument \"foo\" for \"-d, --detach\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax"
        );
        assert_eq!(
            bad("--rm="),
            "invalid argument \"\" for \"--rm\" flag: strconv.ParseBool: parsing \"\": invalid syntax"
        );
        assert_eq!(parse::<Some>(&words("a --help"), true).err(), Option::Some(Wrong::Help));
        assert_eq!(parse::<Some>(&words("-h"), true).err(), Option::Some(Wrong::ShortHelp));
    }
}
