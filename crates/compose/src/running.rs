//! What runs of a project, as the caller saw it. Pure.

use crate::label;
use crate::project::{Condition, Project};
use std::collections::{BTreeMap, BTreeSet};

/// All that is there before a plan is made.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// The project's containers, those of `run` too.
    pub containers: Vec<Container>,
    /// All networks of the engine: external ones belong to nobody's project.
    pub networks: Vec<Network>,
    /// All volumes of the engine.
    pub volumes: Vec<Volume>,
    /// Images that services name, by that name.
    pub images: BTreeMap<String, Image>,
}

/// A container.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The ids of its networks.
    pub networks: Vec<String>,
    /// The names of its volumes.
    pub volumes: Vec<String>,
}

/// How a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It never ran.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It is paused.
    Paused,
    /// It ended and is about to start again.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// Its removal failed.
    Dead,
}

impl State {
    /// From the engine's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "running" => State::Running,
            "paused" => State::Paused,
            "restarting" => State::Restarting,
            "removing" => State::Removing,
            "exited" => State::Exited,
            "dead" => State::Dead,
            _ => State::Created,
        }
    }

    /// Why it must be started: `it is …`.
    pub(crate) fn told(self) -> &'static str {
        match self {
            State::Created => "it never ran",
            State::Running => "it runs",
            State::Paused => "it is paused",
            State::Restarting => "it waits for its next start",
            State::Removing => "it is being removed",
            State::Exited => "it has exited",
            State::Dead => "it is dead",
        }
    }
}

/// A network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// When it got its name last, in seconds since 1970.
    pub tagged: i64,
}

impl Container {
    /// A label's value; empty without it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The service it belongs to.
    pub fn service(&self) -> &str {
        self.label(label::SERVICE)
    }

    /// Which of its service's it is; 0 for one of `run`.
    pub fn number(&self) -> u32 {
        self.label(label::NUMBER).parse().unwrap_or(0)
    }

    /// Whether it is one of `run`.
    pub fn is_one_off(&self) -> bool {
        self.label(label::ONE_OFF) == "True"
    }

    /// Its name as logs and tables show it: without the project, where that is its usual beginning.
    pub fn short_name(&self) -> &str {
        let usual =
            format!("{}-{}-{}", self.label(label::PROJECT), self.service(), self.label(label::NUMBER));
        match self.name == usual {
            true => &self.name[self.label(label::PROJECT).len() + 1..],
            false => &self.name,
        }
    }
}

impl Running {
    /// The containers of `service`, without those of `run`.
    pub fn of_service<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(move |one| one.service() == service && !one.is_one_off())
    }

    /// A network by its name, or by its whole id.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|one| one.name == name || one.id == name)
    }
}

/// On what a service of an [`Outline`] waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// For what.
    pub condition: Condition,
    /// Whether it restarts with it.
    pub restart: bool,
    /// Whether it must be there at all.
    pub required: bool,
}

/// The services and what they need: what the commands that take no file know too, from labels.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Needs by service.
    pub services: BTreeMap<String, BTreeMap<String, Need>>,
    /// Names of networks by key. External ones are not in it.
    pub networks: BTreeMap<String, String>,
    /// Names of volumes by key. External ones are not in it.
    pub volumes: BTreeMap<String, String>,
    /// Names of images by service, and whether the service only builds it.
    pub images: BTreeMap<String, (String, bool)>,
    /// Services that the project has, but are not asked for.
    pub disabled: BTreeSet<String>,
}

impl Outline {
    /// What a file says.
    pub fn of_project(project: &Project, separator: &str) -> Self {
        let needs = |service: &crate::project::Service| {
            (service.depends_on.iter())
                .map(|(name, need)| {
                    let (condition, restart, required) = (need.condition, need.restart, need.required);
                    (name.clone(), Need { condition, restart, required })
                })
                .collect()
        };
        Self {
            services: project.services.iter().map(|(name, service)| (name.clone(), needs(service))).collect(),
            networks: (project.networks.iter().filter(|(_, network)| !network.external))
                .map(|(key, network)| (key.clone(), network.name.clone()))
                .collect(),
            volumes: (project.volumes.iter().filter(|(_, volume)| !volume.external))
                .map(|(key, volume)| (key.clone(), volume.name.clone()))
                .collect(),
            images: (project.services.iter())
                .map(|(name, service)| {
                    let image = service.image_name(&project.name, separator);
                    (name.clone(), (image, service.image.is_empty()))
                })
                .collect(),
            disabled: project.disabled_services.keys().cloned().collect(),
        }
    }

