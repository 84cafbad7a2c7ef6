//! `env_file` and `label_file`: files whose lines become variables and labels of a service (compose-go
//! `types/project.go`).

use crate::{
    dotenv::{self, Variables},
    error::Fault,
    files::Files,
    model::FILE_SIZE,
    project::{Pairs, Project},
    text,
};

/// Reads the variables of all enabled services. Those written down win over those of files; what has no value gets
/// the project's.
///
/// Paths that were not resolved are seen from `directory`, where the caller is.
pub(crate) fn environment(project: &mut Project, directory: &str, files: &dyn Files) -> Result<(), Fault> {
    for service in project.services.values_mut() {
        for (name, value) in service.environment.iter_mut().filter(|(_, value)| value.is_none()) {
            *value = project.environment.get(name).cloned();
        }
        let own = &service.environment;
        let known = own.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let mut variables: Variables = known.collect();
        for file in &service.env_file {
            let path = &text::against(directory, &file.path);
            if files.kind(path).is_none() {
                if !file.required {
                    continue;
                }
                let message = format!("env file {path} not found: stat {path}: no such file or directory");
                return Err(Fault::not_found(message));
            }
            let lookup = |name: &str| {
                let caller = project.environment.get(name).cloned();
                caller.or_else(|| own.get(name).cloned().flatten())
            };
            read(path, &file.format, &mut variables, &lookup, files)?;
        }
        let mut pairs: Pairs = variables.into_iter().map(|(name, value)| (name, Some(value))).collect();
        pairs.append(&mut service.environment);
        service.environment = pairs;
        service.env_file.clear();
    }
    Ok(())
}

/// Reads the labels of all enabled services. Those written down win.
pub(crate) fn labels(project: &mut Project, directory: &str, files: &dyn Files) -> Result<(), Fault> {
    for service in project.services.values_mut() {
        let mut labels = Variables::new();
        for path in &service.label_file {
            let path = &text::against(directory, path);
            if files.kind(path).is_none() {
                let message = format!("label file {path} not found: stat {path}: no such file or directory");
                return Err(Fault::not_found(message));
            }
            let before = labels.clone();
            read(path, "", &mut labels, &|name: &str| before.get(name).cloned(), files)?;
        }
        labels.append(&mut service.labels);
        service.labels = labels;
        service.label_file.clear();
    }
    Ok(())
}

fn read(
    path: &str,
    format: &str,
    variables: &mut Variables,
    lookup: &dyn Fn(&str) -> Option<String>,
    files: &dyn Files,
) -> Result<(), Fault> {
    let bytes = files.read(path, FILE_SIZE).map_err(|error| Fault::new(format!("open {path}: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    match format {
        "" | ".env" => dotenv::parse(&text, variables, lookup)
            .map_err(|message| Fault::new(format!("failed to read {path}: {message}"))),
        "raw" => dotenv::parse_raw(&text, variables, lookup)
            .map_err(|message| Fault::new(format!("failed to parse env_file {path}: {message}"))),
        other => Err(Fault::new(format!("unsupported env_file format {other:?}"))),
    }
}
