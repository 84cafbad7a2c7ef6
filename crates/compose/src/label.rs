//! Labels of what a project makes: docker compose's (`pkg/api/labels.go`), so that both tools take turns. Pure.

/// The project.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service of a container.
pub const SERVICE: &str = "com.docker.compose.service";
/// The hash of what the file said.
pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// Which container of its service.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// The key of a volume.
pub const VOLUME: &str = "com.docker.compose.volume";
/// The key of a network.
pub const NETWORK: &str = "com.docker.compose.network";
/// The directory that the project's paths stand against.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The project's files, with commas between.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// The files of `--env-file`.
pub const ENVIRONMENT_FILE: &str = "com.docker.compose.project.environment_file";
/// `True` for a container of `run`, else `False`.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";
/// What tells containers of `run` apart.
pub const SLUG: &str = "com.docker.compose.slug";
/// The id of the image that a container was made of.
pub const IMAGE: &str = "com.docker.compose.image";
/// `service:condition:restart`, with commas between.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The version of the tool.
pub const VERSION: &str = "com.docker.compose.version";
/// The name of what a container replaces.
pub const REPLACE: &str = "com.docker.compose.replace";
/// Ours: `config:app=1a2b3c4d`, the digests of the files that a container got, with commas between.
pub const FILES: &str = "minke.compose.files";

/// The version that we are taken for: that of the docker compose whose rules we follow.
pub const TOOL_VERSION: &str = "2.40.3";
