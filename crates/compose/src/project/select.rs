//! Which of a project's services are meant, and what of it they need. Pure.

use super::{Dependency, Project, Service};
use crate::{error::Fault, text};
use std::collections::BTreeSet;

/// Whose services come along with those that were named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Those they depend on.
    Dependencies,
    /// Those that depend on them.
    Dependents,
    /// None.
    Nobody,
}

impl Project {
    /// The project with services disabled that no profile of `profiles` enables.
    pub fn with_profiles(mut self, profiles: Vec<String>) -> Self {
        let mut all = std::mem::take(&mut self.services);
        all.append(&mut self.disabled_services);
        for (name, service) in all {
            let side = match service.has_profile(&profiles) {
                true => &mut self.services,
                false => &mut self.disabled_services,
            };
            side.insert(name, service);
        }
        self.profiles = profiles;
        self
    }

    /// The project with `names` enabled, by their profiles: naming a service is asking for it.
    pub fn with_services_enabled(self, names: &[String]) -> Self {
        if names.is_empty() {
            return self;
        }
        let mut profiles = self.profiles.clone();
        for name in names {
            if let (false, Some(service)) =
                (self.services.contains_key(name), self.disabled_services.get(name))
            {
                profiles.extend(service.profiles.iter().cloned());
            }
        }
        self.with_profiles(profiles)
    }

    /// The project with only `names` and what comes along enabled. None names all.
    ///
    /// Fails where a service or a required dependency does not exist.
    pub fn with_selected_services(mut self, names: &[String], along: Along) -> Result<Self, Fault> {
        if names.is_empty() {
            return Ok(self);
        }
        let chosen: BTreeSet<String> = self.in_order(names, along)?.into_iter().collect();
        let mut all = std::mem::take(&mut self.services);
        for service in all.values_mut() {
            service.depends_on.retain(|name, _| chosen.contains(name));
        }
        for (name, service) in all {
            let side = match chosen.contains(&name) {
                true => &mut self.services,
                false => &mut self.disabled_services,
            };
            side.insert(name, service);
        }
        Ok(self)
    }

    /// `names` (patterns as of `filepath.Match`; none means all) and what comes along, each after what it depends on.
    ///
    /// Fails where a service or a required dependency does not exist.
    pub fn in_order(&self, names: &[String], along: Along) -> Result<Vec<String>, Fault> {
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        let first: Vec<&str> = match names.is_empty() {
            true => self.services.keys().map(String::as_str).collect(),
            false => self.matching(names)?,
        };
        // A stack of our own: a service, and what is still to be seen before it. Ends: each is seen once.
        let mut stack: Vec<(Option<&str>, Vec<&str>)> = vec![(None, first.into_iter().rev().collect())];
        while let Some((name, left)) = stack.last_mut() {
            match left.pop() {
                Some(next) => {
                    if seen.insert(next) {
                        let mut along = self.along(next, along)?;
                        along.reverse();
                        stack.push((Some(next), along));
                    }
                }
                None => {
                    order.extend(name.map(str::to_owned));
                    stack.pop();
                }
            }
        }
        Ok(order)
    }

    /// The enabled services that are named.
    fn matching(&self, names: &[String]) -> Result<Vec<&str>, Fault> {
        let mut found: BTreeSet<&str> = BTreeSet::new();
        for name in names {
            let before = found.len();
            found.extend(
                self.services.keys().filter(|service| text::path_match(name, service)).map(String::as_str),
            );
            if found.len() == before && !self.services.contains_key(name) {
                return Err(Fault::not_found(format!("no such service: {name}")));
            }
        }
        Ok(found.into_iter().collect())
    }

    /// What comes along with a service.
    fn along(&self, name: &str, along: Along) -> Result<Vec<&str>, Fault> {
        let Some(service) = self.services.get(name) else { return Ok(Vec::new()) };
        match along {
            Along::Nobody => Ok(Vec::new()),
            Along::Dependents => Ok(self.dependents(name)),
            Along::Dependencies => {
                let missing = |(other, dependency): &(&String, &Dependency)| {
                    dependency.required && !self.services.contains_key(*other)
                };
                match service.depends_on.iter().find(missing) {
                    Some((other, _)) => Err(Fault::not_found(format!("no such service: {other}"))),
                    None => {
                        let there =
                            service.depends_on.keys().filter(|other| self.services.contains_key(*other));
                        Ok(there.map(String::as_str).collect())
                    }
                }
            }
        }
    }

    /// The services that depend on one.
    fn dependents(&self, of: &str) -> Vec<&str> {
        let on = |service: &Service| service.depends_on.contains_key(of);
        self.services.iter().filter(|(_, service)| on(service)).map(|(name, _)| name.as_str()).collect()
    }

    /// The project without networks, volumes, configs, secrets and models that no enabled service names.
    pub fn without_unnecessary_resources(mut self) -> Self {
        let (mut networks, mut volumes) = (BTreeSet::new(), BTreeSet::new());
        let (mut secrets, mut configs, mut models) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for service in self.services.values() {
            networks.extend(service.networks.keys().cloned());
            let of_volumes = service.volumes.iter().filter(|mount| mount.r#type == "volume");
            volumes.extend(of_volumes.map(|mount| mount.source.clone()));
            secrets.extend(service.secrets.iter().map(|secret| secret.source.clone()));
            if let Some(build) = &service.build {
                secrets.extend(build.secrets.iter().map(|secret| secret.source.clone()));
            }
            configs.extend(service.configs.iter().map(|config| config.source.clone()));
            models.extend(service.models.keys().cloned());
        }
        self.networks.retain(|key, _| networks.contains(key));
        self.volumes.retain(|key, _| volumes.contains(key));
        self.secrets.retain(|key, _| secrets.contains(key));
        self.configs.retain(|key, _| configs.contains(key));
        self.models.retain(|key, _| models.contains(key));
        self
    }

    /// A service, enabled or not.
    ///
    /// Fails with compose's sentence.
    pub fn service(&self, name: &str) -> Result<&Service, Fault> {
        match (self.services.get(name), self.disabled_services.contains_key(name)) {
            (Some(service), _) => Ok(service),
            (None, true) => Err(Fault::not_found(format!("no such service: {name}: disabled"))),
            (None, false) => Err(Fault::not_found(format!("no such service: {name}: not found"))),
        }
    }
}
