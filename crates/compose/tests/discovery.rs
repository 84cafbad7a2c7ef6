//! Which files, variables, profiles and name a project has, by what the caller says and by `COMPOSE_…`.

mod memory;

use memory::Memory;
use minke_compose::{Fault, LoadOptions, Project};

/// Files below `/home/me`.
fn files<const N: usize>(files: [(&str, &str); N]) -> Memory {
    Memory(files.map(|(path, text)| (format!("/home/me/{path}"), text.to_owned())).into())
}

/// A caller in `/home/me/app`, with these variables.
fn caller<const N: usize>(environment: [(&str, &str); N]) -> LoadOptions {
    LoadOptions {
        working_directory: "/home/me/app".to_owned(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..LoadOptions::default()
    }
}

fn load(options: &LoadOptions, files: &Memory) -> Project {
    minke_compose::load(options, files).expect("the project loads").project
}

fn refusal(options: &LoadOptions, files: &Memory) -> String {
    let faults = minke_compose::load(options, files).expect_err("it is refused");
    faults.iter().map(Fault::to_string).collect()
}

const APP: &str = "services: {app: {image: \"app:${TAG:-none}\"}}\n";

#[test]
fn a_file_is_found_in_the_directories_above() {
    let files = files([("compose.yaml", APP)]);
    let project = load(&caller([]), &files);
    assert_eq!(project.files, ["/home/me/compose.yaml"]);
    assert_eq!((project.name.as_str(), project.working_dir.as_str()), ("me", "/home/me"));
}

#[test]
fn of_several_names_the_best_is_taken_and_that_is_told() {
    let files = files([("app/compose.yaml", APP), ("app/docker-compose.yml", APP)]);
    let loaded = minke_compose::load(&caller([]), &files).expect("it loads");
    assert_eq!(loaded.project.files, ["/home/me/app/compose.yaml"]);
    assert!(loaded.warnings[0].message.starts_with("Found multiple config files with supported names: "));
    assert_eq!(loaded.warnings[1].message, "Using /home/me/app/compose.yaml");
}

#[test]
fn nothing_found_is_told_as_compose_does() {
    assert_eq!(refusal(&caller([]), &files([])), "no configuration file provided: not found");
    let named = LoadOptions { files: vec!["nope.yaml".to_owned()], ..caller([]) };
    assert_eq!(refusal(&named, &files([])), "open /home/me/app/nope.yaml: no such file or directory");
}

#[test]
fn compose_file_names_files_with_a_separator_of_ones_own() {
    let files = files([("app/a.yaml", APP), ("b.yaml", "services: {app: {command: x}}\n")]);
    let project =
        load(&caller([("COMPOSE_FILE", "a.yaml,../b.yaml"), ("COMPOSE_PATH_SEPARATOR", ",")]), &files);
    assert_eq!(project.files, ["/home/me/app/a.yaml", "/home/me/b.yaml"]);
    assert_eq!(project.working_dir, "/home/me/app");
    assert_eq!(project.services["app"].command.0.as_deref(), Some(["x".to_owned()].as_slice()));
}

#[test]
fn the_env_file_may_name_the_compose_file_and_another_env_file_then_counts() {
    let files = files([
        ("app/.env", "COMPOSE_FILE=../other/compose.yaml\nTAG=here\n"),
        ("other/compose.yaml", APP),
        ("other/.env", "TAG=there\nONLY=there\n"),
    ]);
    let project = load(&caller([]), &files);
    // What is known already stays.
    assert_eq!(project.services["app"].image, "app:here");
    assert_eq!(project.environment["ONLY"], "there");
}

#[test]
fn env_files_are_named_by_the_caller_or_by_a_variable_or_switched_off() {
    let files = files([
        ("app/compose.yaml", APP),
        ("app/.env", "TAG=default\n"),
        ("app/one.env", "TAG=one\n"),
        ("app/two.env", "TAG=two\n"),
    ]);
    let image = |options: &LoadOptions| load(options, &files).services["app"].image.clone();
    assert_eq!(image(&caller([])), "app:default");
    assert_eq!(image(&caller([("TAG", "mine")])), "app:mine");
    assert_eq!(image(&caller([("COMPOSE_DISABLE_ENV_FILE", "true")])), "app:none");
    assert_eq!(image(&caller([("COMPOSE_ENV_FILES", "one.env,two.env")])), "app:two");
    let named = LoadOptions { env_files: vec!["one.env".to_owned()], ..caller([]) };
    assert_eq!(image(&named), "app:one");
    let missing = LoadOptions { env_files: vec!["nope.env".to_owned()], ..caller([]) };
    assert_eq!(refusal(&missing, &files), "couldn't find env file: /home/me/app/nope.env");
}

#[test]
fn a_name_is_asked_for_or_of_a_variable_or_of_a_file_or_of_the_directory() {
    let named = files([("app/compose.yaml", "name: from-${WHAT:-file}\nservices: {a: {image: a}}\n")]);
    let plain = files([("app/compose.yaml", APP)]);
    assert_eq!(load(&caller([]), &plain).name, "app");
    assert_eq!(load(&caller([]), &named).name, "from-file");
    assert_eq!(load(&caller([("WHAT", "variable")]), &named).name, "from-variable");
    assert_eq!(load(&caller([("COMPOSE_PROJECT_NAME", "env")]), &named).name, "env");
    let asked =
        LoadOptions { project_name: Some("asked".to_owned()), ..caller([("COMPOSE_PROJECT_NAME", "env")]) };
    let project = load(&asked, &named);
    assert_eq!(
        (project.name.as_str(), project.networks["default"].name.as_str()),
        ("asked", "asked_default")
    );
    let bad = LoadOptions { project_name: Some("Not Good".to_owned()), ..caller([]) };
    assert!(
        refusal(&bad, &plain)
            .starts_with("invalid project name \"Not Good\": must consist only of lowercase")
    );
}

#[test]
fn a_project_directory_is_where_paths_begin() {
    let files =
        files([("app/compose.yaml", "services: {a: {image: a, volumes: [\"./x:/x\", \"~/y:/y\"]}}\n")]);
    let options = LoadOptions {
        files: vec!["compose.yaml".to_owned()],
        project_directory: Some("../else".to_owned()),
        ..caller([("HOME", "/home/me")])
    };
    let project = load(&options, &files);
    assert_eq!(project.name, "else");
    let sources: Vec<&str> =
        project.services["a"].volumes.iter().map(|mount| mount.source.as_str()).collect();
    assert_eq!(sources, ["/home/me/else/x", "/home/me/y"]);
}

#[test]
fn the_standard_input_is_read_once() {
    let files = Memory([("-".to_owned(), APP.to_owned())].into());
    let project = load(&LoadOptions { files: vec!["-".to_owned()], ..caller([]) }, &files);
    assert_eq!((project.files.as_slice(), project.name.as_str()), (["-".to_owned()].as_slice(), "app"));
}

#[test]
fn profiles_come_from_a_variable_or_the_caller() {
    let text = "services: {a: {image: a}, b: {image: b, profiles: [one]}, c: {image: c, profiles: [two]}}\n";
    let files = files([("app/compose.yaml", text)]);
    let names =
        |options: &LoadOptions| load(options, &files).services.into_keys().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&caller([])), "a");
    assert_eq!(names(&caller([("COMPOSE_PROFILES", "one, two")])), "a b c");
    let asked = LoadOptions { profiles: vec!["two".to_owned()], ..caller([("COMPOSE_PROFILES", "one")]) };
    assert_eq!(names(&asked), "a c");
}

