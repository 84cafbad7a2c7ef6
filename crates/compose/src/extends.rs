//! `extends`: a service that begins as another one, of this file or another (compose-go `loader/extends.go`).

use crate::{
    error::Fault,
    merge,
    model::{Context, Reading, Steps, Stop, reset},
    node::{Data, Map, Node},
    path::Path,
    paths::is_remote,
    text,
};

/// How long a chain of extended services may be.
const LENGTH: usize = 100;

/// The services being extended: which, and in which file.
type Chain = Vec<(String, String)>;

/// The services of a file, and what in those that they extend goes.
struct Services {
    /// Of which file.
    file: String,
    services: Map,
    resets: Vec<Path>,
}

impl Reading<'_> {
    /// Extends all services of a file.
    pub(crate) fn extend(
        &mut self,
        file: &str,
        root: &mut Node,
        resets: &[Path],
        context: &Context,
        steps: Steps,
    ) -> Result<(), Stop> {
        let Some(map) = root.as_map_mut() else { return Ok(()) };
        let Some(node) = map.get_mut("services") else { return Ok(()) };
        let at = node.at;
        let Some(services) = node.as_map_mut() else {
            return Err(self.fault(at, "services must be a mapping"));
        };
        let services = std::mem::take(services);
        let names: Vec<String> = services.keys().cloned().collect();
        let mut services = Services { file: file.to_owned(), services, resets: resets.to_vec() };
        for name in names {
            let service = self.extended(&name, &mut services, context, steps, &Vec::new())?;
            if let Some(service) = service {
                services.services.insert(name, service);
            }
        }
        if let Some(node) = map.get_mut("services") {
            node.data = Data::Map(services.services);
        }
        Ok(())
    }

    /// A service with what it extends. None where there is nothing in it.
    fn extended(
        &mut self,
        name: &str,
        of: &mut Services,
        context: &Context,
        steps: Steps,
        chain: &Chain,
    ) -> Result<Option<Node>, Stop> {
        let Some(service) = of.services.get(name).filter(|service| !service.is_null()).cloned() else {
            return Ok(None);
        };
        if service.as_map().is_none() {
            return Err(self.fault(service.spot(), format!("services.{name} must be a mapping")));
        }
        let Some(extends) = service.get("extends").cloned() else { return Ok(Some(service)) };
        let (wanted, elsewhere) = match &extends.data {
            Data::Text(wanted) => (wanted.clone(), None),
            _ => match extends.get("service").and_then(Node::as_text) {
                Some(wanted) => (wanted.to_owned(), extends.get("file").and_then(Node::as_text)),
                None => return Err(self.fault(extends.spot(), format!("extends.{name}.service is required"))),
            },
        };
        let mut file = of.file.clone();
        let mut other = match elsewhere {
            Some(path) => {
                let services = self.base_of(name, &wanted, path, &of.file, &extends, context, steps)?;
                file = path.to_owned();
                Some(services)
            }
            None if !of.services.contains_key(&wanted) => {
                let message =
                    format!("cannot extend service {name:?} in {file}: service {wanted:?} not found");
                let place = extends.get("service").unwrap_or(&extends).at;
                let suggestion = minke_model::go::nearest(&wanted, of.services.keys().map(String::as_str));
                return Err(Fault { suggestion, ..self.fault(place, message) });
            }
            None => None,
        };
        let here = (file, name.to_owned());
        if chain.contains(&here) || chain.len() >= LENGTH {
            return Err(self.fault(extends.spot(), circle(chain, here)));
        }
        let chain: Chain = chain.iter().cloned().chain([here]).collect();
        let base = self.extended(&wanted, other.as_mut().unwrap_or(of), context, steps, &chain)?;
        let Some(mut base) = base else { return Ok(Some(service)) };
        reset(&mut base, &Path::of("services").next(name), &of.resets);
        let mut merged = merge::merge(base, service, &Path::of("services.x"), &self.names)?;
        if let Some(map) = merged.as_map_mut() {
            map.remove("extends");
        }
        of.services.insert(name.to_owned(), merged.clone());
        Ok(Some(merged))
    }

    /// The services of another file, with paths as seen from here.
    fn base_of(
        &mut self,
        name: &str,
        wanted: &str,
        path: &str,
        from: &str,
        extends: &Node,
        context: &Context,
        steps: Steps,
    ) -> Result<Services, Stop> {
        let place = extends.get("file").unwrap_or(extends).at;
        if is_remote(path) {
            let message = format!(
                "cannot extend service {name:?}: {path} is not on this machine; fetch it and name the copy"
            );
            return Err(self.fault(place, message));
        }
        let local = text::against(&context.directory, path);
        // Seen from there, but with the same variables; what it extends itself is resolved from here.
        let inner = Steps { extend: false, include: false, validate: false, resolve_paths: false, ..steps };
        let (mut root, resets) = self.file(&local, Node::map([]), context, inner).map_err(|fault| Fault {
            place: fault.place.clone().or_else(|| self.fault(place, "").place),
            ..fault
        })?;
        let relative = text::relative(&context.directory, &text::dir(&local));
        self.resolve_paths(&mut root, &relative);
        let no = |what: &str| format!("cannot extend service {name:?} in {local}: {what}");
        let services = match root.as_map_mut().and_then(|map| map.remove("services")) {
            None => return Err(self.fault(place, no("no services section"))),
            Some(node) => match node.data {
                Data::Map(services) => services,
                _ => return Err(self.fault(place, no("services must be a mapping"))),
            },
        };
        if !services.contains_key(wanted) {
            let message =
                format!("cannot extend service {name:?} in {from}: service {wanted:?} not found in {path}");
            let suggestion = minke_model::go::nearest(wanted, services.keys().map(String::as_str));
            let place = extends.get("service").unwrap_or(extends).at;
            return Err(Fault { suggestion, ..self.fault(place, message) });
        }
        Ok(Services { file: path.to_owned(), services, resets })
    }
}

/// Compose's picture of a circle.
fn circle(chain: &Chain, last: (String, String)) -> String {
    let mut lines = vec!["Circular reference:".to_owned()];
    for (at, (file, service)) in chain.iter().chain([&last]).enumerate() {
        let word = if at == 0 { "" } else { "extends " };
        lines.push(format!("  {word}{service} in {file}"));
    }
    lines.join("\n")
}
