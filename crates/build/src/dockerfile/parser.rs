//! From statements to instructions and stages, each with everything that its form alone can have wrong (pure).

use super::{
    arguments::Arguments,
    directive,
    fault::Fault,
    flags::{Flags, Takes, Wrong, plain},
    heredoc,
    instruction::{
        Argument, Command, CommandLine, Copy, Directives, Dockerfile, Heredoc, Instruction, Pair, Run,
        RunNetwork, Stage,
    },
    lexer::{self, Statement},
    mount,
};
use crate::{
    error::{DockerfileError, Lines, Source},
    go::{nearest, parse_duration, quote},
};
use minke_model::health::HealthSpec;

/// All that there are.
const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Dockerfile {
    /// Parses the bytes of the file that is named `file` in messages.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, DockerfileError> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let source = Source { file: file.into(), text: text.into() };
        let whole = |fault| DockerfileError::new(&source, Lines::one(1), "", fault);
        if text.is_empty() {
            return Err(whole(Fault::Empty));
        }
        let syntax = directive::frontend(text);
        if let Some((frontend, line)) = &syntax
            && !directive::is_official(frontend)
        {
            let fault = Fault::Frontend(frontend.clone());
            return Err(DockerfileError::new(&source, Lines::one(*line), frontend, fault));
        }
        let check = directive::find(text, "#", "check").map(|(value, _)| value.to_owned());
        let lexed = lexer::lex(&source)?;
        let directives = Directives { syntax, escape: lexed.escape, check };
        let (arguments, stages) = stages(&source, lexed.statements)?;
        if stages.is_empty() {
            return Err(whole(Fault::NoStages));
        }
        Ok(Self { directives, arguments, stages, empty_continuations: lexed.empty_continuations, source })
    }
}

/// Sorts instructions to their stages; `ARG`s before the first `FROM` stand apart.
fn stages(
    source: &Source,
    statements: Vec<Statement>,
) -> Result<(Vec<Instruction>, Vec<Stage>), DockerfileError> {
    let (mut arguments, mut stages) = (Vec::new(), Vec::<Stage>::new());
    for statement in statements {
        let lines = statement.lines;
        let first = statement.keyword.clone();
        if first.eq_ignore_ascii_case("FROM") {
            stages.push(while_parsing(source, lines, &first, from(statement))?);
            continue;
        }
        let instruction = while_parsing(source, lines, &first, instruction(statement))?;
        match stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None if matches!(instruction.command, Command::Arg(_)) => arguments.push(instruction),
            None => return Err(DockerfileError::new(source, lines, "", Fault::OutsideStage)),
        }
    }
    Ok((arguments, stages))
}

fn while_parsing<T>(
    source: &Source,
    lines: Lines,
    keyword: &str,
    result: Result<T, Wrong>,
) -> Result<T, DockerfileError> {
    result.map_err(|(fault, word, near)| {
        let word = if word.is_empty() { keyword } else { &word };
        let mut error = DockerfileError::new(source, lines, word, fault).suggest(near);
        error.while_parsing = true;
        error
    })
}

/// Parses what an image's `ONBUILD` kept; its escape is a backslash, whatever this file's is. Faults are shown at `lines`, where the image is named.
pub(crate) fn trigger(
    source: &Source,
    lines: Lines,
    expression: &str,
) -> Result<Instruction, DockerfileError> {
    let own = Source { file: source.file.clone(), text: expression.into() };
    let here = |error: DockerfileError| {
        let mut moved = DockerfileError::new(source, lines, "", error.fault).suggest(error.suggestion);
        moved.while_parsing = false;
        moved
    };
    let lexed = lexer::lex(&own).map_err(here)?;
    let one = |fault| DockerfileError::new(source, lines, "", fault);
    let [statement] = <[Statement; 1]>::try_from(lexed.statements).map_err(|_| one(Fault::OnbuildMany))?;
    if statement.keyword.eq_ignore_ascii_case("FROM") {
        return Err(one(Fault::OnbuildTrigger("FROM".into())));
    }
    let mut made = while_parsing(&own, statement.lines, "", instruction(statement)).map_err(here)?;
    made.lines = lines;
    Ok(made)
}