#[test]
fn what_nobody_names_is_left_out_unless_all_is_asked_for() {
    let text = "services: {a: {image: a, volumes: [\"used:/u\"]}}\nvolumes: {used: , unused: }\nnetworks: {lonely: }\n";
    let files = files([("app/compose.yaml", text)]);
    let project = load(&caller([]), &files);
    assert_eq!(project.volumes.keys().collect::<Vec<_>>(), ["used"]);
    assert_eq!(project.networks.keys().collect::<Vec<_>>(), ["default"]);
    let all = load(&LoadOptions { all_resources: true, ..caller([]) }, &files);
    assert_eq!((all.volumes.len(), all.networks.len()), (2, 2));
}

#[test]
fn files_of_others_are_not_fetched_and_that_is_said() {
    let file = "include: [\"https://example.com/x.git\"]\nservices: {a: {image: a}}\n";
    let says = refusal(&caller([]), &files([("app/compose.yaml", file)]));
    assert!(says.contains("https://example.com/x.git: it is not on this machine"), "{says}");
}

#[test]
fn variables_are_found_with_their_defaults() {
    let file = "services: {a: {image: \"${A:-x${B}}:$C${D:?must}${E:+alt}$$F\"}}\n";
    let options = LoadOptions { interpolate: false, ..caller([]) };
    let tree = minke_compose::load_model(&options, &files([("app/compose.yaml", file)])).expect("it loads");
    let found = minke_compose::variables(&tree.value);
    assert_eq!(found.keys().map(String::as_str).collect::<String>(), "ABCDE");
    assert_eq!((found["A"].default_value.as_str(), found["E"].presence_value.as_str()), ("x${B}", "alt"));
    assert!(found["D"].required && !found["C"].required);
}
