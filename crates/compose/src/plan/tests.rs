//! Plans, told by their steps.

use super::*;
use crate::running::{Container, Image, Network, Outline, Running, State};
use crate::{
    FileError, FileKind, Files, LoadOptions, Project, label, load, network_hash, service_hash, volume_hash,
};
use std::collections::BTreeMap;

/// One file.
struct One(String);

impl Files for One {
    fn read(&self, path: &str, _: u64) -> Result<Vec<u8>, FileError> {
        if path == "/p/compose.yaml" { Ok(self.0.clone().into_bytes()) } else { Err(FileError::NotFound) }
    }
    fn kind(&self, path: &str) -> Option<FileKind> {
        (path == "/p/compose.yaml").then_some(FileKind::File)
    }
    fn resolve(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }
}

fn project(yaml: &str) -> Project {
    let options = LoadOptions { working_directory: "/p".into(), ..LoadOptions::default() };
    match load(&options, &One(yaml.to_owned())) {
        Ok(loaded) => loaded.project,
        Err(faults) => panic!("{faults:?}"),
    }
}

fn asked() -> Up {
    Up { orphans: Some(false), start: true, separator: "-".into(), ..Up::default() }
}

/// What `up` of a project leaves behind.
fn after_up(project: &Project) -> Running {
    let mut running = Running::default();
    for (key, network) in &project.networks {
        let labels = [
            (label::PROJECT, &project.name),
            (label::NETWORK, key),
            (label::CONFIG_HASH, &network_hash(network)),
        ];
        running.networks.push(Network {
            id: format!("id of {}", network.name),
            name: network.name.clone(),
            labels: owned(&labels),
        });
    }
    for (key, volume) in &project.volumes {
        let labels = [
            (label::PROJECT, &project.name),
            (label::VOLUME, key),
            (label::CONFIG_HASH, &volume_hash(volume)),
        ];
        running.volumes.push(crate::running::Volume { name: volume.name.clone(), labels: owned(&labels) });
    }
    for (name, service) in &project.services {
        let image = service.image_name(&project.name, "-");
        running.images.insert(image.clone(), Image { id: format!("id of {image}"), tagged: 100 });
        for number in 1..=service.replicas() {
            running.containers.push(container(project, name, number));
        }
    }
    running
}

fn owned(labels: &[(&str, &String)]) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect()
}

fn container(project: &Project, name: &str, number: i64) -> Container {
    let service = &project.services[name];
    let mut labels = owned(&[
        (label::PROJECT, &project.name),
        (label::SERVICE, &name.to_owned()),
        (label::NUMBER, &number.to_string()),
        (label::ONE_OFF, &"False".to_owned()),
        (label::IMAGE, &format!("id of {}", service.image_name(&project.name, "-"))),
    ]);
    let id = format!("{name}{number}");
    // What shares another one's network has that one's id in its hash.
    let resolved = resolved(service, |other| Some(format!("{other}1"))).unwrap();
    labels.insert(label::CONFIG_HASH.into(), service_hash(&resolved));
    Container {
        name: format!("{}-{name}-{number}", project.name),
        id,
        state: State::Running,
        labels,
        networks: service
            .networks
            .keys()
            .map(|key| format!("id of {}", project.networks[key].name))
            .collect(),
        volumes: (service.volumes.iter())
            .filter_map(|mount| project.volumes.get(&mount.source).map(|volume| volume.name.clone()))
            .collect(),
        ..Container::default()
    }
}

