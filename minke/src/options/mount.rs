//! What is mounted: `--volume`, `--mount`, `--tmpfs`.

use crate::cli::flag::parse_bool;
use minke_model::go;
use serde_json::{Map, Value, json};

/// `--volume`: a bind or named volume, or only a place in the container (an anonymous volume).
pub(crate) enum Volume {
    /// `source:target[:mode]`.
    Bind(String),
    /// A place that gets a volume of its own.
    Anonymous(String),
}

/// Reads one `--volume`. A source that begins with a dot is made absolute.
pub(crate) fn volume(text: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    let Some((source, rest)) = text.split_once(':').filter(|(source, _)| !source.is_empty()) else {
        return Ok(Volume::Anonymous(text.to_owned()));
    };
    if rest.ends_with(':') || rest.is_empty() {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    Ok(Volume::Bind(format!("{}:{rest}", absolute(source))))
}

/// A path that begins with a dot, from this directory on; others stay.
fn absolute(source: &str) -> String {
    if !source.starts_with('.') {
        return source.to_owned();
    }
    let Ok(directory) = std::env::current_dir() else { return source.to_owned() };
    let mut path = directory;
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.display().to_string()
}

/// One `--mount` as the API takes it. The error is docker's sentence.
pub(crate) fn mount(text: &str) -> Result<Value, String> {
    let (mut kind, mut source, mut target, mut consistency) =
        ("volume".to_owned(), String::new(), String::new(), String::new());
    let mut read_only = false;
    let (mut bind, mut volume, mut tmpfs, mut image) = (Map::new(), Map::new(), Map::new(), Map::new());
    for field in go::csv_fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            match field.to_lowercase().as_str() {
                "readonly" | "ro" => read_only = true,
                "bind-nonrecursive" => {
                    bind.insert("NonRecursive".into(), true.into());
                }
                "volume-nocopy" => {
                    volume.insert("NoCopy".into(), true.into());
                }
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
            continue;
        };
        let key = key.to_lowercase();
        let invalid = || format!("invalid value for {key}: {value}");
        match key.as_str() {
            "type" => kind = value.to_lowercase(),
            "source" | "src" => source = absolute(value),
            "target" | "dst" | "destination" => target = value.to_owned(),
            "readonly" | "ro" => read_only = parse_bool(value).map_err(|_| invalid())?,
            "consistency" => consistency = value.to_lowercase(),
            "bind-propagation" => {
                bind.insert("Propagation".into(), value.to_lowercase().into());
            }
            "bind-nonrecursive" => {
                bind.insert("NonRecursive".into(), parse_bool(value).map_err(|_| invalid())?.into());
            }
            "bind-recursive" => match value {
                "enabled" => {}
                "disabled" => {
                    bind.insert("NonRecursive".into(), true.into());
                }
                "writable" => {
                    bind.insert("ReadOnlyNonRecursive".into(), true.into());
                }
                "readonly" => {
                    bind.insert("ReadOnlyForceRecursive".into(), true.into());
                }
                _ => {
                    return Err(format!(
                        "{} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
                        invalid()
                    ));
                }
            },
            "volume-subpath" => {
                volume.insert("Subpath".into(), value.into());
            }
            "volume-nocopy" => {
                volume.insert("NoCopy".into(), parse_bool(value).map_err(|_| invalid())?.into());
            }
            "volume-label" => insert(&mut volume, &["Labels"], value),
            "volume-driver" => driver(&mut volume)["Name"] = value.into(),
            "volume-opt" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                driver(&mut volume)["Options"][name] = value.into();
            }
            "image-subpath" => {
                image.insert("Subpath".into(), value.into());
            }
            "tmpfs-size" => {
                tmpfs.insert(
                    "SizeBytes".into(),
                    crate::human::parse_ram(value).map_err(|_| invalid())?.into(),
                );
            }
            "tmpfs-mode" => {
                tmpfs.insert("Mode".into(), u32::from_str_radix(value, 8).map_err(|_| invalid())?.into());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if kind.is_empty() {
        return Err("type is required".into());
    }
    for (options, own) in [(&volume, "volume"), (&bind, "bind"), (&tmpfs, "tmpfs"), (&image, "image")] {
        if !options.is_empty() && kind != own {
            return Err(format!("cannot mix '{own}-*' options with mount type '{kind}'"));
        }
    }
    if target.is_empty() {
        return Err("target is required".into());
    }
    check_recursive(&bind, read_only)?;
    let mut mount = json!({"Type": kind, "Target": target});
    let set = [
        ("Source", !source.is_empty(), json!(source)),
        ("Consistency", !consistency.is_empty(), json!(consistency)),
        ("ReadOnly", read_only, json!(true)),
    ];
    let options =
        [("BindOptions", bind), ("VolumeOptions", volume), ("TmpfsOptions", tmpfs), ("ImageOptions", image)];
    for (name, value) in
        set.into_iter().filter(|(_, given, _)| *given).map(|(name, _, value)| (name, value)).chain(
            options.into_iter().filter(|(_, map)| !map.is_empty()).map(|(name, map)| (name, map.into())),
        )
    {
        mount[name] = value;
    }
    Ok(mount)
}

fn check_recursive(bind: &Map<String, Value>, read_only: bool) -> Result<(), String> {
    if bind.contains_key("ReadOnlyNonRecursive") && !read_only {
        return Err(
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction".into()
        );
    }
    if bind.contains_key("ReadOnlyForceRecursive") {
        if !read_only {
            return Err(
                "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".into(),
            );
        }
        if bind.get("Propagation").and_then(Value::as_str) != Some("rprivate") {
            return Err("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".into());
        }
    }
    Ok(())
}

fn driver(volume: &mut Map<String, Value>) -> &mut Value {
    volume.entry("DriverConfig").or_insert_with(|| json!({}))
}

fn insert(map: &mut Map<String, Value>, path: &[&str], pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    if name.is_empty() {
        return;
    }
    for key in path {
        map.entry(*key).or_insert_with(|| json!({}))[name] = value.into();
    }
}

/// `--tmpfs path[:options]`.
pub(crate) fn tmpfs(text: &str) -> (String, String) {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    (path.to_owned(), options.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        volume(text).map_or_else(
            |error| error,
            |volume| match volume {
                Volume::Bind(bind) => bind,
                Volume::Anonymous(path) => format!("({path})"),
            },
        )
    }

    #[test]
    fn volumes_are_named_bound_or_anonymous() {
        assert_eq!(show("v:/data:ro"), "v:/data:ro");
        assert_eq!(show("/data"), "(/data)");
        assert_eq!(show("a:/b:"), "invalid spec: a:/b:: empty section between colons");
        // What is wrong about these is for the daemon to say.
        assert_eq!(show("a:b:c:d"), "a:b:c:d");
        let here = std::env::current_dir().unwrap();
        assert_eq!(show("./x/../y:/d"), format!("{}/y:/d", here.display()));
    }

    #[test]
    fn mounts_are_read() {
        assert_eq!(
            mount("type=bind,src=/a,dst=/b,ro").unwrap(),
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true})
        );
        assert_eq!(
            mount("source=v,target=/b,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=type=tmpfs,volume-subpath=s").unwrap(),
            json!({"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": {"NoCopy": true, "Labels": {"a": "b"}, "Subpath": "s", "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}}}})
        );
        assert_eq!(
            mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap()["TmpfsOptions"],
            json!({"SizeBytes": 1 << 20, "Mode": 0o1770})
        );
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        for (text, want) in [
            ("type=bind,foo", "invalid field 'foo' must be a key=value pair"),
            ("type=bind,foo=1", "unexpected key 'foo' in 'foo=1'"),
            ("type=bind,src=/a", "target is required"),
            ("type=bind,dst=/a,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("type=bind,dst=/a,ro=x", "invalid value for ro: x"),
            (
                "type=bind,dst=/a,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
        ] {
            assert_eq!(mount(text).unwrap_err(), want);
        }
    }
}
