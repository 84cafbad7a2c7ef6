//! Projects load, print and hash as docker compose 2.40.3 does: its own words stand in `cases/`, recorded from it.
//!
//! A case is one file: sections that begin with `== `, first the project's files in `/project`, then what compose says.

mod memory;

use memory::Memory;
use minke_compose::{Format, LoadOptions, service_hash};

/// The sections of a case: names and bodies, in order.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix("== "), sections.last_mut()) {
            (Some(name), _) => sections.push((name.trim_end().to_owned(), String::new())),
            (None, Some((_, body))) => body.push_str(line),
            // The sentence at the top.
            (None, None) => {}
        }
    }
    sections
}

/// A project in `/project` as it is told to a command line.
fn options(arguments: &str) -> LoadOptions {
    let environment = [("HOME", "/home/me"), ("PATH", "/bin"), ("PWD", "/project")];
    let mut options = LoadOptions {
        working_directory: "/project".to_owned(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..LoadOptions::default()
    };
    let mut words = arguments.split_whitespace().map(str::to_owned);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-f" => options.files.extend(words.next()),
            "--profile" => options.profiles.extend(words.next()),
            _ => options.services.push(word),
        }
    }
    options
}

/// What the loader makes of a case in one of compose's ways of asking.
fn answer(what: &str, options: &LoadOptions, files: &Memory) -> Option<String> {
    let mut options = options.clone();
    match what {
        "hash" => {
            options.resolve_environment = false;
            options.services.clear();
        }
        "no-path-resolution" => options.resolve_paths = false,
        "no-normalize" => options.normalize = false,
        "tree" => {
            options.interpolate = false;
            let tree = minke_compose::load_model(&options, files).expect("the tree loads");
            return Some(tree.print(Format::Yaml));
        }
        "config" | "json" => {}
        _ => return None,
    }
    let project = minke_compose::load(&options, files).expect("the project loads").project;
    Some(match what {
        "hash" => {
            let lines =
                project.services.iter().map(|(name, service)| format!("{name} {}\n", service_hash(service)));
            lines.collect()
        }
        "json" => project.print(Format::Json) + "\n",
        _ => project.print(Format::Yaml),
    })
}

/// Runs a case.
fn as_compose(text: &str) {
    let mut files = Memory::default();
    let mut arguments = String::new();
    for (what, body) in sections(text) {
        if let Some(path) = what.strip_prefix("file ") {
            files.0.insert(format!("/project/{path}"), body);
        } else if what == "arguments" {
            arguments = body;
        } else {
            let ours = answer(&what, &options(&arguments), &files).expect("a known section");
            assert!(ours == body, "{what} differs; ours:\n{ours}\ncompose's:\n{body}");
        }
    }
}

macro_rules! cases {
    ($($name:ident: $file:literal),* $(,)?) => { $(
        #[test]
        fn $name() {
            as_compose(include_str!(concat!("cases/", $file, ".txt")));
        }
    )* };
}

cases! {
    anchors_and_merge_keys_are_followed: "anchors",
    every_attribute_has_its_long_form: "attributes",
    documents_of_a_file_lie_over_each_other: "documents",
    env_files_are_read_in_both_formats: "env-files",
    services_extend_others_across_files: "extends",
    flow_collections_may_stand_anywhere: "flow-collections",
    included_files_have_their_own_directories_and_variables: "include",
    all_operators_of_interpolation_work: "interpolation",
    a_second_file_goes_over_the_first_by_the_rule_of_each_attribute: "merge",
    a_named_service_enables_its_profiles_and_what_it_needs: "named-service",
    the_override_file_is_found: "override-file",
    a_profile_enables_its_services: "profiles",
    a_project_name_is_cut_to_what_is_allowed: "project-name",
    reset_takes_away_and_override_replaces: "reset-and-override",
    networks_volumes_secrets_and_configs_are_named_and_linked: "resources",
    texts_are_quoted_as_go_quotes_them: "strings",
    numbers_moments_and_keys_are_written_and_ordered_as_go_does: "values",
}

#[test]
fn what_is_refused_is_refused_in_composes_words() {
    let mut files = Memory::default();
    let mut count = 0;
    for (what, body) in sections(include_str!("cases/refused.txt")) {
        if what == "file" {
            files.0 = [("/project/compose.yaml".to_owned(), body)].into();
            continue;
        }
        let yaml = &files.0["/project/compose.yaml"];
        let faults = minke_compose::load(&options(""), &files).expect_err(yaml);
        let says: Vec<String> = faults.iter().map(|fault| fault.message.clone()).collect();
        assert!(
            says.iter().any(|sentence| *sentence == body.trim_end()),
            "{yaml}\nours: {says:#?}\ncompose's: {body}"
        );
        count += 1;
    }
    assert!(count > 50, "only {count} refusals");
}