/// The steps with what they come after, as text.
fn told(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

/// The place of the step that begins so.
fn at(plan: &Plan, text: &str) -> usize {
    let found = plan.steps.iter().position(|step| step.to_string().starts_with(text));
    found.unwrap_or_else(|| panic!("no step {text:?} in {:#?}", told(plan)))
}

/// Whether `later` comes after `earlier`, directly or by way of others.
fn comes_after(plan: &Plan, later: usize, earlier: usize) -> bool {
    plan.steps[later].after.iter().any(|&step| step == earlier || comes_after(plan, step, earlier))
}

const SHOP: &str = "
name: shop
services:
  web:
    image: web
    depends_on: {db: {condition: service_healthy, restart: true}}
    volumes: ['data:/data']
  db:
    image: db
volumes: {data: {}}
";

#[test]
fn from_nothing_all_is_made_in_the_order_of_needs() {
    let plan = up(&project(SHOP), &Running::default(), &asked()).unwrap();
    let (network, volume) = (at(&plan, "create network shop_default"), at(&plan, "create volume shop_data"));
    let (web, db) = (at(&plan, "create container shop-web-1"), at(&plan, "create container shop-db-1"));
    assert!(
        comes_after(&plan, web, network)
            && comes_after(&plan, web, volume)
            && !comes_after(&plan, db, volume)
    );
    // Making is side by side; starting waits for health.
    assert!(!comes_after(&plan, web, db));
    let (start, wait) = (at(&plan, "start container shop-web-1"), at(&plan, "wait until db is healthy"));
    assert!(
        comes_after(&plan, start, wait) && comes_after(&plan, wait, at(&plan, "start container shop-db-1"))
    );
    assert_eq!(plan.steps[db].because, "there is none yet");
    assert!(plan.created < start && plan.created > web);
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let project = project(SHOP);
    let plan = up(&project, &after_up(&project), &asked()).unwrap();
    assert!(plan.is_idle(), "{:#?}", told(&plan));
    assert_eq!(plan.steps.len(), 3);
}

#[test]
fn only_what_differs_is_made_anew_and_says_why() {
    let running = after_up(&project(SHOP));
    let changed = project(&SHOP.replace("image: web", "image: web\n    environment: {A: '1'}"));
    let plan = up(&changed, &running, &asked()).unwrap();
    let told = told(&plan);
    assert!(
        told.contains(&"replace container shop-web-1, because its configuration changed".to_owned()),
        "{told:#?}"
    );
    assert!(told.contains(&"keep container shop-db-1, because it is what the file says".to_owned()));
    assert!(!told.iter().any(|step| step.starts_with("stop container shop-db")));
    // A new image under the old name.
    let same = project(SHOP);
    let mut running = after_up(&same);
    running.images.get_mut("db").unwrap().id = "another".into();
    let plan = up(&same, &running, &asked()).unwrap();
    assert_eq!(plan.steps[at(&plan, "replace container shop-db-1")].because, "image db changed");
}

#[test]
fn what_restarts_with_another_stops_before_it_is_replaced() {
    let same = project(SHOP);
    let mut running = after_up(&same);
    running.images.get_mut("db").unwrap().id = "another".into();
    let plan = up(&same, &running, &asked()).unwrap();
    let (stop, replace) = (at(&plan, "stop container shop-web-1"), at(&plan, "replace container shop-db-1"));
    let start = at(&plan, "start container shop-web-1");
    assert!(comes_after(&plan, replace, stop) && comes_after(&plan, start, at(&plan, "wait until db")));
    assert_eq!(plan.steps[start].because, "it was stopped: it restarts with db, which is replaced");
}

#[test]
fn a_config_whose_content_changed_counts() {
    let yaml = "name: p\nservices:\n  a: {image: i, configs: [conf]}\nconfigs: {conf: {content: one}}\n";
    let project = project(yaml);
    let mut running = after_up(&project);
    let files = |digest: &str| [("a".to_owned(), format!("config:conf={digest}"))].into();
    running.containers[0].labels.insert(label::FILES.into(), "config:conf=11111111".into());
    let same = up(&project, &running, &Up { files: files("11111111"), ..asked() }).unwrap();
    assert!(same.is_idle());
    let other = up(&project, &running, &Up { files: files("22222222"), ..asked() }).unwrap();
    assert_eq!(other.steps[at(&other, "replace")].because, "the content of config conf changed");
    // One that docker compose made says nothing of contents.
    running.containers[0].labels.remove(label::FILES);
    assert!(up(&project, &running, &Up { files: files("22222222"), ..asked() }).unwrap().is_idle());
}

#[test]
fn scale_keeps_low_numbers_and_what_is_up_to_date() {
    let many = project("name: p\nservices:\n  a: {image: i, scale: 3}\n");
    let running = after_up(&many);
    let one = project("name: p\nservices:\n  a: {image: i}\n");
    let told_of = |running: &Running| told(&up(&one, running, &asked()).unwrap());
    let steps = told_of(&running);
    assert!(steps.iter().any(|step| step.starts_with("keep container p-a-1")), "{steps:#?}");
    assert!(
        steps.iter().any(|step| step == "remove container p-a-3, because a shall have 1 of 3 containers")
    );
    // The one that is up to date stays, whatever its number.
    let mut running = running;
    for container in &mut running.containers[..2] {
        container.labels.insert(label::CONFIG_HASH.into(), "old".into());
    }
    assert!(told_of(&running).iter().any(|step| step.starts_with("keep container p-a-3")));
    let grown = up(&many, &after_up(&one), &asked()).unwrap();
    assert_eq!(
        grown.steps[at(&grown, "create container p-a-3")].because,
        "a shall have 3 containers and has 2"
    );
}

#[test]
fn shared_namespaces_follow_the_container_they_name() {
    let yaml = "name: p\nservices:\n  a: {image: i}\n  b: {image: i, network_mode: 'service:a'}\n";
    let project = project(yaml);
    let running = after_up(&project);
    assert!(up(&project, &running, &asked()).unwrap().is_idle());
    let all = Up { services: vec!["a".into()], recreate: Recreate::Always, ..asked() };
    let plan = up(&project, &running, &all).unwrap();
    let (a, b) = (at(&plan, "replace container p-a-1"), at(&plan, "replace container p-b-1"));
    assert!(comes_after(&plan, b, a));
    assert_eq!(plan.first["a"], "p-a-1");
}

#[test]
fn a_changed_network_is_made_anew_without_its_containers() {
    let running = after_up(&project(SHOP));
    let changed = project(&format!("{SHOP}networks: {{default: {{internal: true}}}}\n"));
    let plan = up(&changed, &running, &asked()).unwrap();
    let (remove, create) = (at(&plan, "remove network"), at(&plan, "create network"));
    let (stop, replace) = (at(&plan, "stop container shop-db-1"), at(&plan, "replace container shop-db-1"));
    assert!(
        comes_after(&plan, remove, stop)
            && comes_after(&plan, create, remove)
            && comes_after(&plan, replace, create)
    );
}

#[test]
fn a_changed_volume_goes_only_where_its_loss_was_agreed_to() {
    let running = after_up(&project(SHOP));
    let changed = project(&SHOP.replace("{data: {}}", "{data: {labels: {a: b}}}"));
    assert_eq!(changed_volumes(&changed, &running).len(), 1);
    assert!(up(&changed, &running, &asked()).unwrap().is_idle());
    let plan = up(&changed, &running, &Up { renew_volumes: ["data".to_owned()].into(), ..asked() }).unwrap();
    let (gone, made) = (at(&plan, "remove volume shop_data"), at(&plan, "create volume shop_data"));
    assert!(
        comes_after(&plan, gone, at(&plan, "remove container shop-web-1")) && comes_after(&plan, made, gone)
    );
    assert!(comes_after(&plan, at(&plan, "create container shop-web-1"), made));
}

#[test]
fn orphans_are_told_of_or_removed_before_others_are_made() {
    let mut running = after_up(&project("name: shop\nservices:\n  old: {image: i}\n"));
    running.networks.clear();
    let project = project(SHOP);
    let plan = up(&project, &running, &asked()).unwrap();
    assert!(plan.warnings[0].starts_with("Found orphan containers ([shop-old-1]) for this project."));
    let plan = up(&project, &running, &Up { orphans: Some(true), ..asked() }).unwrap();
    assert!(comes_after(
        &plan,
        at(&plan, "create container shop-db-1"),
        at(&plan, "remove container shop-old-1")
    ));
}

#[test]
fn an_interrupted_replacement_is_finished_or_cleared_away() {
    let project = project("name: p\nservices:\n  a: {image: i}\n");
    let mut running = after_up(&project);
    let mut half = running.containers[0].clone();
    half.labels.insert(label::REPLACE.into(), "a-1".into());
    (half.id, half.name, half.state) = ("new".into(), "a1_p-a-1".into(), State::Created);
    running.containers.push(half.clone());
    let plan = up(&project, &running, &asked()).unwrap();
    assert_eq!(plan.steps[at(&plan, "remove container a1_p-a-1")].because, "a replacement was interrupted");
    assert!(told(&plan).iter().any(|step| step.starts_with("keep container p-a-1")));
    // The old one was removed already: the new one gets its name.
    running.containers = vec![half];
    let plan = up(&project, &running, &asked()).unwrap();
    assert!(comes_after(&plan, at(&plan, "start container p-a-1"), at(&plan, "name container p-a-1")));
}

#[test]
fn what_must_exist_and_does_not_is_an_error() {
    let refused = |yaml: &str| up(&project(yaml), &Running::default(), &asked()).unwrap_err().to_string();
    assert_eq!(
        refused(
            "name: p\nservices:\n  a: {image: i, networks: [n]}\nnetworks: {n: {external: true, name: ext}}\n"
        ),
        "network ext declared as external, but could not be found"
    );
    assert_eq!(
        refused(
            "name: p\nservices:\n  a: {image: i, volumes: ['vol:/v']}\nvolumes: {vol: {external: true, name: ext}}\n"
        ),
        "external volume \"ext\" not found"
    );
    // As `--scale` does after the files were read.
    let mut two = project("name: p\nservices:\n  a: {image: i, container_name: mine}\n");
    two.services.get_mut("a").unwrap().scale = Some(2);
    let error = up(&two, &Running::default(), &asked()).unwrap_err();
    assert!(error.to_string().ends_with("Remove the custom name to scale the service"), "{error}");
}

#[test]
fn images_are_fetched_or_built_once() {
    let yaml = "name: p\nservices:\n  a: {image: i}\n  b: {image: i}\n  c: {build: .}\n  d: {image: k, build: ., pull_policy: build}\n";
    let none = BTreeMap::new();
    let plan = images(&project(yaml), "-", &none, Building::Missing, 0).unwrap();
    assert_eq!(
        told(&plan),
        [
            "pull image i, because it is not there",
            "build image p-c, because it is not there",
            "build image k, because its pull policy is build"
        ]
    );
    let there = ["i", "p-c", "k"].map(|name| (name.to_owned(), Image::default())).into();
    assert_eq!(images(&project(yaml), "-", &there, Building::All, 0).unwrap().steps.len(), 2);
    assert!(images(&project(yaml), "-", &there, Building::Never, 0).unwrap().steps.is_empty());
    let daily = project("name: p\nservices:\n  a: {image: i, pull_policy: daily}\n");
    assert!(images(&daily, "-", &there, Building::Missing, 80_000).unwrap().steps.is_empty());
    assert_eq!(images(&daily, "-", &there, Building::Missing, 90_000).unwrap().steps.len(), 1);
}

#[test]
fn an_image_that_another_copies_from_is_built_first() {
    let yaml = "name: p\nservices:\n  a: {build: {context: ., additional_contexts: {base: 'service:z'}}}\n  z: {build: .}\n";
    let plan = images(&project(yaml), "-", &BTreeMap::new(), Building::Missing, 0).unwrap();
    assert!(comes_after(&plan, at(&plan, "build image p-a"), at(&plan, "build image p-z")));
}

#[test]
fn down_goes_against_the_order_of_needs() {
    let project = project(SHOP);
    let running = after_up(&project);
    let outline = Outline::of_project(&project, "-");
    let plan = down("shop", &outline, &running, &Down { volumes: true, ..Down::default() });
    let (web, db) = (at(&plan, "remove container shop-web-1"), at(&plan, "stop container shop-db-1"));
    assert!(comes_after(&plan, db, web));
    assert!(comes_after(
        &plan,
        at(&plan, "remove network shop_default"),
        at(&plan, "remove container shop-db-1")
    ));
    assert!(comes_after(&plan, at(&plan, "remove volume shop_data"), web));
    // What needs a service goes with it.
    let named = down("shop", &outline, &running, &Down { services: vec!["db".into()], ..Down::default() });
    assert_eq!(named.steps[at(&named, "remove container shop-web-1")].because, "it needs db, which goes");
    let nothing = down("shop", &Outline::default(), &Running::default(), &Down::default());
    assert_eq!(nothing.warnings, ["Warning: No resource found to remove for project \"shop\"."]);
}

#[test]
fn stop_start_and_restart_go_by_needs() {
    let project = project(SHOP);
    let mut running = after_up(&project);
    let outline = Outline::of_project(&project, "-");
    let plan = stop(&outline, &running, &[]);
    assert!(comes_after(
        &plan,
        at(&plan, "stop container shop-db-1"),
        at(&plan, "stop container shop-web-1")
    ));
    let plan = restart(&outline, &running, &["db".to_owned()], true);
    assert_eq!(plan.steps[at(&plan, "restart container shop-web-1")].because, "it restarts with db");
    assert_eq!(restart(&outline, &running, &["db".to_owned()], false).steps.len(), 1);
    running.containers.iter_mut().for_each(|one| one.state = State::Exited);
    let plan = start(&outline, &running, &["web".to_owned()]).unwrap();
    let (web, db) = (at(&plan, "start container shop-web-1"), at(&plan, "start container shop-db-1"));
    assert!(comes_after(&plan, web, db));
    assert_eq!(plan.steps[db].because, "it has exited");
}