fn from(statement: Statement) -> Result<Stage, Wrong> {
    let words = statement.arguments.words();
    let (base, spelt) = match &words[..] {
        [base] => (base.clone(), None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => {
            (base.clone(), Some((name.clone(), word.clone())))
        }
        _ => return Err((Fault::FromArguments, String::new(), None)),
    };
    let name = spelt.as_ref().map(|(name, _)| name.to_lowercase());
    if let (Some(name), Some((spelt, _))) = (&name, &spelt)
        && !is_stage_name(name)
    {
        return Err((Fault::StageName(spelt.clone()), spelt.clone(), None));
    }
    let flags = Flags::parse(&statement.flags, &[("platform", Takes::One)])?;
    Ok(Stage {
        name,
        base,
        platform: flags.text("platform"),
        keyword: statement.keyword,
        spelt,
        source: statement.source.trim().to_owned(),
        lines: statement.lines,
        comments: statement.comments,
        instructions: Vec::new(),
    })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

fn instruction(statement: Statement) -> Result<Instruction, Wrong> {
    let Statement { keyword, flags, arguments, source, documents, lines, comments } = statement;
    let upper = keyword.to_ascii_uppercase();
    let command = match upper.as_str() {
        "ADD" => Command::Add(add(&flags, arguments, documents)?),
        "ARG" => Command::Arg(arg(&flags, arguments, &comments)?),
        "CMD" => Command::Cmd(command_line(&flags, arguments, documents)?),
        "COPY" => Command::Copy(copy(&flags, arguments, documents)?),
        "ENTRYPOINT" => Command::Entrypoint(command_line(&flags, arguments, documents)?),
        "ENV" => Command::Env(pairs("ENV", &flags, arguments)?),
        "EXPOSE" => {
            let mut ports = some("EXPOSE", &flags, arguments)?;
            ports.sort();
            Command::Expose(ports)
        }
        "HEALTHCHECK" => Command::Healthcheck(healthcheck(&flags, arguments)?),
        "LABEL" => Command::Label(pairs("LABEL", &flags, arguments)?),
        "MAINTAINER" => Command::Maintainer(one("MAINTAINER", &flags, arguments)?),
        "ONBUILD" => Command::Onbuild(onbuild(&flags, arguments, &source, &documents)?),
        "RUN" => Command::Run(run(&flags, arguments, documents)?),
        "SHELL" => Command::Shell(shell(&flags, arguments)?),
        "STOPSIGNAL" => Command::Stopsignal(one("STOPSIGNAL", &[], arguments)?),
        "USER" => Command::User(one("USER", &flags, arguments)?),
        "VOLUME" => Command::Volume(volume(&flags, arguments)?),
        "WORKDIR" => Command::Workdir(one("WORKDIR", &flags, arguments)?),
        _ => {
            let near = nearest(&upper, INSTRUCTIONS);
            // A word in small letters is answered in small letters.
            let near = near.map(|n| if keyword == keyword.to_lowercase() { n.to_lowercase() } else { n });
            return Err((Fault::UnknownInstruction(keyword), String::new(), near));
        }
    };
    Ok(Instruction { command, keyword, source: source.trim().to_owned(), lines, comments })
}

fn wrong<T>(fault: Fault) -> Result<T, Wrong> {
    Err((fault, String::new(), None))
}

fn one(keyword: &'static str, flags: &[String], arguments: Arguments) -> Result<String, Wrong> {
    let words = arguments.words();
    let Ok([word]) = <[String; 1]>::try_from(words) else { return wrong(Fault::ExactlyOne(keyword)) };
    Flags::none(flags)?;
    Ok(word)
}

fn some(keyword: &'static str, flags: &[String], arguments: Arguments) -> Result<Vec<String>, Wrong> {
    let words = arguments.words();
    if words.is_empty() {
        return wrong(Fault::AtLeastOne(keyword));
    }
    Flags::none(flags)?;
    Ok(words)
}

fn pairs(keyword: &'static str, flags: &[String], arguments: Arguments) -> Result<Vec<Pair>, Wrong> {
    Flags::none(flags)?;
    let Arguments::Pairs(pairs) = arguments else { return wrong(Fault::AtLeastOne(keyword)) };
    if pairs.is_empty() {
        return wrong(Fault::AtLeastOne(keyword));
    }
    if let Some(blank) = pairs.iter().find(|p| p.name.is_empty()) {
        return Err((Fault::BlankName(keyword), format!("={}", blank.value), None));
    }
    Ok(pairs)
}

fn arg(flags: &[String], arguments: Arguments, comments: &[String]) -> Result<Vec<Argument>, Wrong> {
    let words = arguments.words();
    if words.is_empty() {
        return wrong(Fault::AtLeastOne("ARG"));
    }
    Flags::none(flags)?;
    let argument = |word: String| {
        let (name, default) = match word.split_once('=') {
            Some(("", _)) => return Err((Fault::BlankName("ARG"), word.clone(), None)),
            Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
            None => (word, None),
        };
        let of = |comment: &String| Some(comment.strip_prefix(&name)?.strip_prefix(' ')?.to_owned());
        Ok(Argument { description: comments.iter().find_map(of).unwrap_or_default(), name, default })
    };
    words.into_iter().map(argument).collect()
}

fn command_line(
    flags: &[String],
    arguments: Arguments,
    documents: Vec<Heredoc>,
) -> Result<CommandLine, Wrong> {
    Flags::none(flags)?;
    Ok(line(arguments, documents))
}

fn line(arguments: Arguments, documents: Vec<Heredoc>) -> CommandLine {
    let shell = !matches!(arguments, Arguments::Json(_));
    CommandLine { words: arguments.words(), shell, documents }
}

fn run(flags: &[String], arguments: Arguments, documents: Vec<Heredoc>) -> Result<Run, Wrong> {
    let known =
        [("mount", Takes::Many), ("network", Takes::One), ("security", Takes::One), ("device", Takes::Many)];
    let flags = Flags::parse(flags, &known)?;
    let network = match flags.get("network") {
        None | Some("default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => return Err((Fault::Network(other.into()), other.into(), None)),
    };
    let insecure = match flags.get("security") {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => return Err((Fault::Security(other.into()), other.into(), None)),
    };
    let mounts = flags.all("mount").into_iter().map(mount::flag).collect::<Result<_, _>>()?;
    Ok(Run { line: line(arguments, documents), mounts, network, insecure, devices: flags.all("device") })
}

fn add(flags: &[String], arguments: Arguments, documents: Vec<Heredoc>) -> Result<Copy, Wrong> {
    let known = [
        ("chown", Takes::One),
        ("chmod", Takes::One),
        ("link", Takes::Bool),
        ("keep-git-dir", Takes::Bool),
        ("checksum", Takes::One),
        ("unpack", Takes::Bool),
        ("exclude", Takes::Many),
    ];
    paths("ADD", flags, &known, arguments, documents)
}

fn copy(flags: &[String], arguments: Arguments, documents: Vec<Heredoc>) -> Result<Copy, Wrong> {
    let known = [
        ("chown", Takes::One),
        ("from", Takes::One),
        ("chmod", Takes::One),
        ("link", Takes::Bool),
        ("exclude", Takes::Many),
        ("parents", Takes::Bool),
    ];
    paths("COPY", flags, &known, arguments, documents)
}

fn paths(
    keyword: &'static str,
    flags: &[String],
    known: &[(&'static str, Takes)],
    arguments: Arguments,
    mut documents: Vec<Heredoc>,
) -> Result<Copy, Wrong> {
    let mut words = arguments.words();
    if words.len() < 2 {
        return wrong(Fault::NoDestination(keyword));
    }
    let flags = Flags::parse(flags, known)?;
    let destination = words.pop().unwrap_or_default();
    if heredoc::parse(&destination).is_some() {
        return Err((Fault::HeredocDestination(keyword), destination, None));
    }
    let mut sources = Vec::new();
    let mut texts = Vec::new();
    for word in words {
        let Some(begun) = heredoc::parse(&word) else {
            sources.push(word);
            continue;
        };
        // Two of one name: the later text is both's.
        let content = documents.iter_mut().rev().find(|d| d.name == begun.name).map(|d| d.content.clone());
        let mut content = content.unwrap_or_default();
        if begun.strip_tabs {
            content = heredoc::without_tabs(&content);
        }
        texts.push(Heredoc { content, ..begun });
    }
    Ok(Copy {
        sources,
        documents: texts,
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        parents: flags.switch("parents").unwrap_or_default(),
        exclude: flags.all("exclude"),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    })
}

fn shell(flags: &[String], arguments: Arguments) -> Result<Vec<String>, Wrong> {
    Flags::none(flags)?;
    match arguments {
        Arguments::Json(words) if !words.is_empty() => Ok(words),
        Arguments::Words(words) if !words.is_empty() => wrong(Fault::ShellNotJson),
        _ => wrong(Fault::AtLeastOne("SHELL")),
    }
}

fn volume(flags: &[String], arguments: Arguments) -> Result<Vec<String>, Wrong> {
    let words = some("VOLUME", flags, arguments)?;
    let words: Vec<String> = words.into_iter().map(|w| w.trim().to_owned()).collect();
    if words.iter().any(String::is_empty) {
        return wrong(Fault::EmptyVolume);
    }
    Ok(words)
}

fn onbuild(
    flags: &[String],
    arguments: Arguments,
    source: &str,
    documents: &[Heredoc],
) -> Result<String, Wrong> {
    let words = some("ONBUILD", flags, arguments)?;
    let inner = words.first().map(String::as_str).unwrap_or_default();
    let keyword = inner.split_whitespace().next().unwrap_or_default().to_uppercase();
    match keyword.as_str() {
        "ONBUILD" => return wrong(Fault::OnbuildOnbuild),
        "MAINTAINER" | "FROM" => return wrong(Fault::OnbuildTrigger(keyword)),
        _ => {}
    }
    // Ends of lines inside were joined away, blanks stay as they were written.
    let trimmed = source.trim_start();
    let mut expression = trimmed.get("ONBUILD".len()..).unwrap_or_default().trim_start().to_owned();
    for document in documents {
        expression.push('\n');
        expression.push_str(&document.content);
        expression.push_str(&document.name);
    }
    Ok(expression)
}

fn healthcheck(flags: &[String], arguments: Arguments) -> Result<HealthSpec, Wrong> {
    let is_json = matches!(arguments, Arguments::Json(_));
    let mut words = arguments.words();
    if words.is_empty() {
        return wrong(Fault::AtLeastOne("HEALTHCHECK"));
    }
    let kind = words.remove(0).to_uppercase();
    if kind == "NONE" {
        if !words.is_empty() {
            return wrong(Fault::HealthNone);
        }
        return Ok(HealthSpec { test: Some(vec![kind]), ..HealthSpec::default() });
    }
    let known = ["interval", "timeout", "start-period", "start-interval", "retries"].map(|n| (n, Takes::One));
    let flags = Flags::parse(flags, &known)?;
    if kind != "CMD" {
        return wrong(Fault::HealthType(kind));
    }
    if words.is_empty() {
        return wrong(Fault::HealthCommand);
    }
    let kind = if is_json { "CMD" } else { "CMD-SHELL" };
    let duration = |name: &'static str| {
        let Some(text) = flags.text(name) else { return Ok(0) };
        let at = |fault| (fault, text.clone(), None);
        match parse_duration(&text).map_err(|why| at(Fault::Duration(why)))? {
            0 => Ok(0),
            short if short < 1_000_000 => Err(at(Fault::HealthInterval(name))),
            long => Ok(long),
        }
    };
    Ok(HealthSpec {
        test: Some(std::iter::once(kind.to_owned()).chain(words).collect()),
        interval: duration("interval")?,
        timeout: duration("timeout")?,
        start_period: duration("start-period")?,
        start_interval: duration("start-interval")?,
        retries: match flags.text("retries") {
            Some(text) => plain(retries(&text))?,
            None => 0,
        },
        at_start: false,
    })
}

fn retries(text: &str) -> super::arguments::At<u32> {
    let number = match text.parse::<i64>() {
        Ok(number) if i32::try_from(number).is_ok() => number,
        Ok(_) => {
            let sentence = format!("strconv.ParseInt: parsing {}: value out of range", quote(text));
            return Err((Fault::Number(sentence), text.into()));
        }
        Err(_) => {
            let sentence = format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text));
            return Err((Fault::Number(sentence), text.into()));
        }
    };
    u32::try_from(number).map_err(|_| (Fault::HealthRetries(number), text.into()))
}

#[cfg(test)]
mod tests;
