//! Mounts as asked: `Binds` texts and `Mounts` objects, with dockerd's checks of their form.
//!
//! Rules: https://docs.docker.com/engine/storage/ ; sentences recorded from dockerd 28.5.2. Whether a source exists is
//! the engine's to say.

use super::{Map, is_default, wire};
use crate::error::ApiError;
use minke_model::{
    go::{clean, quote},
    mount::{
        BindOptions as Bind, BindSpec, MountKind, MountSpec, Propagation, TmpfsOptions as Tmpfs,
        VolumeOptions as Volume,
    },
};

wire! {
    /// One `--mount`.
    struct Mount {
        #[serde(rename = "Type", skip_serializing_if = "String::is_empty")]
        kind: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        source: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        target: String,
        #[serde(skip_serializing_if = "is_default")]
        read_only: bool,
        #[serde(skip_serializing_if = "String::is_empty")]
        consistency: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        image_options: Option<ImageOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tmpfs_options: Option<TmpfsOptions>,
    }
}

wire! {
    /// For `bind`.
    struct BindOptions {
        #[serde(skip_serializing_if = "String::is_empty")]
        propagation: String,
        #[serde(skip_serializing_if = "is_default")]
        non_recursive: bool,
        #[serde(skip_serializing_if = "is_default")]
        create_mountpoint: bool,
        #[serde(skip_serializing_if = "is_default")]
        read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "is_default")]
        read_only_force_recursive: bool,
    }
}

wire! {
    /// For `volume`.
    struct VolumeOptions {
        #[serde(skip_serializing_if = "is_default")]
        no_copy: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        labels: Map,
        #[serde(skip_serializing_if = "String::is_empty")]
        subpath: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        driver_config: Option<Driver>,
    }
}

wire! {
    /// A volume's driver.
    struct Driver {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        options: Map,
    }
}

wire! {
    /// For `image`.
    struct ImageOptions {
        #[serde(skip_serializing_if = "String::is_empty")]
        subpath: String,
    }
}

wire! {
    /// For `tmpfs`.
    struct TmpfsOptions {
        #[serde(skip_serializing_if = "is_default")]
        size_bytes: i64,
        #[serde(skip_serializing_if = "is_default")]
        mode: u32,
        #[serde(skip_serializing_if = "is_default")]
        options: Vec<Vec<String>>,
    }
}

impl From<&MountSpec> for Mount {
    fn from(spec: &MountSpec) -> Self {
        Self {
            kind: spec.kind.as_str().to_owned(),
            source: spec.source.clone(),
            target: spec.target.clone(),
            read_only: spec.read_only,
            consistency: spec.consistency.clone(),
            bind_options: spec.bind.as_ref().map(|bind| BindOptions {
                propagation: bind.propagation.map(|p| p.as_str().to_owned()).unwrap_or_default(),
                non_recursive: bind.non_recursive,
                create_mountpoint: bind.create_mountpoint,
                read_only_non_recursive: bind.read_only_non_recursive,
                read_only_force_recursive: bind.read_only_force_recursive,
            }),
            volume_options: spec.volume.as_ref().map(|volume| VolumeOptions {
                no_copy: volume.no_copy,
                labels: Map(volume.labels.clone()),
                subpath: volume.subpath.clone(),
                driver_config: (!volume.driver.is_empty() || !volume.driver_options.is_empty()).then(|| {
                    Driver { name: volume.driver.clone(), options: Map(volume.driver_options.clone()) }
                }),
            }),
            image_options: spec.image_subpath.clone().map(|subpath| ImageOptions { subpath }),
            tmpfs_options: spec.tmpfs.as_ref().map(|t| TmpfsOptions {
                size_bytes: t.size,
                mode: t.mode,
                options: t.options.clone(),
            }),
        }
    }
}

/// `Type` back; `None` is unknown.
fn kind(text: &str) -> Option<MountKind> {
    [MountKind::Bind, MountKind::Volume, MountKind::Tmpfs, MountKind::Image]
        .into_iter()
        .find(|k| k.as_str() == text)
}

const NOT_ROOT: &str = "invalid specification: destination can't be '/'";

/// Why `path` cannot be a mount's target.
fn check_target(path: &str) -> Result<(), String> {
    if clean(path) == "/" {
        return Err(NOT_ROOT.to_owned());
    }
    check_absolute(path)
}

fn check_absolute(path: &str) -> Result<(), String> {
    match path.starts_with('/') {
        true => Ok(()),
        false => Err(format!("invalid mount path: '{path}' mount path must be absolute")),
    }
}

/// A target of `--tmpfs`.
pub(crate) fn check_tmpfs_target(path: &str) -> Result<(), ApiError> {
    check_target(path).map_err(ApiError::invalid)
}

/// Whether a path stays inside where it starts, as Go's `filepath.IsLocal`.
fn is_local(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !clean(path).split('/').any(|part| part == "..")
}

