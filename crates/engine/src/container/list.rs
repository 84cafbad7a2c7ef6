//! `ps`: which containers there are.

use super::Containers;
use crate::{Error, error::Result, filter::Filters};
use minke_model::{
    Container, ContainerState, ImageId, Timestamp, health::HealthState, mount::MountKind, port::Port,
};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

/// How much of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Those that do not run, too.
    pub all: bool,
    /// The newest so many, whatever their state; 0 is all.
    pub limit: usize,
    /// With sizes.
    pub size: bool,
}

/// One line of the list.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The record.
    pub container: Arc<Container>,
    /// The image as named, or its id when the name means another now.
    pub image_name: String,
    /// Bytes written, and bytes in all.
    pub size: Option<(u64, u64)>,
    /// By which names others are linked to it: `/parent/alias`.
    pub links: Vec<String>,
}

/// Filters that `ps` knows.
const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// The filters, understood.
struct Wanted<'a> {
    filters: &'a Filters,
    statuses: BTreeSet<&'static str>,
    healths: BTreeSet<&'static str>,
    exits: Vec<i32>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Option<HashSet<ImageId>>,
    published: Vec<(u16, u16, Port)>,
    exposed: Vec<(u16, u16, Port)>,
    is_task: Option<bool>,
    names: Vec<regex_lite::Regex>,
}

/// Whoever makes containers as tasks of a service labels them so, as Docker does.
const TASK: &str = "com.docker.swarm.task";

impl Containers {
    /// Those that fit, newest first.
    pub async fn list(&self, filters: &Filters, options: ListOptions) -> Result<Vec<Summary>> {
        filters.check(FILTERS)?;
        let wanted = self.understand(filters)?;
        let mut records = self.all();
        records.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        let all = options.all || options.limit > 0 || wanted.asks_for_stopped();
        records.retain(|r| {
            (all || r.status.state.is_up() || r.status.state == ContainerState::Restarting)
                && self.fits(&wanted, r)
        });
        if options.limit > 0 {
            records.truncate(options.limit);
        }
        let mut linked = self.link_names();
        let mut list = Vec::with_capacity(records.len());
        for container in records {
            let size = if options.size { Some(self.sizes(&container).await?) } else { None };
            let links = linked.remove(&container.id).unwrap_or_default();
            list.push(Summary { image_name: self.image_name(&container), container, size, links });
        }
        Ok(list)
    }

    /// Bytes written, and bytes in all.
    pub(super) async fn sizes(&self, record: &Container) -> Result<(u64, u64)> {
        let (store, id) = (self.inner.store.clone(), record.id.clone());
        let written = crate::blocking(move || store.usage(&id)).await??;
        let image = record.image_id.as_ref().and_then(|i| self.inner.store.get(i).ok()).map_or(0, |i| i.size);
        Ok((written, written + image))
    }

    /// The image as named; its id when the name means another now, or nothing.
    fn image_name(&self, record: &Container) -> String {
        let Some(id) = &record.image_id else { return record.spec.image.clone() };
        match self.inner.store.resolve(&record.spec.image) {
            Ok(now) if now == *id => record.spec.image.clone(),
            _ => id.to_string(),
        }
    }

    fn understand<'a>(&self, filters: &'a Filters) -> Result<Wanted<'a>> {
        let none = BTreeSet::new();
        let values = |key: &str| filters.values(key).unwrap_or(&none);
        let states = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
        let statuses = known(values("status"), &states, |v| {
            format!(
                "invalid filter 'status={v}': invalid value for state ({v}): must be one of created, running, paused, restarting, removing, exited, dead"
            )
        })?;
        let kinds = ["none", "starting", "healthy", "unhealthy"];
        let healths = known(values("health"), &kinds, |v| {
            format!(
                "invalid filter 'health={v}': invalid value for health ({v}): must be one of none, starting, healthy, unhealthy"
            )
        })?;
        let exits: std::result::Result<Vec<i32>, Error> = values("exited")
            .iter()
            .map(|v| {
                v.parse().map_err(|_| {
                    let why = format!("strconv.Atoi: parsing {v:?}: invalid syntax");
                    Error::Invalid(format!("invalid filter 'exited={v}': {why}"))
                })
            })
            .collect();
        let created = |key: &str| -> Result<Option<Timestamp>> {
            let times =
                values(key).iter().map(|v| self.get(v).map(|c| c.created)).collect::<Result<Vec<_>>>()?;
            Ok(if key == "before" { times.into_iter().min() } else { times.into_iter().max() })
        };
        Ok(Wanted {
            filters,
            statuses,
            healths,
            exits: exits?,
            before: created("before")?,
            since: created("since")?,
            ancestors: filters.values("ancestor").map(|names| self.with_descendants(names)),
            published: ports("publish", values("publish"))?,
            exposed: ports("expose", values("expose"))?,
            is_task: filters.boolean("is-task")?,
            names: patterns(values("name")),
        })
    }

    /// The images of those names, and all that are built on them.
    fn with_descendants(&self, names: &BTreeSet<String>) -> HashSet<ImageId> {
        let store = &self.inner.store;
        let roots: Vec<_> =
            names.iter().filter_map(|n| store.resolve(n).ok()).filter_map(|id| store.get(&id).ok()).collect();
        let built_on = |diff_ids: &[minke_model::id::Digest]| {
            roots.iter().any(|r| !r.config.diff_ids.is_empty() && diff_ids.starts_with(&r.config.diff_ids))
        };
        let mut found: HashSet<ImageId> =
            store.list().iter().filter(|i| built_on(&i.config.diff_ids)).map(|i| i.id.clone()).collect();
        found.extend(roots.iter().map(|r| r.id.clone()));
        found
    }

    fn fits(&self, wanted: &Wanted<'_>, record: &Container) -> bool {
        let status = &record.status;
        let filters = wanted.filters;
        let health = status.health.as_ref().map_or(HealthState::None, |h| h.state).as_str();
        let slashed = format!("/{}", record.name);
        let name_fits =
            |pattern: &regex_lite::Regex| pattern.is_match(&record.name) || pattern.is_match(&slashed);
        (wanted.statuses.is_empty() || wanted.statuses.contains(status.state.as_str()))
            && (wanted.healths.is_empty() || wanted.healths.contains(health))
            && (wanted.exits.is_empty()
                || !status.state.is_up()
                    && status.state != ContainerState::Created
                    && wanted.exits.contains(&status.exit_code))
            && wanted.before.is_none_or(|t| record.created < t)
            && wanted.since.is_none_or(|t| record.created > t)
            && wanted
                .ancestors
                .as_ref()
                .is_none_or(|a| record.image_id.as_ref().is_some_and(|i| a.contains(i)))
            && wanted.is_task.is_none_or(|is| is == record.spec.labels.contains_key(TASK))
            && filters.labels_fit(&record.spec.labels)
            && (wanted.names.is_empty() || wanted.names.iter().any(name_fits))
            && filters
                .values("id")
                .is_none_or(|ids| ids.iter().any(|i| record.id.as_str().starts_with(i.as_str())))
            && filters.values("volume").is_none_or(|volumes| volumes.iter().any(|v| has_volume(record, v)))
            && filters
                .values("network")
                .is_none_or(|networks| networks.iter().any(|n| has_network(record, n)))
            && (wanted.published.is_empty() || publishes(record, &wanted.published))
            && (wanted.exposed.is_empty() || exposes(record, &wanted.exposed))
    }
}

