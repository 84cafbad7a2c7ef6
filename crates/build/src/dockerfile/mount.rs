//! `RUN --mount=type=…,…`: read twice, first for what it comes from, then, with variables, for all of it (pure).

use super::{fault::Fault, flags::Wrong, instruction::MountFlag};
use crate::{
    go::{csv_fields, nearest, parse_bool, ram_in_bytes},
    plan::Sharing,
};

/// What kind of mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MountType {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

const TYPES: [(&str, MountType); 5] = [
    ("bind", MountType::Bind),
    ("cache", MountType::Cache),
    ("tmpfs", MountType::Tmpfs),
    ("secret", MountType::Secret),
    ("ssh", MountType::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountType {
    pub(crate) fn name(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("bind", |(name, _)| name)
    }
}

/// A mount, with its variables expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: MountType,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) size: Option<u64>,
    pub(crate) id: String,
    pub(crate) sharing: Option<Sharing>,
    pub(crate) required: bool,
    pub(crate) env: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    from: String,
}

/// The first reading: what it comes from, which takes no variables.
pub(super) fn flag(text: String) -> Result<MountFlag, Wrong> {
    let mut from = None;
    for field in fields(&text)? {
        let Some((key, value)) = field.split_once('=') else { continue };
        if !key.eq_ignore_ascii_case("from") {
            continue;
        }
        // A `$` at the very end is a letter.
        if value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return Err((Fault::MountFromVariable, value.to_owned(), None));
        }
        from = Some(value.to_owned()).filter(|v| !v.is_empty());
    }
    Ok(MountFlag { text, from })
}

fn fields(text: &str) -> Result<Vec<String>, Wrong> {
    csv_fields(text).map_err(|why| (Fault::MountRecord(why), text.to_owned(), None))
}

/// The second reading, in order: a field may need the type before it.
pub(crate) fn parse(
    flag: &MountFlag,
    expand: &mut dyn FnMut(&str) -> Result<String, Fault>,
) -> Result<Mount, Wrong> {
    let mut mount = Mount::default();
    let mut read_only = None;
    for field in fields(&flag.text)? {
        let at = |fault| (fault, field.clone(), None);
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(expand(value).map_err(at)?)),
            None => (field.to_lowercase(), None),
        };
        let Some(value) = value else {
            match key.as_str() {
                "readonly" | "ro" => read_only = Some(true),
                "readwrite" | "rw" => read_only = Some(false),
                "required" => mount.require(true).map_err(at)?,
                _ => return Err(at(Fault::MountField(field.clone()))),
            }
            continue;
        };
        let bool_value =
            || parse_bool(&value).ok_or_else(|| Fault::MountValue { key: key.clone(), value: value.clone() });
        match key.as_str() {
            "type" => match pick(&TYPES, &value) {
                Some(kind) => mount.kind = kind,
                None => {
                    let near = nearest(&value, TYPES.map(|(name, _)| name));
                    return Err((Fault::MountType(value), field.clone(), near));
                }
            },
            "from" => mount.from = value,
            "source" | "src" => mount.source = value,
            "target" | "dst" | "destination" => mount.target = value,
            "readonly" | "ro" => read_only = Some(bool_value().map_err(at)?),
            "readwrite" | "rw" => read_only = Some(!bool_value().map_err(at)?),
            "required" => {
                mount.require(false).map_err(at)?;
                mount.required = bool_value().map_err(at)?;
            }
            "size" if mount.kind == MountType::Tmpfs => {
                let size = ram_in_bytes(&value);
                mount.size = Some(
                    size.ok_or_else(|| at(Fault::MountValue { key: key.clone(), value: value.clone() }))?,
                );
            }
            "size" => return Err(at(mount.not_for(&key))),
            "id" => mount.id = value,
            "sharing" => match pick(&SHARINGS, &value) {
                Some(sharing) => mount.sharing = Some(sharing),
                None => {
                    let near = nearest(&value, SHARINGS.map(|(name, _)| name));
                    return Err((Fault::MountSharing(value), field.clone(), near));
                }
            },
            "mode" => mount.mode = Some(number("mode", &value, 8).map_err(at)?),
            "uid" => mount.uid = Some(number("uid", &value, 10).map_err(at)?),
            "gid" => mount.gid = Some(number("gid", &value, 10).map_err(at)?),
            "env" => mount.env = Some(value),
            _ => {
                let near = nearest(&key, KEYS);
                return Err((Fault::MountKey { key, field: field.clone() }, field.clone(), near));
            }
        }
    }
    // What is written to a cache or to memory is the point of it.
    let writable = matches!(mount.kind, MountType::Cache | MountType::Tmpfs);
    mount.read_only = read_only.unwrap_or(!writable);
    mount.check().map_err(|fault| (fault, flag.text.clone(), None))?;
    Ok(mount)
}