impl Mount {
    /// What its options must not say for its type: dockerd's first check.
    pub(crate) fn check_options(&self) -> Result<(), ApiError> {
        let given = [
            ("VolumeOptions", self.volume_options.is_some(), "volume"),
            ("BindOptions", self.bind_options.is_some(), "bind"),
            ("TmpfsOptions", self.tmpfs_options.is_some(), "tmpfs"),
        ];
        match given.iter().find(|(_, given, kind)| *given && self.kind != *kind) {
            Some((name, ..)) => Err(ApiError::invalid(format!(
                "{name} must not be specified on mount type {}",
                quote(&self.kind)
            ))),
            None => Ok(()),
        }
    }

    /// As our model has it, for a service: only what no node could read is refused here, the rest by the node that
    /// makes the container.
    pub(crate) fn parse_for_service(&self) -> Result<MountSpec, ApiError> {
        let kind = match self.kind.to_ascii_lowercase().as_str() {
            "" => MountKind::Bind,
            "cluster" => {
                return Err(ApiError::unsupported("cluster volumes are not supported by this daemon"));
            }
            word => kind(word)
                .ok_or_else(|| ApiError::invalid(format!("invalid MountType: {}", quote(&self.kind))))?,
        };
        let bind = match &self.bind_options {
            None => None,
            Some(options) => {
                let word = options.propagation.to_ascii_lowercase();
                let propagation = match word.as_str() {
                    "" => None,
                    word => Some(Propagation::parse(word).ok_or_else(|| {
                        ApiError::invalid(format!(
                            "invalid MountPropagation: {}",
                            quote(&options.propagation)
                        ))
                    })?),
                };
                Some(Bind {
                    propagation,
                    non_recursive: options.non_recursive,
                    create_mountpoint: options.create_mountpoint,
                    read_only_non_recursive: options.read_only_non_recursive,
                    read_only_force_recursive: options.read_only_force_recursive,
                })
            }
        };
        let volume = self.volume_options.as_ref().map(|options| {
            let driver = options.driver_config.clone().unwrap_or_default();
            Volume {
                no_copy: options.no_copy,
                labels: options.labels.0.clone(),
                driver: driver.name,
                driver_options: driver.options.0,
                subpath: options.subpath.clone(),
            }
        });
        let tmpfs = self.tmpfs_options.as_ref().map(|options| Tmpfs {
            size: options.size_bytes,
            mode: options.mode,
            options: options.options.clone(),
        });
        Ok(MountSpec {
            kind,
            source: self.source.clone(),
            target: self.target.clone(),
            read_only: self.read_only,
            consistency: self.consistency.clone(),
            bind,
            volume,
            tmpfs,
            image_subpath: self.image_options.as_ref().map(|o| o.subpath.clone()),
        })
    }

    /// As our model has it, or why not.
    pub(crate) fn parse(&self) -> Result<MountSpec, ApiError> {
        self.parse_inner().map_err(|reason| {
            ApiError::invalid(format!("invalid mount config for type {}: {reason}", quote(&self.kind)))
        })
    }

    fn parse_inner(&self) -> Result<MountSpec, String> {
        if self.target.is_empty() {
            return Err("field Target must not be empty".to_owned());
        }
        check_target(&self.target)?;
        let kind = kind(&self.kind).ok_or("mount type unknown")?;
        let mut spec = MountSpec {
            kind,
            source: self.source.clone(),
            target: self.target.clone(),
            read_only: self.read_only,
            consistency: self.consistency.clone(),
            bind: None,
            volume: None,
            tmpfs: None,
            image_subpath: None,
        };
        match kind {
            MountKind::Bind => spec.bind = self.parse_bind()?,
            MountKind::Volume => spec.volume = self.parse_volume()?,
            MountKind::Tmpfs => spec.tmpfs = self.parse_tmpfs()?,
            MountKind::Image => spec.image_subpath = self.parse_image()?,
        }
        Ok(spec)
    }

    fn parse_bind(&self) -> Result<Option<Bind>, String> {
        if self.source.is_empty() {
            return Err("field Source must not be empty".to_owned());
        }
        let mut parsed = None;
        if let Some(options) = &self.bind_options {
            let propagation = match options.propagation.as_str() {
                "" => None,
                word => Some(
                    Propagation::parse(word).ok_or_else(|| format!("invalid propagation mode: {word}"))?,
                ),
            };
            parsed = Some(Bind {
                propagation,
                non_recursive: options.non_recursive,
                create_mountpoint: options.create_mountpoint,
                read_only_non_recursive: options.read_only_non_recursive,
                read_only_force_recursive: options.read_only_force_recursive,
            });
        }
        self.refuse_extra(&["ImageOptions"])?;
        check_absolute(&self.source)?;
        Ok(parsed)
    }