impl Wanted<'_> {
    /// Docker lists stopped ones too when the filter can only mean them.
    fn asks_for_stopped(&self) -> bool {
        !self.statuses.is_empty() || !self.exits.is_empty()
    }
}

/// Docker's clients give names as regular expressions; one that is none means itself.
fn patterns(names: &BTreeSet<String>) -> Vec<regex_lite::Regex> {
    let compile = |name: &String| {
        regex_lite::Regex::new(name).or_else(|_| regex_lite::Regex::new(&regex_lite::escape(name)))
    };
    names.iter().filter_map(|name| compile(name).ok()).collect()
}

fn known(
    values: &BTreeSet<String>,
    all: &[&'static str],
    refuse: impl Fn(&str) -> String,
) -> Result<BTreeSet<&'static str>> {
    values
        .iter()
        .map(|v| all.iter().find(|k| *k == v).copied().ok_or_else(|| Error::Invalid(refuse(v))))
        .collect()
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(filter: &str, values: &BTreeSet<String>) -> Result<Vec<(u16, u16, Port)>> {
    let wrong = |text: &String| {
        let number = text.split(['/', '-']).next().unwrap_or_default();
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        Error::Internal(format!(
            "error while looking up for {filter} {text}: strconv.ParseUint: parsing {number:?}: {why}"
        ))
    };
    let parse = |text: &String| -> Option<(u16, u16, Port)> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u16 = first.parse().ok()?;
        Some((first, last.parse().ok()?, Port { number: first, protocol: protocol.parse().ok()? }))
    };
    values.iter().map(|v| parse(v).ok_or_else(|| wrong(v))).collect()
}

fn publishes(record: &Container, wanted: &[(u16, u16, Port)]) -> bool {
    let bound = record
        .status
        .endpoints
        .values()
        .flat_map(|e| &e.published)
        .map(|p| (p.host_port, p.container.protocol));
    let asked = record.spec.networking.port_bindings.iter().flat_map(|(port, bindings)| {
        bindings.iter().filter_map(|b| b.host_ports.map(|(first, _)| (first, port.protocol)))
    });
    bound.chain(asked).any(|(number, protocol)| {
        wanted.iter().any(|(a, z, p)| (*a..=*z).contains(&number) && p.protocol == protocol)
    })
}

fn exposes(record: &Container, wanted: &[(u16, u16, Port)]) -> bool {
    let exposed = record.spec.exposed_ports.iter().chain(record.spec.networking.port_bindings.keys());
    exposed
        .into_iter()
        .any(|e| wanted.iter().any(|(a, z, p)| (*a..=*z).contains(&e.number) && p.protocol == e.protocol))
}

fn has_volume(record: &Container, wanted: &str) -> bool {
    record.mounts.iter().any(|m| match m.kind {
        MountKind::Volume => m.name == wanted || m.destination == wanted,
        _ => m.source == wanted || m.destination == wanted,
    })
}

fn has_network(record: &Container, wanted: &str) -> bool {
    record.status.endpoints.iter().any(|(name, endpoint)| {
        name == wanted
            || endpoint
                .network
                .as_ref()
                .is_some_and(|id| id.as_str().starts_with(wanted) && wanted.len() >= 3)
    })
}
