use super::*;

fn parse(text: &str) -> Dockerfile {
    Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap_or_else(|e| panic!("{}", e.report()))
}

/// The command of the one instruction behind `FROM scratch`.
fn command(text: &str) -> Command {
    parse(&format!("FROM scratch\n{text}")).stages.remove(0).instructions.remove(0).command
}

/// The sentence about `text` behind `FROM scratch`, and where.
fn wrong(text: &str) -> (String, u32, u32) {
    let e = Dockerfile::parse("Dockerfile", format!("FROM scratch\n{text}").as_bytes()).unwrap_err();
    (e.to_string(), e.line, e.column)
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn a_file_with_everything_becomes_stages() {
    let text = "\u{feff}# syntax=docker/dockerfile:1\r\n# check=skip=all\r\nARG V=1\r\n\
        FROM --platform=$BUILDPLATFORM golang:$V AS Build\r\nRUN go build\r\n\
        FROM scratch\r\nCOPY --from=build /x /\r\n";
    let file = parse(text);
    assert_eq!(file.directives.syntax, Some(("docker/dockerfile:1".into(), 1)));
    assert_eq!(file.directives.check.as_deref(), Some("skip=all"));
    assert_eq!(file.arguments.len(), 1);
    let [build, last] = &file.stages[..] else { panic!("two stages") };
    assert_eq!((build.name.as_deref(), build.base.as_str()), (Some("build"), "golang:$V"));
    assert_eq!(build.platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!(build.spelt, Some(("Build".into(), "AS".into())));
    assert_eq!(last.instructions[0].source, "COPY --from=build /x /");
    assert_eq!(last.instructions[0].lines, Lines { first: 7, last: 7 });
}

#[test]
fn both_forms_of_env_and_label() {
    let pair = |name: &str, value: &str, legacy| Pair { name: name.into(), value: value.into(), legacy };
    assert_eq!(
        command("ENV a=1 b=\"x y\""),
        Command::Env(vec![pair("a", "1", false), pair("b", "\"x y\"", false)])
    );
    assert_eq!(command("env a  x  y=z"), Command::Env(vec![pair("a", "x  y=z", true)]));
    assert_eq!(command("LABEL \"a b\"=c"), Command::Label(vec![pair("\"a b\"", "c", false)]));
}

#[test]
fn commands_in_both_forms() {
    let line = |words: &[&str], shell| CommandLine { words: strings(words), shell, documents: Vec::new() };
    assert_eq!(command("CMD [\"a\", \"b\"]"), Command::Cmd(line(&["a", "b"], false)));
    assert_eq!(command("CMD a \"b\""), Command::Cmd(line(&["a \"b\""], true)));
    assert_eq!(command("ENTRYPOINT []"), Command::Entrypoint(line(&[], false)));
    assert_eq!(command("SHELL [\"sh\", \"-c\"]"), Command::Shell(strings(&["sh", "-c"])));
}

#[test]
fn run_with_all_its_flags() {
    let Command::Run(run) = command(
        "RUN --mount=type=cache,target=/c --mount=from=x,target=/y --network=none --security=insecure make",
    ) else {
        panic!("it is a RUN")
    };
    assert_eq!(run.mounts.iter().map(|m| m.from.as_deref()).collect::<Vec<_>>(), [None, Some("x")]);
    assert_eq!((run.network, run.insecure), (RunNetwork::None, true));
    assert_eq!(run.line.words, ["make"]);
}

#[test]
fn copy_with_all_its_flags_and_documents() {
    let text = "COPY --from=b --chown=1:2 --chmod=u=rwX --link --parents --exclude=*.o --exclude=x a b /c/";
    let Command::Copy(copy) = command(text) else { panic!("it is a COPY") };
    assert_eq!(copy.sources, ["a", "b"]);
    assert_eq!((copy.destination.as_str(), copy.from.as_deref()), ("/c/", Some("b")));
    assert_eq!((copy.chown.as_deref(), copy.chmod.as_deref()), (Some("1:2"), Some("u=rwX")));
    assert_eq!((copy.link, copy.parents, copy.exclude.len()), (true, true, 2));
    let Command::Copy(copy) = command("COPY <<-a x <<'b' /d/\n\t\tone $x\n\ta\ntwo\nb\n") else {
        panic!("it is a COPY")
    };
    assert_eq!(copy.sources, ["x"]);
    let texts: Vec<_> =
        copy.documents.iter().map(|d| (d.name.as_str(), d.content.as_str(), d.expand)).collect();
    assert_eq!(texts, [("a", "one $x\n", true), ("b", "two\n", false)]);
    let Command::Add(add) =
        command("ADD --keep-git-dir --checksum=sha256:0 --unpack=false https://x/y.git /")
    else {
        panic!("it is an ADD")
    };
    assert_eq!(
        (add.keep_git_dir, add.unpack, add.checksum.as_deref()),
        (Some(true), Some(false), Some("sha256:0"))
    );
}

#[test]
fn onbuild_keeps_its_instruction_with_documents() {
    assert_eq!(command("onbuild  RUN a \\\n  b"), Command::Onbuild("RUN a   b".into()));
    assert_eq!(command("ONBUILD COPY <<E /\nx\nE\n"), Command::Onbuild("COPY <<E /\nx\nE".into()));
}

#[test]
fn healthchecks() {
    let Command::Healthcheck(spec) = command("HEALTHCHECK --interval=1m --retries=2 CMD curl x || exit 1")
    else {
        panic!("it is a HEALTHCHECK")
    };
    assert_eq!((spec.interval, spec.retries), (60_000_000_000, 2));
    assert_eq!(spec.test, Some(strings(&["CMD-SHELL", "curl x || exit 1"])));
    let Command::Healthcheck(spec) = command("HEALTHCHECK cmd [\"a\",\"b\"]") else {
        panic!("it is a HEALTHCHECK")
    };
    assert_eq!(spec.test, Some(strings(&["CMD", "a", "b"])));
    let Command::Healthcheck(spec) = command("HEALTHCHECK none") else { panic!("it is a HEALTHCHECK") };
    assert_eq!(spec.test, Some(strings(&["NONE"])));
}

#[test]
fn arguments_have_defaults_and_descriptions() {
    let file = parse("# v is the version\nARG v=1 w\nFROM scratch");
    let Command::Arg(arguments) = &file.arguments[0].command else { panic!("it is an ARG") };
    assert_eq!(arguments[0].description, "is the version");
    assert_eq!((arguments[0].default.as_deref(), arguments[1].default.as_deref()), (Some("1"), None));
}

#[test]
fn each_fault_has_its_sentence_and_place() {
    let on2 = |rest: &str| format!("dockerfile parse error on line 2: {rest}");
    for (text, sentence, line, column) in [
        ("FORM x", on2("unknown instruction: FORM (did you mean FROM?)"), 2, 1),
        ("  rum x", on2("unknown instruction: rum (did you mean run?)"), 2, 3),
        ("KITTEN x", on2("unknown instruction: KITTEN"), 2, 1),
        ("FROM", on2("FROM requires either one or three arguments"), 2, 1),
        ("FROM a b c", on2("FROM requires either one or three arguments"), 2, 1),
        (
            "FROM a AS 1b",
            on2("invalid name for build stage: \"1b\", name can't start with a number or contain symbols"),
            2,
            11,
        ),
        ("FROM --platfrom=x a", on2("unknown flag: --platfrom (did you mean platform?)"), 2, 6),
        ("RUN --mount x", on2("missing a value on flag: --mount"), 2, 5),
        ("RUN --network=a --network=b x", on2("duplicate flag specified: --network"), 2, 17),
        ("RUN --network=x y", on2("invalid network mode \"x\""), 2, 15),
        ("RUN --security=x y", on2("security \"x\" is not valid"), 2, 16),
        ("COPY --link=x a b", on2("expecting boolean value for flag --link, not: x"), 2, 6),
        ("COPY --link= a b", on2("missing a value on flag: --link"), 2, 6),
        (
            "COPY a",
            on2(
                "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
            ),
            2,
            1,
        ),
        ("ADD a <<b\nb", on2("ADD cannot accept a heredoc as a destination"), 2, 7),
        ("ENV", on2("ENV requires at least one argument"), 2, 1),
        ("ENV =b", on2("ENV names can not be blank"), 2, 5),
        ("ARG =b", on2("ARG names can not be blank"), 2, 5),
        ("USER", on2("USER requires exactly one argument"), 2, 1),
        ("ONBUILD ONBUILD RUN x", on2("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"), 2, 1),
        ("ONBUILD FROM x", on2("FROM isn't allowed as an ONBUILD trigger"), 2, 1),
        ("HEALTHCHECK NONE x", on2("HEALTHCHECK NONE takes no arguments"), 2, 1),
        ("HEALTHCHECK CMD", on2("Missing command after HEALTHCHECK CMD"), 2, 1),
        ("HEALTHCHECK FOO x", on2("Unknown type \"FOO\" in HEALTHCHECK (try CMD)"), 2, 1),
        ("HEALTHCHECK --interval=1us CMD x", on2("Interval \"interval\" cannot be less than 1ms"), 2, 24),
        ("HEALTHCHECK --retries=-1 CMD x", on2("--retries cannot be negative (-1)"), 2, 23),
        ("HEALTHCHECK --timeout=5 CMD x", on2("time: missing unit in duration \"5\""), 2, 23),
        ("SHELL sh -c", on2("SHELL requires the arguments to be in JSON form"), 2, 1),
        ("SHELL []", on2("SHELL requires at least one argument"), 2, 1),
        ("VOLUME [\" \"]", on2("VOLUME specified can not be an empty string"), 2, 1),
        ("CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only".into(), 2, 6),
    ] {
        assert_eq!(wrong(text), (sentence, line, column), "{text}");
    }
}

#[test]
fn whole_files_can_be_wrong() {
    let sentence = |text: &str| Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap_err().to_string();
    assert_eq!(sentence(""), "the Dockerfile cannot be empty");
    assert_eq!(sentence("# x"), "file with no instructions");
    assert_eq!(sentence("ARG x"), "dockerfile contains no stages to build");
    assert_eq!(sentence("RUN x\nFROM y"), "no build stage in current context");
    let e = Dockerfile::parse("Dockerfile", b"# syntax=example.com/mine:1\nFROM x").unwrap_err();
    assert!(e.to_string().starts_with("the frontend example.com/mine:1 is not available"));
    assert_eq!((e.kind(), e.line, e.column), (minke_model::Kind::NotImplemented, 1, 10));
}

#[test]
fn a_report_shows_the_line_and_marks_the_word() {
    let e = Dockerfile::parse("docker/Dockerfile", b"FROM a\n\nRUN --mont=x y\nRUN z\n").unwrap_err();
    assert_eq!(
        e.report(),
        "docker/Dockerfile:3:5\n--------------------\n   1 |     FROM a\n   2 |     \n   3 | >>> RUN --mont=x y\n     \
         |         ^\n   4 |     RUN z\n--------------------\ndockerfile parse error on line 3: unknown flag: --mont \
         (did you mean mount?)\n"
    );
}

#[test]
fn triggers_of_images_are_one_instruction_each() {
    let source = Source { file: "Dockerfile".into(), text: "FROM x".into() };
    let at = Lines::one(1);
    assert!(matches!(trigger(&source, at, "RUN a").unwrap().command, Command::Run(_)));
    let sentence = |text| trigger(&source, at, text).unwrap_err().to_string();
    assert_eq!(sentence("RUN a\nRUN b"), "onbuild trigger should be a single expression");
    assert_eq!(sentence("FROM a"), "FROM isn't allowed as an ONBUILD trigger");
    assert_eq!(sentence("KITTEN a"), "unknown instruction: KITTEN");
}