#[test]
fn a_second_file_goes_over_the_first_pair_by_pair() {
    let mut files = Memory::default();
    let options = options("-f compose.yaml -f b.yaml");
    for (what, body) in sections(include_str!("cases/pairs.txt")) {
        let loaded = |files: &Memory| minke_compose::load(&options, files);
        match what.as_str() {
            "first" => files.0 = [("/project/compose.yaml".to_owned(), body)].into(),
            "second" => drop(files.0.insert("/project/b.yaml".to_owned(), body)),
            "says" => {
                let faults = loaded(&files).expect_err(&files.0["/project/b.yaml"]);
                let says: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
                assert!(
                    says.contains(&body.trim_end()),
                    "{:#?}\nours: {says:#?}\ncompose's: {body}",
                    files.0
                );
            }
            _ => {
                let ours = loaded(&files).expect(&files.0["/project/b.yaml"]).project.print(Format::Yaml);
                assert!(ours == body, "{:#?}\nours:\n{ours}\ncompose's:\n{body}", files.0);
            }
        }
    }
}

/// What is wrong with a file, with places.
fn reports(yaml: &str) -> Vec<String> {
    let files = Memory([("/project/compose.yaml".to_owned(), yaml.to_owned())].into());
    let faults = minke_compose::load(&options(""), &files).expect_err("it is refused");
    faults.iter().map(minke_compose::Fault::report).collect()
}

#[test]
fn each_unknown_key_is_told_with_its_place_and_the_nearest_word() {
    let reports = reports(
        "services:\n  web:\n    image: x\n    porst: []\n    deploy:\n      replica: 2\n  db:\n    image: 3\nvolume: {}\n",
    );
    let at = |place: &str, rest: &str| {
        format!("/project/compose.yaml:{place}: validating /project/compose.yaml: {rest}")
    };
    let expected = [
        at(
            "6:7",
            "services.web.deploy additional properties 'replica' not allowed (did you mean 'replicas'?)",
        ),
        at("8:5", "services.db.image must be a string"),
        at("4:5", "services.web additional properties 'porst' not allowed (did you mean 'ports'?)"),
        at("9:1", " additional properties 'volume' not allowed (did you mean 'volumes'?)"),
    ];
    assert_eq!(reports, expected);
}

#[test]
fn a_reference_to_nothing_is_told_where_it_stands() {
    let reports =
        reports("services:\n  web:\n    image: x\n    networks: [front]\n    volumes:\n      - data:/data\n");
    let expected = [
        "/project/compose.yaml:4:16: service \"web\" refers to undefined network front: invalid compose project",
        "/project/compose.yaml:6:9: service \"web\" refers to undefined volume data: invalid compose project",
    ];
    assert_eq!(reports, expected);
}

#[test]
fn what_is_not_honoured_is_named_with_its_line() {
    let yaml = "services:\n  web:\n    image: x\n    isolation: hyperv\n    deploy:\n      placement: {}\n";
    let files = Memory([("/project/compose.yaml".to_owned(), yaml.to_owned())].into());
    let loaded = minke_compose::load(&options(""), &files).expect("it loads");
    let warnings: Vec<String> = loaded.warnings.iter().map(minke_compose::Fault::report).collect();
    let lines =
        ["compose.yaml:6:7: services.web.deploy.placement", "compose.yaml:4:5: services.web.isolation"];
    for line in lines {
        assert!(warnings.iter().any(|warning| warning.contains(line)), "{line} is not among {warnings:#?}");
    }
}

#[test]
fn a_file_that_grows_without_end_is_refused() {
    let mut yaml = "x-a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = level - 1;
        let many = vec![format!("*a{before}"); 10].join(", ");
        yaml += &format!("x-a{level}: &a{level} [{many}]\n");
    }
    let says = reports(&(yaml + "services: {}\n"));
    assert!(says[0].contains("excessive aliasing"), "{says:?}");
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = |depth: usize| format!("services: {}x{}\n", open.repeat(depth), close.repeat(depth));
        assert!(reports(&deep(150))[0].contains("too deep"), "{:?}", reports(&deep(150)));
        assert!(!reports(&deep(5000)).is_empty());
    }
    let itself = reports("services: &s\n  web: {image: x, x-y: *s}\n");
    assert!(itself[0].contains("cycle detected") || itself[0].contains("anchor"), "{itself:?}");
}

#[test]
fn a_long_chain_of_services_needs_no_deep_stack() {
    let mut yaml = "services:\n  s0: {image: x}\n".to_owned();
    for number in 1..5_000 {
        yaml += &format!("  s{number}: {{image: x, depends_on: [s{}]}}\n", number - 1);
    }
    let files = Memory([("/project/compose.yaml".to_owned(), yaml)].into());
    let options = LoadOptions { services: vec!["s4999".to_owned()], ..options("") };
    let project = minke_compose::load(&options, &files).expect("it loads").project;
    let order = project.in_order(&[], minke_compose::Along::Dependencies).expect("all are there");
    assert_eq!((order.len(), order[0].as_str(), order[4_999].as_str()), (5_000, "s0", "s4999"));
}

#[test]
fn a_line_may_have_any_number_of_variables() {
    let image = "${A:-x}".repeat(2_000);
    let yaml = format!("services: {{web: {{image: \"{image}\"}}}}\n");
    let files = Memory([("/project/compose.yaml".to_owned(), yaml)].into());
    let project = minke_compose::load(&options(""), &files).expect("it loads").project;
    assert_eq!(project.services["web"].image, "x".repeat(2_000));
    let nested = format!("services: {{web: {{image: \"{}{}\"}}}}\n", "${A:-".repeat(2000), "}".repeat(2000));
    assert!(reports(&nested)[0].contains("too long"));
}