    /// What labels say of the project `name`.
    pub fn of_running(name: &str, running: &Running) -> Self {
        let mut outline = Self::default();
        for container in running.containers.iter().filter(|one| !one.is_one_off()) {
            let needs =
                container.label(label::DEPENDS_ON).split(',').filter(|need| !need.is_empty()).map(|need| {
                    let mut parts = need.split(':');
                    let service = parts.next().unwrap_or_default().to_owned();
                    let condition = match parts.next() {
                        Some("service_healthy") => Condition::Healthy,
                        Some("service_completed_successfully") => Condition::CompletedSuccessfully,
                        _ => Condition::Started,
                    };
                    let restart = parts.next().is_none_or(|word| word == "true");
                    (service, Need { condition, restart, required: false })
                });
            outline.services.insert(container.service().to_owned(), needs.collect());
        }
        let ours =
            |labels: &BTreeMap<String, String>| labels.get(label::PROJECT).is_some_and(|of| of == name);
        for network in running.networks.iter().filter(|one| ours(&one.labels)) {
            if let Some(key) = network.labels.get(label::NETWORK) {
                outline.networks.insert(key.clone(), network.name.clone());
            }
        }
        for volume in running.volumes.iter().filter(|one| ours(&one.labels)) {
            if let Some(key) = volume.labels.get(label::VOLUME) {
                outline.volumes.insert(key.clone(), volume.name.clone());
            }
        }
        outline
    }

    /// Whether a container belongs to no service that is known; of those of `run`, whether it has ended.
    pub fn is_orphan(&self, container: &Container) -> bool {
        if container.is_one_off() {
            return matches!(container.state, State::Exited | State::Dead);
        }
        !self.services.contains_key(container.service()) && !self.disabled.contains(container.service())
    }

    /// The services, each after those it needs. A circle is cut somewhere.
    pub fn in_order(&self) -> Vec<&str> {
        fn visit<'a>(
            outline: &'a Outline,
            name: &'a str,
            seen: &mut BTreeSet<&'a str>,
            order: &mut Vec<&'a str>,
        ) {
            let Some(needs) = outline.services.get(name) else { return };
            if !seen.insert(name) {
                return;
            }
            for need in needs.keys() {
                visit(outline, need, seen, order);
            }
            order.push(name);
        }
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for name in self.services.keys() {
            visit(self, name, &mut seen, &mut order);
        }
        order
    }

    /// The services that need `name`.
    pub fn dependents<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Need)> {
        self.services
            .iter()
            .filter_map(move |(service, needs)| needs.get(name).map(|need| (service.as_str(), need)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, labels: &[(&str, &str)]) -> Container {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Container { name: name.to_owned(), labels, ..Container::default() }
    }

    #[test]
    fn names_lose_their_project_where_they_are_usual() {
        let labels = [(label::PROJECT, "p"), (label::SERVICE, "web"), (label::NUMBER, "2")];
        assert_eq!(container("p-web-2", &labels).short_name(), "web-2");
        assert_eq!(container("mine", &labels).short_name(), "mine");
    }

    #[test]
    fn labels_tell_what_needs_what() {
        let running = Running {
            containers: vec![
                container(
                    "p-web-1",
                    &[(label::SERVICE, "web"), (label::DEPENDS_ON, "db:service_healthy:true,q")],
                ),
                container("p-db-1", &[(label::SERVICE, "db"), (label::DEPENDS_ON, "")]),
                container(
                    "p-a-1",
                    &[(label::SERVICE, "a"), (label::DEPENDS_ON, "web:service_started:false")],
                ),
            ],
            ..Running::default()
        };
        let outline = Outline::of_running("p", &running);
        assert_eq!(outline.in_order(), ["db", "web", "a"]);
        assert_eq!(outline.services["web"]["db"].condition, Condition::Healthy);
        assert!(outline.services["web"]["q"].restart && !outline.services["a"]["web"].restart);
        assert_eq!(outline.dependents("db").map(|(name, _)| name).collect::<Vec<_>>(), ["web"]);
    }

    #[test]
    fn a_circle_does_not_go_on_forever() {
        let need = Need { condition: Condition::Started, restart: false, required: true };
        let mut outline = Outline::default();
        outline.services.insert("a".into(), [("b".to_owned(), need.clone())].into());
        outline.services.insert("b".into(), [("a".to_owned(), need)].into());
        assert_eq!(outline.in_order().len(), 2);
    }
}