fn pick<T: Copy>(options: &[(&str, T)], value: &str) -> Option<T> {
    options.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)).map(|(_, option)| *option)
}

fn number(key: &'static str, value: &str, radix: u32) -> Result<u32, Fault> {
    // Rust takes a sign, Go does not.
    let digits = Some(value).filter(|v| !v.starts_with('+'));
    digits
        .and_then(|v| u32::from_str_radix(v, radix).ok())
        .ok_or_else(|| Fault::MountNumber { key, value: value.to_owned() })
}

impl Mount {
    fn not_for(&self, key: &str) -> Fault {
        Fault::MountKeyForType { key: key.to_owned(), kind: self.kind.name() }
    }

    fn require(&mut self, required: bool) -> Result<(), Fault> {
        if !matches!(self.kind, MountType::Secret | MountType::Ssh) {
            return Err(self.not_for("required"));
        }
        self.required = required;
        Ok(())
    }

    fn check(&self) -> Result<(), Fault> {
        let kind = self.kind.name();
        if matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            let owners = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = owners.into_iter().find(|(_, value)| value.is_some()) {
                return Err(Fault::MountOwner { key, kind });
            }
        }
        if self.kind == MountType::Secret {
            return match () {
                () if !self.from.is_empty() => Err(Fault::SecretFrom),
                () if self.sharing.is_some() => Err(Fault::SecretSharing),
                () if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() => {
                    Err(Fault::SecretNameless)
                }
                () if !self.source.is_empty() && !self.id.is_empty() => Err(Fault::SecretTwoNames),
                () => Ok(()),
            };
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(Fault::MountSharingType(kind));
        }
        if self.kind == MountType::Ssh && !self.source.is_empty() {
            return Err(Fault::SshSource);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Mount, String> {
        let flag = flag(text.into()).map_err(|(fault, ..)| fault.to_string())?;
        parse(&flag, &mut |v| Ok(v.replace("$T", "cache"))).map_err(|(fault, _, near)| match near {
            Some(near) => format!("{fault} ~{near}"),
            None => fault.to_string(),
        })
    }

    #[test]
    fn each_type_with_its_fields() {
        let cache = read("type=$T,target=/c,id=x,sharing=locked,uid=1,gid=2,mode=0700").unwrap();
        assert_eq!(
            (cache.kind, cache.id.as_str(), cache.sharing, cache.uid, cache.gid, cache.mode, cache.read_only),
            (MountType::Cache, "x", Some(Sharing::Locked), Some(1), Some(2), Some(0o700), false)
        );
        let bind = read("target=/a,src=b").unwrap();
        assert_eq!((bind.kind, bind.source.as_str(), bind.read_only), (MountType::Bind, "b", true));
        assert!(!read("target=/a,rw").unwrap().read_only);
        assert_eq!(read("type=tmpfs,dst=/t,size=1m").unwrap().size, Some(1 << 20));
        let secret = read("type=secret,id=s,env=S,required").unwrap();
        assert_eq!((secret.required, secret.env.as_deref()), (true, Some("S")));
        assert!(!read("type=ssh,required=false").unwrap().required);
    }

    #[test]
    fn wrong_ones_say_buildkits_sentence() {
        for (text, sentence) in [
            ("type=binds", "unsupported mount type \"binds\" ~bind"),
            ("type=cache,sharing=lockd", "unsupported sharing value \"lockd\" ~locked"),
            ("targt=/x", "unexpected key 'targt' in 'targt=/x' ~target"),
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("required", "unexpected key 'required' for mount type 'bind'"),
            ("size=1", "unexpected key 'size' for mount type 'bind'"),
            ("ro=x", "invalid value for ro: x"),
            ("type=cache,mode=9", "invalid value 9 for mode"),
            ("mode=0700", "mode not allowed for \"bind\" type mounts"),
            ("from=$x", "'from' doesn't support variable expansion, define alias stage instead"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,id=a,src=b", "both source and id can't be set"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            ("sharing=locked", "invalid cache sharing set for bind mount"),
            ("type=ssh,source=x", "ssh does not support source"),
            (
                "a\"",
                "failed to parse csv mounts: parse error on line 1, column 2: bare \" in non-quoted-field",
            ),
        ] {
            assert_eq!(read(text), Err(sentence.to_owned()), "{text}");
        }
    }
}
