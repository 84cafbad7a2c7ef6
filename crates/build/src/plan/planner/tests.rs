use super::*;
use crate::dockerfile::instruction::Pairs;
use crate::plan::{CopySource, Finding, Mode, RunMount, RunOp, Sharing};
use minke_image::ImageConfig;
use std::fmt::Write as _;

fn amd64() -> Platform {
    platform::parse("linux/amd64").unwrap()
}

fn options() -> PlanOptions {
    PlanOptions { build_platform: amd64(), ..PlanOptions::default() }
}

fn config(json: &str) -> Arc<ImageConfig> {
    let raw = format!(
        r#"{{"os":"linux","architecture":"amd64","config":{json},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        "a".repeat(64)
    );
    Arc::new(ImageConfig::parse(raw.as_bytes()).unwrap())
}

/// Plans `text`; every image has the configuration `base`.
fn plan_on(text: &str, options: PlanOptions, base: &str) -> Result<Plan, DockerfileError> {
    let file = Dockerfile::parse("Dockerfile", text.as_bytes())?;
    let mut planner = Planner::new(file, options)?;
    while let Some(wanted) = planner.wanted().into_iter().next() {
        let config = matches!(wanted.what, Base::Image(_)).then(|| config(base));
        planner.give(wanted.id, Given { digest: None, config })?;
    }
    planner.finish()
}

fn plan(text: &str) -> Plan {
    plan_on(text, options(), "{}").unwrap_or_else(|e| panic!("{}", e.report()))
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|s| s.name.as_str()).collect()
}

fn history(plan: &Plan) -> Vec<&str> {
    plan.image.history.iter().map(|h| h.created_by.as_str()).collect()
}

fn run(plan: &Plan) -> &RunOp {
    let run = plan.steps.iter().rev().find_map(|s| match &s.op {
        Op::Run(run) => Some(run),
        _ => None,
    });
    run.expect("a RUN")
}

fn copy(plan: &Plan) -> &crate::plan::CopyOp {
    let copy = plan.steps.iter().rev().find_map(|s| match &s.op {
        Op::Copy(copy) => Some(copy),
        _ => None,
    });
    copy.expect("a COPY")
}

fn sentence(text: &str) -> String {
    plan_on(text, options(), "{}").unwrap_err().to_string()
}

fn findings(text: &str) -> Vec<String> {
    plan(text).findings.iter().map(Finding::short).collect()
}

