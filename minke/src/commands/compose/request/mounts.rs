//! A service's volumes, configs and secrets as the engine mounts them.

use minke_compose::{BindOptions, FileMount, FileObject, Mount, Project, Service, VolumeOptions};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A volume of a container that is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Inherited {
    /// Its kind: `volume` or `bind`.
    pub(crate) kind: String,
    /// The volume's name, or the path.
    pub(crate) source: String,
    /// Where it is mounted.
    pub(crate) target: String,
    /// Whether it may not be written.
    pub(crate) read_only: bool,
    /// Whether the image declares it.
    pub(crate) of_image: bool,
}

/// Binds as text, and the mounts that need more than text.
pub(super) fn of(
    project: &Project,
    service: &Service,
    inherited: &[Inherited],
) -> Result<(Vec<String>, Vec<Value>), String> {
    let (mut binds, mut mounts) = (BTreeMap::new(), BTreeMap::new());
    for old in inherited {
        let anonymous =
            service.volumes.iter().any(|mount| mount.target == old.target && mount.source.is_empty());
        if anonymous || old.of_image {
            let mount = json!({
                "Type": old.kind, "Source": old.source, "Target": old.target, "ReadOnly": old.read_only,
            });
            mounts.insert(old.target.clone(), mount);
        }
    }
    for mount in &service.volumes {
        if mount.source.is_empty() && mounts.contains_key(&mount.target) {
            continue;
        }
        mounts.remove(&mount.target);
        match bind(project, mount) {
            Some(bind) => _ = binds.insert(mount.target.clone(), bind),
            None => _ = mounts.insert(mount.target.clone(), value(project, mount)),
        }
    }
    for (kind, files, objects, directory) in [
        ("secret", &service.secrets, &project.secrets, "/run/secrets/"),
        ("config", &service.configs, &project.configs, "/"),
    ] {
        for file in files {
            let Some(object) = objects.get(&file.source) else { continue };
            let target = target(file, directory);
            if let Some(mount) = file_mount(kind, object, &target)?
                && !mounts.contains_key(&target)
                && !binds.contains_key(&target)
            {
                mounts.insert(target, mount);
            }
        }
    }
    Ok((binds.into_values().collect(), mounts.into_values().collect()))
}

/// Where a config or secret appears in the container.
pub(crate) fn target(file: &FileMount, directory: &str) -> String {
    match file.target.as_str() {
        "" => format!("{directory}{}", file.source),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{directory}{relative}"),
    }
}

/// A config or secret that is a file; `None` for one whose bytes are copied in before the start.
fn file_mount(kind: &str, object: &FileObject, target: &str) -> Result<Option<Value>, String> {
    if object.external {
        return Err(format!("unsupported external {kind} {}", object.name));
    }
    if !object.driver.is_empty() {
        return Err(format!("Docker Compose does not support {kind}s.*.driver"));
    }
    if !object.template_driver.is_empty() {
        return Err(format!("Docker Compose does not support {kind}s.*.template_driver"));
    }
    if object.file.is_empty() {
        return Ok(None);
    }
    let mut mount = json!({"Type": "bind", "Source": object.file, "Target": target, "ReadOnly": true});
    if kind == "secret" {
        mount["BindOptions"] = json!({});
    }
    Ok(Some(mount))
}

/// The text for what needs no more than it: only that makes a missing directory of the host.
fn bind(project: &Project, mount: &Mount) -> Option<String> {
    let source = match mount.r#type.as_str() {
        "bind" if !mount.bind.as_ref().is_some_and(needs_mount) => mount.source.clone(),
        "volume"
            if !mount.volume.as_ref().is_some_and(|volume| {
                !volume.labels.is_empty() || !volume.subpath.is_empty() || volume.nocopy
            }) =>
        {
            project.volumes.get(&mount.source)?.name.clone()
        }
        _ => return None,
    };
    let mut options = vec![if mount.read_only { "ro" } else { "rw" }];
    if let Some(bind) = &mount.bind {
        options.extend(
            [bind.selinux.as_str(), bind.propagation.as_str()].into_iter().filter(|word| !word.is_empty()),
        );
    }
    Some(format!("{source}:{}:{}", mount.target, options.join(",")))
}

fn needs_mount(bind: &BindOptions) -> bool {
    !bind.create_host_path || !bind.propagation.is_empty() || !bind.recursive.is_empty()
}

fn value(project: &Project, mount: &Mount) -> Value {
    let source = match (mount.r#type.as_str(), project.volumes.get(&mount.source)) {
        ("volume", Some(volume)) => &volume.name,
        _ => &mount.source,
    };
    let mut value = json!({
        "Type": mount.r#type, "Source": source, "Target": mount.target, "ReadOnly": mount.read_only,
    });
    if !mount.consistency.is_empty() {
        value["Consistency"] = mount.consistency.clone().into();
    }
    match mount.r#type.as_str() {
        "bind" => {
            if let Some(bind) = &mount.bind {
                value["BindOptions"] = bind_options(bind);
            }
        }
        "volume" => {
            if let Some(VolumeOptions { labels, nocopy, subpath, .. }) = &mount.volume {
                value["VolumeOptions"] = json!({"NoCopy": nocopy, "Labels": labels, "Subpath": subpath});
            }
        }
        "tmpfs" => {
            if let Some(tmpfs) = &mount.tmpfs {
                value["TmpfsOptions"] = json!({"SizeBytes": tmpfs.size.0, "Mode": tmpfs.mode});
            }
        }
        "image" => {
            if let Some(image) = &mount.image {
                value["ImageOptions"] = json!({"Subpath": image.subpath});
            }
        }
        _ => {}
    }
    value
}

fn bind_options(bind: &BindOptions) -> Value {
    let mut options = Map::new();
    options.insert("CreateMountpoint".into(), bind.create_host_path.into());
    if !bind.propagation.is_empty() {
        options.insert("Propagation".into(), bind.propagation.clone().into());
    }
    let recursive = match bind.recursive.as_str() {
        "disabled" => "NonRecursive",
        "writable" => "ReadOnlyNonRecursive",
        "readonly" => "ReadOnlyForceRecursive",
        _ => return options.into(),
    };
    options.insert(recursive.into(), true.into());
    options.into()
}