    fn parse_volume(&self) -> Result<Option<Volume>, String> {
        self.refuse_extra(&["ImageOptions"])?;
        let anonymous = self.source.is_empty();
        let options = self.volume_options.as_ref();
        if let Some(subpath) = options.map(|o| &o.subpath).filter(|s| !s.is_empty()) {
            if anonymous {
                return Err("must not set Subpath when using anonymous volumes".to_owned());
            }
            if !is_local(subpath) {
                return Err("subpath must be a relative path within the volume".to_owned());
            }
        }
        if self.read_only && anonymous {
            return Err("must not set ReadOnly mode when using anonymous volumes".to_owned());
        }
        Ok(options.map(|options| {
            let driver = options.driver_config.clone().unwrap_or_default();
            Volume {
                no_copy: options.no_copy,
                labels: options.labels.0.clone(),
                driver: driver.name,
                driver_options: driver.options.0,
                subpath: options.subpath.clone(),
            }
        }))
    }

    fn parse_tmpfs(&self) -> Result<Option<Tmpfs>, String> {
        self.refuse_extra(&["ImageOptions"])?;
        if !self.source.is_empty() {
            return Err("field Source must not be specified".to_owned());
        }
        let Some(options) = &self.tmpfs_options else { return Ok(None) };
        for option in &options.options {
            if option.is_empty() || option.len() > 2 {
                return Err("invalid option array length".to_owned());
            }
            if !matches!(option[0].as_str(), "exec" | "noexec") {
                return Err(format!("invalid option: {}", option[0]));
            }
        }
        Ok(Some(Tmpfs { size: options.size_bytes, mode: options.mode, options: options.options.clone() }))
    }

    fn parse_image(&self) -> Result<Option<String>, String> {
        if self.source.is_empty() {
            return Err("field Source must not be empty".to_owned());
        }
        let subpath = self.image_options.as_ref().map(|o| o.subpath.clone());
        match subpath {
            Some(path) if !path.is_empty() && !is_local(&path) => {
                Err("subpath must be a relative path within the volume".to_owned())
            }
            other => Ok(other),
        }
    }

    fn refuse_extra(&self, names: &[&str]) -> Result<(), String> {
        match self.image_options.is_some() && names.contains(&"ImageOptions") {
            true => Err("field ImageOptions must not be specified".to_owned()),
            false => Ok(()),
        }
    }
}

/// How often each sort of mode occurs: read-write, label, propagation, copy, consistency. `None`: an unknown mode.
fn count_modes(mode: &str) -> Option<[u8; 5]> {
    let mut counts = [0u8; 5];
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        let sort = match word {
            "rw" | "ro" => 0,
            "z" | "Z" => 1,
            _ if Propagation::parse(word).is_some() => 2,
            "nocopy" => 3,
            "consistent" | "cached" | "delegated" => 4,
            _ => return None,
        };
        counts[sort] = counts[sort].saturating_add(1);
    }
    Some(counts)
}

fn is_mode(mode: &str) -> bool {
    count_modes(mode).is_some_and(|counts| counts.iter().all(|c| *c <= 1))
}

/// One text of `Binds`: `target`, `source:target`, `source:target:mode`.
pub(crate) fn parse_bind(text: &str) -> Result<BindSpec, ApiError> {
    // dockerd answers 500 to these; clients only look at the sentence, but so do tests of others.
    let bad = |reason: Option<String>| {
        let tail = reason.map(|r| format!(": {r}")).unwrap_or_default();
        ApiError::internal(format!("invalid volume specification: '{text}'{tail}"))
    };
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [""] | ["", ..] | [_, _, _, _, ..] => return Err(bad(None)),
        [target] => ("", *target, ""),
        [_, target] if is_mode(target) => return Err(bad(None)),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        [] => return Err(bad(None)),
    };
    if !is_mode(mode) {
        return Err(ApiError::internal(format!("invalid mode: {mode}")));
    }
    let counts = count_modes(mode).unwrap_or_default();
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let refuse =
        |reason: String| bad(Some(format!("invalid mount config for type {}: {reason}", quote(kind))));
    if target.is_empty() {
        return Err(refuse("field Target must not be empty".to_owned()));
    }
    check_target(target).map_err(refuse)?;
    if kind == "volume" && counts[2] > 0 {
        return Err(refuse("field BindOptions must not be specified".to_owned()));
    }
    if kind == "bind" && counts[3] > 0 {
        return Err(refuse("field VolumeOptions must not be specified".to_owned()));
    }
    Ok(BindSpec {
        text: text.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        mode: mode.to_owned(),
        shallow: false,
    })
}

/// One text of `VolumesFrom`.
pub(crate) fn check_volumes_from(text: &str) -> Result<(), ApiError> {
    if text.is_empty() {
        return Err(ApiError::invalid("volumes-from specification cannot be an empty string"));
    }
    let (_, mode) = text.split_once(':').unwrap_or((text, ""));
    let fits = is_mode(mode) && count_modes(mode).is_some_and(|counts| counts[2] == 0 && counts[3] == 0);
    if fits { Ok(()) } else { Err(ApiError::invalid(format!("invalid mode: {mode}"))) }
}