#[test]
fn one_stage_is_a_chain_of_numbered_steps() {
    let plan = plan("FROM alpine\nARG V=1\nENV A=$V\nWORKDIR /w\nCOPY . $A/\nrun make $A $B\nCMD [\"x\"]\n");
    assert_eq!(
        names(&plan),
        [
            "[1/4] FROM docker.io/library/alpine:latest",
            "[2/4] WORKDIR /w",
            "[internal] load build context",
            "[3/4] COPY . 1/",
            "[4/4] RUN make 1 $B",
        ]
    );
    assert_eq!(plan.result, Tree::Of(StepId(4)));
    assert_eq!(
        history(&plan),
        [
            "ARG V=1",
            "ENV A=1",
            "WORKDIR /w",
            "COPY . 1/ # buildkit",
            "RUN |1 V=1 /bin/sh -c make $A $B # buildkit",
            "CMD [\"x\"]",
        ]
    );
    let layers: Vec<bool> = plan.image.history.iter().map(|h| h.layer.is_some()).collect();
    assert_eq!(layers, [false, false, true, true, true, false]);
    assert_eq!(
        run(&plan).env,
        [
            format!("PATH={}", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            "V=1".into(),
            "A=1".into()
        ]
    );
    assert_eq!(plan.image.defaults.env.len(), 2);
    assert_eq!((run(&plan).cwd.as_str(), copy(&plan).destination.as_str()), ("/w", "/w/1/"));
    assert_eq!(plan.context_paths, None);
}

#[test]
fn only_what_the_target_needs_is_planned() {
    let text = "FROM alpine AS a\nRUN a\nFROM alpine AS b\nRUN b\nFROM scratch AS c\nCOPY --from=a /x /y\nFROM a AS d\nRUN d\n";
    let of = |target: &str| {
        let options = PlanOptions { target: Some(target.into()), ..options() };
        plan_on(text, options, "{}").unwrap()
    };
    assert_eq!(
        names(&of("C")),
        ["[a 1/2] FROM docker.io/library/alpine:latest", "[a 2/2] RUN a", "[c 1/1] COPY --from=a /x /y"]
    );
    assert_eq!(
        names(&of("d")),
        ["[a 1/2] FROM docker.io/library/alpine:latest", "[a 2/2] RUN a", "[d 1/1] RUN d"]
    );
    assert_eq!(names(&of("b")).len(), 2);
    let e = plan_on(text, PlanOptions { target: Some("e".into()), ..options() }, "{}").unwrap_err();
    assert!(e.to_string().starts_with("target stage \"e\" could not be found (did you mean "));
}

#[test]
fn stages_are_found_by_name_and_number_and_images_by_name() {
    let plan = plan(
        "FROM alpine AS Base\nRUN a\nFROM scratch\nCOPY --from=0 /a /\nCOPY --from=BASE /b /\nCOPY --from=nginx:1 /c /\n",
    );
    assert_eq!(
        names(&plan),
        [
            "[base 1/2] FROM docker.io/library/alpine:latest",
            "FROM docker.io/library/nginx:1",
            "[base 2/2] RUN a",
            "[stage-1 1/3] COPY --from=0 /a /",
            "[stage-1 2/3] COPY --from=BASE /b /",
            "[stage-1 3/3] COPY --from=nginx:1 /c /",
        ]
    );
    let trees: Vec<Tree> = plan
        .steps
        .iter()
        .filter_map(|s| match &s.op {
            Op::Copy(copy) => match &copy.sources[0] {
                CopySource::Files { tree, .. } => Some(*tree),
                CopySource::Text { .. } => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(trees, [Tree::Of(StepId(2)), Tree::Of(StepId(2)), Tree::Of(StepId(1))]);
}

#[test]
fn wrong_references_between_stages_are_told() {
    assert_eq!(sentence("FROM scratch AS a\nCOPY --from=a / /"), "circular dependency detected on stage: a");
    assert_eq!(
        sentence("FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nRUN x\nFROM a"),
        "cannot copy from stage \"b\", it needs to be defined before current stage \"a\""
    );
    assert_eq!(sentence("FROM scratch\nCOPY --from=7 / /"), "invalid stage index 7");
    assert!(
        sentence("ARG x=a\nFROM scratch\nCOPY --from=$x / /")
            .starts_with("variable expansion is not supported for --from")
    );
    assert_eq!(
        sentence("FROM scratch AS a\nRUN --mount=from=b,target=/b x\nFROM scratch AS b\nFROM a"),
        "cannot mount from stage \"b\" to \"/b\", stage needs to be defined before current command"
    );
    assert_eq!(
        sentence("FROM UPPER"),
        "failed to parse stage name \"UPPER\": invalid reference format: repository name (library/UPPER) must be lowercase"
    );
    assert_eq!(sentence("FROM $x"), "base name ($x) should not be blank");
}

#[test]
fn later_stages_inherit_what_earlier_ones_say() {
    let plan = plan(
        "FROM alpine AS a\nARG V=1\nENV A=2\nUSER me\nWORKDIR /w\nSHELL [\"bash\"]\nFROM a\nRUN x\nCMD y\n",
    );
    let run = run(&plan);
    assert_eq!((run.user.as_str(), run.cwd.as_str()), ("me", "/w"));
    assert_eq!(run.args, ["bash", "x"]);
    assert!(run.env.contains(&"V=1".into()) && run.env.contains(&"A=2".into()));
    assert_eq!(plan.image.defaults.cmd.as_deref(), Some(&["bash".to_owned(), "y".to_owned()][..]));
    assert_eq!(plan.image.history.len(), 7);
}

#[test]
fn the_base_images_configuration_is_the_start() {
    let base = r#"{"Env":["PATH=/p","X=1"],"WorkingDir":"/app","User":"u","Cmd":["old"],"Labels":{"a":"b"}}"#;
    let text = "FROM x\nENV Y=$X\nENTRYPOINT [\"e\"]\nWORKDIR sub\nRUN --mount=type=tmpfs,target=t z\n";
    let plan = plan_on(text, options(), base).unwrap();
    assert_eq!(plan.image.defaults.env, ["PATH=/p", "X=1", "Y=1"]);
    assert_eq!(plan.image.defaults.cmd, None);
    assert_eq!(plan.image.defaults.working_dir, "/app/sub");
    assert_eq!(run(&plan).mounts, [RunMount::Tmpfs { target: "/app/sub/t".into(), size: None }]);
    assert_eq!(plan.findings.len(), 1);
}

#[test]
fn triggers_of_the_base_run_first_and_may_need_more() {
    let base = r#"{"OnBuild":["COPY --from=tools /t /t","RUN trigger"]}"#;
    let file = Dockerfile::parse("Dockerfile", b"FROM x\nRUN own\n").unwrap();
    let mut planner = Planner::new(file, options()).unwrap();
    let images = |p: &Planner| p.wanted().into_iter().map(|w| (w.id, w.what)).collect::<Vec<_>>();
    assert_eq!(images(&planner), [(0, Base::Image("docker.io/library/x:latest".into()))]);
    planner
        .give(0, Given { digest: Some(format!("sha256:{}", "b".repeat(64))), config: Some(config(base)) })
        .unwrap();
    assert_eq!(images(&planner), [(1, Base::Image("docker.io/library/tools:latest".into()))]);
    planner.give(1, Given { digest: None, config: Some(config("{}")) }).unwrap();
    assert!(planner.wanted().is_empty());
    let plan = planner.finish().unwrap();
    assert_eq!(
        names(&plan),
        [
            format!("[1/4] FROM docker.io/library/x:latest@sha256:{}", "b".repeat(64)).as_str(),
            "FROM docker.io/library/tools:latest",
            "[2/4] ONBUILD COPY --from=tools /t /t",
            "[3/4] ONBUILD RUN trigger",
            "[4/4] RUN own",
        ]
    );
    assert!(plan.image.defaults.on_build.is_empty());
}

#[test]
fn triggers_within_a_file_run_in_the_next_stage() {
    let plan = plan("FROM scratch AS a\nONBUILD RUN x\nFROM a AS b\nRUN y\nFROM b\nRUN z\n");
    assert_eq!(names(&plan), ["[b 1/2] ONBUILD RUN x", "[b 2/2] RUN y", "[stage-2 1/1] RUN z"]);
    let keeps = self::plan("FROM scratch\nONBUILD RUN x\n");
    assert_eq!(keeps.image.defaults.on_build, ["RUN x"]);
}

#[test]
fn mounts_become_what_a_step_sees() {
    let text = "FROM scratch\nWORKDIR /w\nARG n=pip\n\
        RUN --mount=type=cache,id=$n,target=/c,sharing=locked --mount=target=src,source=a,rw \
        --mount=type=secret,id=s --mount=type=secret,id=e,env=TOKEN --mount=type=ssh \
        --mount=from=tools,target=/t go $TOKEN\n";
    let plan = plan(text);
    let Tree::Of(context) =
        Tree::Of(plan.steps.iter().position(|s| matches!(s.op, Op::Context { .. })).map(StepId).unwrap())
    else {
        panic!("a context")
    };
    let run = run(&plan);
    let owner = |mode| crate::plan::Owner { uid: 0, gid: 0, mode };
    assert_eq!(
        run.mounts[0],
        RunMount::Cache {
            id: "pip".into(),
            sharing: Sharing::Locked,
            tree: Tree::Empty,
            source: "/".into(),
            target: "/c".into(),
            read_only: false,
            owner: owner(0o755),
        }
    );
    assert_eq!(
        run.mounts[1],
        RunMount::Bind {
            tree: Tree::Of(context),
            source: "/a".into(),
            target: "/w/src".into(),
            read_only: false
        }
    );
    assert_eq!(
        run.mounts[2],
        RunMount::Secret {
            id: "s".into(),
            target: Some("/run/secrets/s".into()),
            env: None,
            required: false,
            owner: owner(0o400)
        }
    );
    assert_eq!(
        run.mounts[3],
        RunMount::Secret {
            id: "e".into(),
            target: None,
            env: Some("TOKEN".into()),
            required: false,
            owner: owner(0o400)
        }
    );
    assert_eq!(
        run.mounts[4],
        RunMount::Ssh { id: "default".into(), target: None, required: false, owner: owner(0o600) }
    );
    assert!(matches!(run.mounts[5], RunMount::Bind { read_only: true, .. }));
    assert_eq!(plan.context_paths, Some(vec!["a".into()]));
    let last = plan.steps.last().unwrap();
    assert!(
        last.name.starts_with("[stage-0 2/2] RUN --mount=type=cache,id=pip,")
            && last.name.ends_with("go ****"),
        "{}",
        last.name
    );
    assert_eq!(sentence("FROM scratch\nRUN --mount=target=/ x"), "invalid mount target \"/\"");
}

#[test]
fn documents_run_in_the_shell_or_as_scripts() {
    let run_of = |text: &str| run(&plan(&format!("FROM scratch\n{text}"))).clone();
    assert_eq!(run_of("RUN <<EOF\necho a\necho b\nEOF\n").args, ["/bin/sh", "-c", "echo a\necho b\n"]);
    assert_eq!(run_of("RUN <<-EOF\n\ta\nEOF\n").args[2], "a\n");
    let script = run_of("RUN <<EOF\n#!/usr/bin/env python\nprint()\nEOF\n");
    assert_eq!(script.args, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    let content = "#!/usr/bin/env python\nprint()\n".to_owned();
    assert_eq!(script.mounts, [RunMount::Text { target: "/dev/pipes/EOF".into(), content, mode: 0o755 }]);
    assert_eq!(run_of("RUN cat <<A >x <<B\n1\nA\n2\nB\n").args[2], "cat <<A >x <<B\n1\nA\n2\nB");
    let name = plan("FROM scratch\nRUN <<EOF\necho a\necho b\nEOF\n").steps[0].name.clone();
    assert_eq!(name, "[1/1] RUN <<EOF (echo a...)");
}

#[test]
fn copies_say_what_and_how() {
    let plan = plan(
        "FROM scratch\nARG who=1:2\nWORKDIR /w\n\
         COPY --chown=$who --chmod=u=rwX --link --exclude=*.o a* b c <<f . \nhi $who\nf\n",
    );
    let copy = copy(&plan);
    assert_eq!(
        (copy.owner.as_deref(), copy.mode.clone(), copy.link),
        (Some("1:2"), Some(Mode::Symbolic("u=rwX".into())), true)
    );
    assert_eq!((copy.destination.as_str(), copy.exclude.len()), ("/w/", 1));
    let mut show = String::new();
    for source in &copy.sources {
        match source {
            CopySource::Files { path, local, unpack, .. } => {
                writeln!(show, "{path} {local} {unpack}").unwrap()
            }
            CopySource::Text { name, content } => write!(show, "{name}={content}").unwrap(),
        }
    }
    assert_eq!(
        show,
        "/a* true false\n/\"b true false\n/c\" true false\nf=hi 1:2\n"
            .replace("\"b", "b")
            .replace("c\"", "c")
    );
    assert_eq!(plan.context_paths, Some(vec!["a*".into(), "b".into(), "c".into()]));
    assert!(history(&plan)[2].starts_with("COPY --chown=1:2 --chmod=u=rwX a* "));
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let plan = plan("FROM scratch\nCOPY --parents a/./b/*.c d/e /x/\n");
    let parents: Vec<_> = copy(&plan)
        .sources
        .iter()
        .map(|s| match s {
            CopySource::Files { path, parents: Some(p), .. } => {
                (path.as_str(), p.pattern.as_str(), p.required.as_deref())
            }
            _ => panic!("files"),
        })
        .collect();
    assert_eq!(parents, [("/a", "b/*.c", None), ("/", "d/e", Some("/d/e"))]);
}

#[test]
fn add_fetches_and_unpacks() {
    let sum = format!("sha256:{}", "0".repeat(64));
    let plan = plan(&format!(
        "FROM scratch\nADD --checksum={sum} https://x/a.tar /\nADD https://x/y.git#v1:d /r\nADD local.tar /l/\n"
    ));
    assert_eq!(
        plan.steps[0].op,
        Op::Http(crate::plan::Http {
            url: "https://x/a.tar".into(),
            file: "a.tar".into(),
            checksum: Some(sum)
        })
    );
    let Op::Git(git) = &plan.steps[2].op else { panic!("a repository") };
    assert_eq!(
        (git.remote.as_str(), git.reference.as_str(), git.directory.as_str()),
        ("https://x/y.git", "v1", "d")
    );
    let unpacks = |at: usize| match &plan.steps[at].op {
        Op::Copy(copy) => matches!(copy.sources[0], CopySource::Files { unpack: true, .. }),
        _ => panic!("a copy"),
    };
    assert!(!unpacks(1) && unpacks(plan.steps.len() - 1));
    for (text, fault) in [
        ("COPY https://x/a /", "source can't be a URL for COPY"),
        ("COPY git@x:y /", "source can't be a git ref for COPY"),
        ("ADD --checksum=x a /", "checksum requires HTTP(S) or Git sources"),
        ("ADD --checksum=x https://a/b https://c/d /", "checksum can't be specified for multiple sources"),
        ("ADD --checksum=x https://a/b /", "invalid checksum digest format"),
        ("ADD https://a/b.git?x=1 /", "unexpected query \"x\""),
        (
            "COPY --chmod=9 a /",
            "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
        ),
    ] {
        assert_eq!(sentence(&format!("FROM scratch\n{text}")), fault, "{text}");
    }
}

#[test]
fn what_is_not_allowed_is_refused_with_its_place() {
    let refused = |text: &str| {
        let e = plan_on(&format!("FROM scratch\n{text}"), options(), "{}").unwrap_err();
        (e.kind(), e.line, e.column, e.to_string())
    };
    use minke_model::Kind;
    assert_eq!(refused("RUN --security=insecure x").0, Kind::Forbidden);
    assert!(refused("RUN --network=host x").3.ends_with("network.host is not allowed"));
    assert_eq!(refused("RUN --device=vendor.com/gpu x").0, Kind::NotImplemented);
    let (_, line, column, text) = refused("USER a\nUSER ${b:?who}");
    assert_eq!((line, column, text.as_str()), (3, 6, "failed to process \"${b:?who}\": b: who"));
    assert_eq!(refused("STOPSIGNAL FOO").3, "invalid signal: FOO");
    assert_eq!(refused("EXPOSE x").3, "invalid containerPort: x");
    let options = PlanOptions { allow_insecure: true, allow_host_network: true, ..options() };
    let plan = plan_on("FROM scratch\nRUN --network=host --security=insecure x", options, "{}").unwrap();
    assert!(run(&plan).insecure);
}

#[test]
fn arguments_come_from_the_file_the_command_line_and_the_platform() {
    let text = "ARG V=3\nARG W\nFROM --platform=$BUILDPLATFORM base:$V AS b\nARG V\nARG TARGETARCH\nARG X=d\nARG W\nRUN x\n";
    let given = [("X", "x"), ("W", "w"), ("HTTP_PROXY", "p"), ("TARGETARCH", "riscv64")];
    let options = PlanOptions {
        platform: Some(platform::parse("linux/arm64").unwrap()),
        build_args: given.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
        multi_platform: true,
        ..options()
    };
    let plan = plan_on(text, options, "{}").unwrap();
    assert_eq!(
        names(&plan),
        ["[linux/amd64 1/2] FROM docker.io/library/base:3", "[linux/amd64->riscv64 2/2] RUN x"]
    );
    let run = run(&plan);
    assert_eq!(run.env[1..], ["V=3", "TARGETARCH=riscv64", "X=x", "W=w"]);
    assert_eq!(run.proxy, [("HTTP_PROXY".into(), "p".into()), ("http_proxy".into(), "p".into())]);
    assert_eq!(history(&plan)[4], "RUN |4 V=3 TARGETARCH=riscv64 X=x W=w /bin/sh -c x # buildkit");
    assert_eq!(plan.image.platform.architecture, "arm64");
}

#[test]
fn contexts_stand_in_for_stages_and_images() {
    let text = "FROM alpine AS a\nRUN a\nFROM a AS b\nCOPY --from=src / /s\nCOPY --from=pinned / /p\n";
    let contexts =
        [("a", "docker-image://debian:12"), ("src", "local:src"), ("pinned", "docker-image://scratch")];
    let options =
        PlanOptions { contexts: contexts.map(|(n, v)| (n.to_owned(), v.to_owned())).into(), ..options() };
    let plan = plan_on(text, options, "{}").unwrap();
    assert_eq!(
        names(&plan),
        [
            "[context a] docker.io/library/debian:12",
            "[context src] load from client",
            "[b 1/2] COPY --from=src / /s",
            "[b 2/2] COPY --from=pinned / /p",
        ]
    );
}

#[test]
fn no_cache_counts_for_the_stages_named() {
    let text = "FROM scratch AS a\nRUN a\nFROM scratch AS b\nRUN b\nCOPY --from=a / /\n";
    let of = |no_cache| {
        let plan = plan_on(text, PlanOptions { no_cache, ..options() }, "{}").unwrap();
        plan.steps.iter().map(|s| s.no_cache).collect::<Vec<_>>()
    };
    assert_eq!(of(NoCache::new(false, vec![])), [false, false, false]);
    assert_eq!(of(NoCache::new(true, vec![])), [true, true, true]);
    assert_eq!(of(NoCache::new(false, vec!["A".into()])), [true, false, false]);
}

#[test]
fn the_image_says_what_was_asked() {
    let plan = plan(
        "FROM scratch\nLABEL a=1 \"b c\"=$x\nEXPOSE 53/udp 80-81\nVOLUME /v /w\nSTOPSIGNAL SIGRTMIN+3\nUSER u\n\
         HEALTHCHECK --interval=1m --retries=3 CMD curl\nSHELL [\"a\",\"b\"]\nMAINTAINER me\nENTRYPOINT x y\n",
    );
    let defaults = &plan.image.defaults;
    assert_eq!(defaults.labels.get("b c").map(String::as_str), Some(""));
    assert_eq!((defaults.exposed_ports.len(), defaults.volumes.len()), (3, 2));
    assert_eq!(plan.image.author, "me");
    assert_eq!(
        history(&plan),
        [
            "LABEL a=1 b c=",
            "EXPOSE [53/udp 80/tcp 81/tcp]",
            "VOLUME [/v /w]",
            "STOPSIGNAL SIGRTMIN+3",
            "USER u",
            "HEALTHCHECK &{[\"CMD-SHELL\" \"curl\"] \"1m0s\" \"0s\" \"0s\" \"0s\" '\\x03'}",
            "SHELL [a b]",
            "MAINTAINER me",
            "ENTRYPOINT [\"a\" \"b\" \"x y\"]",
        ]
    );
    let labels = Pairs::from([("a".into(), "2".into())]);
    let plan = plan_on("FROM scratch\nLABEL a=1", PlanOptions { labels, ..options() }, "{}").unwrap();
    assert_eq!(plan.image.defaults.labels["a"], "2");
}

#[test]
fn each_check_finds_its_line() {
    for (text, found) in [
        ("FROM scratch AS Base", "StageNameCasing: Stage name 'Base' should be lowercase (line 1)"),
        ("FROM scratch as a", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"),
        ("FROM scratch\nRUN a \\\n\n b", "NoEmptyContinuation: Empty continuation line (line 4)"),
        (
            "FROM scratch\nCOPY a /\ncopy b /",
            "ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase) (line 3)",
        ),
        (
            "FROM scratch AS a\nFROM scratch AS a",
            "DuplicateStageName: Duplicate stage name \"a\", stage names should be unique (line 2)",
        ),
        (
            "FROM alpine AS scratch",
            "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 1)",
        ),
        (
            "FROM scratch\nCMD a",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
        ),
        (
            "FROM scratch\nMAINTAINER me",
            "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
        ),
        ("FROM alpine$tagg", "UndefinedArgInFrom: FROM argument 'tagg' is not declared (line 1)"),
        (
            "FROM scratch\nWORKDIR a",
            "WorkdirRelativePath: Relative workdir \"a\" can have unexpected results if the base image changes (line 2)",
        ),
        (
            "FROM scratch\nENV foo=1\nCOPY $fo /",
            "UndefinedVar: Usage of undefined variable '$fo' (did you mean $foo?) (line 3)",
        ),
        (
            "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]",
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2)",
        ),
        (
            "FROM scratch\nENV a b",
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
        ),
        (
            "FROM --platform=$TARGETPLATFORM scratch",
            "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
        ),
        (
            "FROM --platform=linux/amd64 scratch",
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" (line 1)",
        ),
        (
            "FROM scratch\nARG password",
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"password\") (line 2)",
        ),
        (
            "FROM scratch\nEXPOSE 80/TCP",
            "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
        ),
        (
            "FROM scratch\nEXPOSE 1:80",
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1:80' (line 2)",
        ),
        (
            "# check=experimental=all\n# wrong\nFROM scratch AS a",
            "InvalidDefinitionDescription: Comment for FROM should follow the format: `# a <description>` (line 3)",
        ),
    ] {
        assert_eq!(findings(text), [found], "{text}");
    }
    assert!(findings("FROM scratch\n# check=skip=UndefinedVar\nCOPY $x /").is_empty());
}

#[test]
fn checks_of_defaults_ignored_files_and_platforms() {
    let base = PlanOptions { build_args: Pairs::from([("T".into(), "alpine".into())]), ..options() };
    let plan = plan_on("ARG T\nFROM $T", base, "{}").unwrap();
    assert_eq!(
        plan.findings[0].short(),
        "InvalidDefaultArgInFrom: Default value for ARG $T results in empty or invalid base image name (line 2)"
    );
    let ignoring = PlanOptions { ignore: vec!["Dockerfile".into()], ..options() };
    let plan = plan_on("FROM scratch\nCOPY Dockerfile .\nADD Dockerfile /x", ignoring, "{}").unwrap();
    let says: Vec<_> = plan.findings.iter().map(Finding::short).collect();
    assert_eq!(
        says,
        [
            "CopyIgnoredFile: Attempting to Copy file \"Dockerfile\" that is excluded by .dockerignore (line 2)",
            "CopyIgnoredFile: Attempting to Add file \"Dockerfile\" that is excluded by .dockerignore (line 3)",
        ]
    );
    let arm = PlanOptions { platform: Some(platform::parse("linux/arm64").unwrap()), ..options() };
    let plan = plan_on("FROM x", arm, "{}").unwrap();
    assert_eq!(
        plan.findings[0].message,
        "Base image x was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build"
    );
    assert_eq!(
        sentence("# check=error=true\nFROM scratch AS A"),
        "lint violation found for rules: StageNameCasing"
    );
}

#[test]
fn a_base_that_nobody_has_is_told_with_its_place() {
    let file = Dockerfile::parse("Dockerfile", b"FROM alpin\nRUN x\n").unwrap();
    let planner = Planner::new(file, options()).unwrap();
    let e = planner.unresolved(0, "not found".into());
    assert_eq!((e.to_string().as_str(), e.line, e.column), ("alpin: not found (did you mean alpine?)", 1, 6));
}

#[test]
fn the_epoch_is_a_number() {
    let of = |value: &str| {
        let options = PlanOptions {
            build_args: Pairs::from([("SOURCE_DATE_EPOCH".into(), value.into())]),
            ..options()
        };
        plan_on("FROM scratch", options, "{}").map(|p| p.source_date_epoch).map_err(|e| e.to_string())
    };
    assert_eq!(of("0"), Ok(Some(0)));
    assert_eq!(of(""), Ok(None));
    assert_eq!(of("x"), Err("invalid SOURCE_DATE_EPOCH: x".into()));
}

#[test]
fn long_chains_of_stages_stay_cheap() {
    let mut text = String::from("FROM scratch AS s0\nENV big=xxxxxxxxxxxxxxxx\n");
    for n in 1..2000 {
        writeln!(text, "FROM s{} AS s{n}\nENV v{n}=1", n - 1).unwrap();
    }
    assert_eq!(plan(&text).image.history.len(), 2000);
    let many = "FROM scratch\n".repeat(5001);
    assert_eq!(sentence(&many), "the Dockerfile asks for more than 5000 steps");
}

#[test]
fn no_file_makes_it_panic() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = now.as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % most
    };
    let keywords = [
        "FROM",
        "RUN",
        "COPY",
        "ADD",
        "ENV",
        "ARG",
        "WORKDIR",
        "USER",
        "EXPOSE",
        "VOLUME",
        "LABEL",
        "CMD",
        "ENTRYPOINT",
        "HEALTHCHECK CMD",
        "ONBUILD RUN",
        "ONBUILD COPY --from=a",
        "STOPSIGNAL",
        "SHELL",
        "from",
    ];
    let words = [
        "scratch",
        "alpine",
        "a",
        "b AS a",
        "AS b",
        "$x",
        "${x:-$y}",
        "x=1",
        "x=\"$x$x\"",
        "/",
        "..",
        "./a/",
        "80-90/UDP",
        "--from=a",
        "--from=0",
        "--from=1",
        "--chmod=u+x",
        "--parents",
        "--link",
        "--mount=from=a,target=/t",
        "--mount=type=cache,target=$x",
        "--mount=type=secret,id=$x",
        "[\"a\"]",
        "<<E\n$x\nE\n",
        "https://a/b.git#c",
        "https://a/b",
        "*",
        "--platform=$TARGETPLATFORM",
        "é",
        "'",
        "\\\n",
        "TERM",
        "a/./b",
    ];
    for _ in 0..5_000 {
        let mut text = String::from("FROM scratch AS a\n");
        for _ in 0..random(8) {
            text.push_str(keywords[random(keywords.len())]);
            for _ in 0..random(5) {
                text.push(' ');
                text.push_str(words[random(words.len())]);
            }
            text.push('\n');
        }
        let all_stages = random(2) == 0;
        let base = r#"{"OnBuild":["COPY --from=a . /x","RUN y"]}"#;
        match plan_on(&text, PlanOptions { all_stages, ..options() }, base) {
            Ok(plan) => {
                for (at, step) in plan.steps.iter().enumerate() {
                    assert!(step.op.inputs().iter().all(|input| input.0 < at), "{text}");
                }
            }
            Err(e) => drop(e.report()),
        }
    }
}

#[test]
fn what_checks_found_comes_with_what_is_wrong() {
    let text = "ARG B\nARG C\nFROM box:${C:-1} as a\nFROM $B\n";
    let wrong = plan_on(text, options(), "{}").unwrap_err();
    let rules: Vec<&str> = wrong.findings.iter().map(|finding| finding.rule).collect();
    // An argument without a value is declared: nothing is undefined.
    assert_eq!(rules, ["FromAsCasing", "InvalidDefaultArgInFrom"], "{wrong}");
}

#[test]
fn a_context_may_be_an_image_in_a_directory() {
    let reference = format!("oci-layout://s:latest@sha256:{}", "b".repeat(64));
    let options = PlanOptions { contexts: [("a".to_owned(), reference.clone())].into(), ..options() };
    let plan = plan_on("FROM a\nRUN x\n", options, "{}").unwrap();
    assert_eq!(names(&plan)[0], "[context a] OCI load from client");
    assert!(matches!(&plan.steps[0].op, Op::Image { reference: is } if *is == reference));
}
