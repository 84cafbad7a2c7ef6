//! What a compose file may say of a service: the facts of the Compose Specification's schema as compose-go v2.9.1 has it
//! (`schema/compose-spec.json`). Pure.

use super::{
    Kind, Names, Pattern,
    Rule::{self, Between, Kinds, Like, List, Map, OneOf, Set, Words},
    Shape,
    deploy::{DEPLOYMENT, DEVELOPMENT, GPUS, HEALTHCHECK, SERVICE_HOOK},
    table::{
        BLKIO_LIMIT, BLKIO_WEIGHT, COMMAND, COUNT, ENV_FILE, EXTRA_HOSTS, LABEL_FILE, LIST_OF_STRINGS,
        LIST_OR_DICT, MAP, QUANTITY, SERVICE_CONFIG_OR_SECRET, STRING_OR_LIST, SWITCH, TEXT, ULIMITS,
    },
};

/// A service.
pub(super) const SERVICE: Rule = Map(
    MAP,
    &Shape {
        known: &[
            ("develop", DEVELOPMENT),
            ("deploy", DEPLOYMENT),
            ("annotations", LIST_OR_DICT),
            ("attach", Kinds(SWITCH)),
            (
                "build",
                OneOf(&[
                    Kinds(TEXT),
                    Map(
                        MAP,
                        &Shape {
                            known: &[
                                ("context", Kinds(TEXT)),
                                ("dockerfile", Kinds(TEXT)),
                                ("dockerfile_inline", Kinds(TEXT)),
                                ("entitlements", List(&Kinds(TEXT))),
                                ("args", LIST_OR_DICT),
                                ("ssh", LIST_OR_DICT),
                                ("labels", LIST_OR_DICT),
                                ("cache_from", List(&Kinds(TEXT))),
                                ("cache_to", List(&Kinds(TEXT))),
                                ("no_cache", Kinds(SWITCH)),
                                ("additional_contexts", LIST_OR_DICT),
                                ("network", Kinds(TEXT)),
                                ("provenance", Kinds(SWITCH)),
                                ("sbom", Kinds(SWITCH)),
                                ("pull", Kinds(SWITCH)),
                                ("target", Kinds(TEXT)),
                                ("shm_size", Kinds(COUNT)),
                                ("extra_hosts", EXTRA_HOSTS),
                                ("isolation", Kinds(TEXT)),
                                ("privileged", Kinds(SWITCH)),
                                ("secrets", SERVICE_CONFIG_OR_SECRET),
                                ("tags", List(&Kinds(TEXT))),
                                ("ulimits", ULIMITS),
                                ("platforms", List(&Kinds(TEXT))),
                            ],
                            extensible: true,
                            ..Shape::CLOSED
                        },
                    ),
                ]),
            ),
            (
                "blkio_config",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("device_read_bps", List(&BLKIO_LIMIT)),
                            ("device_read_iops", List(&BLKIO_LIMIT)),
                            ("device_write_bps", List(&BLKIO_LIMIT)),
                            ("device_write_iops", List(&BLKIO_LIMIT)),
                            ("weight", Kinds(COUNT)),
                            ("weight_device", List(&BLKIO_WEIGHT)),
                        ],
                        ..Shape::CLOSED
                    },
                ),
            ),
            ("cap_add", Set(&Kinds(TEXT))),
            ("cap_drop", Set(&Kinds(TEXT))),
            ("cgroup", Words(&["host", "private"])),
            ("cgroup_parent", Kinds(TEXT)),
            ("command", COMMAND),
            ("configs", SERVICE_CONFIG_OR_SECRET),
            ("container_name", Like(Pattern::ContainerName)),
            ("cpu_count", OneOf(&[Kinds(TEXT), Between(0, i64::MAX)])),
            ("cpu_percent", OneOf(&[Kinds(TEXT), Between(0, 100)])),
            ("cpu_shares", Kinds(QUANTITY)),
            ("cpu_quota", Kinds(QUANTITY)),
            ("cpu_period", Kinds(QUANTITY)),
            ("cpu_rt_period", Kinds(QUANTITY)),
            ("cpu_rt_runtime", Kinds(QUANTITY)),
            ("cpus", Kinds(QUANTITY)),
            ("cpuset", Kinds(TEXT)),
            (
                "credential_spec",
                Map(
                    MAP,
                    &Shape {
                        known: &[("config", Kinds(TEXT)), ("file", Kinds(TEXT)), ("registry", Kinds(TEXT))],
                        extensible: true,
                        ..Shape::CLOSED
                    },
                ),
            ),
            (
                "depends_on",
                OneOf(&[
                    LIST_OF_STRINGS,
                    Map(
                        MAP,
                        &Shape {
                            each: Some((
                                Names::Plain,
                                &Map(
                                    MAP,
                                    &Shape {
                                        known: &[
                                            ("restart", Kinds(SWITCH)),
                                            ("required", Kinds(&[Kind::Bool])),
                                            (
                                                "condition",
                                                Words(&[
                                                    "service_started",
                                                    "service_healthy",
                                                    "service_completed_successfully",
                                                ]),
                                            ),
                                        ],
                                        extensible: true,
                                        required: &["condition"],
                                        ..Shape::CLOSED
                                    },
                                ),
                            )),
                            ..Shape::CLOSED
                        },
                    ),
                ]),
            ),
            ("device_cgroup_rules", LIST_OF_STRINGS),
            (
                "devices",
                List(&OneOf(&[
                    Kinds(TEXT),
                    Map(
                        MAP,
                        &Shape {
                            known: &[
                                ("source", Kinds(TEXT)),
                                ("target", Kinds(TEXT)),
                                ("permissions", Kinds(TEXT)),
                            ],
                            extensible: true,
                            required: &["source"],
                            ..Shape::CLOSED
                        },
                    ),
                ])),
            ),
            ("dns", STRING_OR_LIST),
            ("dns_opt", Set(&Kinds(TEXT))),
            ("dns_search", STRING_OR_LIST),
            ("domainname", Kinds(TEXT)),
            ("entrypoint", COMMAND),
            ("env_file", ENV_FILE),
            ("label_file", LABEL_FILE),
            ("environment", LIST_OR_DICT),
            ("expose", Set(&Kinds(QUANTITY))),
            (
                "extends",
                OneOf(&[
                    Kinds(TEXT),
                    Map(
                        MAP,
                        &Shape {
                            known: &[("service", Kinds(TEXT)), ("file", Kinds(TEXT))],
                            required: &["service"],
                            ..Shape::CLOSED
                        },
                    ),
                ]),
            ),
            (
                "provider",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("type", Kinds(TEXT)),
                            (
                                "options",
                                Map(
                                    MAP,
                                    &Shape {
                                        each: Some((
                                            Names::Any,
                                            &OneOf(&[
                                                Kinds(&[Kind::Text, Kind::Number, Kind::Bool]),
                                                List(&Kinds(&[Kind::Text, Kind::Number, Kind::Bool])),
                                            ]),
                                        )),
                                        open: true,
                                        ..Shape::CLOSED
                                    },
                                ),
                            ),
                        ],
                        extensible: true,
                        required: &["type"],
                        ..Shape::CLOSED
                    },
                ),
            ),
            ("external_links", Set(&Kinds(TEXT))),
            ("extra_hosts", EXTRA_HOSTS),
            ("gpus", GPUS),
            ("group_add", Set(&Kinds(QUANTITY))),
            ("healthcheck", HEALTHCHECK),
            ("hostname", Kinds(TEXT)),
            ("image", Kinds(TEXT)),
            ("init", Kinds(SWITCH)),
            ("ipc", Kinds(TEXT)),
            ("isolation", Kinds(TEXT)),
            ("labels", LIST_OR_DICT),
            ("links", Set(&Kinds(TEXT))),
            (
                "logging",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("driver", Kinds(TEXT)),
                            (
                                "options",
                                Map(
                                    MAP,
                                    &Shape {
                                        each: Some((
                                            Names::Any,
                                            &Kinds(&[Kind::Text, Kind::Number, Kind::Null]),
                                        )),
                                        open: true,
                                        ..Shape::CLOSED
                                    },
                                ),
                            ),
                        ],
                        extensible: true,
                        ..Shape::CLOSED
                    },
                ),
            ),
            ("mac_address", Kinds(TEXT)),
            ("mem_limit", Kinds(QUANTITY)),
            ("mem_reservation", Kinds(COUNT)),
            ("mem_swappiness", Kinds(COUNT)),
            ("memswap_limit", Kinds(QUANTITY)),
            ("network_mode", Kinds(TEXT)),
            (
                "models",
                OneOf(&[
                    LIST_OF_STRINGS,
                    Map(
                        MAP,
                        &Shape {
                            each: Some((
                                Names::Plain,
                                &OneOf(&[
                                    Map(
                                        MAP,
                                        &Shape {
                                            known: &[
                                                ("endpoint_var", Kinds(TEXT)),
                                                ("model_var", Kinds(TEXT)),
                                            ],
                                            extensible: true,
                                            ..Shape::CLOSED
                                        },
                                    ),
                                    Kinds(&[Kind::Null]),
                                ]),
                            )),
                            open: true,
                            ..Shape::CLOSED
                        },
                    ),
                ]),
            ),
            (
                "networks",
                OneOf(&[
                    LIST_OF_STRINGS,
                    Map(
                        MAP,
                        &Shape {
                            each: Some((
                                Names::Plain,
                                &OneOf(&[
                                    Map(
                                        MAP,
                                        &Shape {
                                            known: &[
                                                ("aliases", LIST_OF_STRINGS),
                                                ("interface_name", Kinds(TEXT)),
                                                ("ipv4_address", Kinds(TEXT)),
                                                ("ipv6_address", Kinds(TEXT)),
                                                ("link_local_ips", LIST_OF_STRINGS),
                                                ("mac_address", Kinds(TEXT)),
                                                (
                                                    "driver_opts",
                                                    Map(
                                                        MAP,
                                                        &Shape {
                                                            each: Some((Names::Any, &Kinds(QUANTITY))),
                                                            open: true,
                                                            ..Shape::CLOSED
                                                        },
                                                    ),
                                                ),
                                                ("priority", Kinds(&[Kind::Number])),
                                                ("gw_priority", Kinds(&[Kind::Number])),
                                            ],
                                            extensible: true,
                                            ..Shape::CLOSED
                                        },
                                    ),
                                    Kinds(&[Kind::Null]),
                                ]),
                            )),
                            ..Shape::CLOSED
                        },
                    ),
                ]),
            ),
            ("oom_kill_disable", Kinds(SWITCH)),
            ("oom_score_adj", OneOf(&[Kinds(TEXT), Between(-1000, 1000)])),
            ("pid", Kinds(&[Kind::Text, Kind::Null])),
            ("pids_limit", Kinds(QUANTITY)),
            ("platform", Kinds(TEXT)),
            (
                "ports",
                Set(&OneOf(&[
                    Kinds(&[Kind::Number]),
                    Kinds(TEXT),
                    Map(
                        MAP,
                        &Shape {
                            known: &[
                                ("name", Kinds(TEXT)),
                                ("mode", Kinds(TEXT)),
                                ("host_ip", Kinds(TEXT)),
                                ("target", Kinds(COUNT)),
                                ("published", Kinds(COUNT)),
                                ("protocol", Kinds(TEXT)),
                                ("app_protocol", Kinds(TEXT)),
                            ],
                            extensible: true,
                            ..Shape::CLOSED
                        },
                    ),
                ])),
            ),
            ("post_start", List(&SERVICE_HOOK)),
            ("pre_stop", List(&SERVICE_HOOK)),
            ("privileged", Kinds(SWITCH)),
            ("profiles", LIST_OF_STRINGS),
            ("pull_policy", Like(Pattern::PullPolicy)),
            ("pull_refresh_after", Kinds(TEXT)),
            ("read_only", Kinds(SWITCH)),
            ("restart", Kinds(TEXT)),
            ("runtime", Kinds(TEXT)),
            ("scale", Kinds(COUNT)),
            ("security_opt", Set(&Kinds(TEXT))),
            ("shm_size", Kinds(QUANTITY)),
            ("secrets", SERVICE_CONFIG_OR_SECRET),
            ("sysctls", LIST_OR_DICT),
            ("stdin_open", Kinds(SWITCH)),
            ("stop_grace_period", Kinds(TEXT)),
            ("stop_signal", Kinds(TEXT)),
            ("storage_opt", Kinds(&[Kind::Map])),
            ("tmpfs", STRING_OR_LIST),
            ("tty", Kinds(SWITCH)),
            ("ulimits", ULIMITS),
            ("use_api_socket", Kinds(&[Kind::Bool])),
            ("user", Kinds(TEXT)),
            ("uts", Kinds(TEXT)),
            ("userns_mode", Kinds(TEXT)),
            (
                "volumes",
                Set(&OneOf(&[
                    Kinds(TEXT),
                    Map(
                        MAP,
                        &Shape {
                            known: &[
                                ("type", Words(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
                                ("source", Kinds(TEXT)),
                                ("target", Kinds(TEXT)),
                                ("read_only", Kinds(SWITCH)),
                                ("consistency", Kinds(TEXT)),
                                (
                                    "bind",
                                    Map(
                                        MAP,
                                        &Shape {
                                            known: &[
                                                ("propagation", Kinds(TEXT)),
                                                ("create_host_path", Kinds(SWITCH)),
                                                (
                                                    "recursive",
                                                    Words(&["enabled", "disabled", "writable", "readonly"]),
                                                ),
                                                ("selinux", Words(&["z", "Z"])),
                                            ],
                                            extensible: true,
                                            ..Shape::CLOSED
                                        },
                                    ),
                                ),
                                (
                                    "volume",
                                    Map(
                                        MAP,
                                        &Shape {
                                            known: &[
                                                ("labels", LIST_OR_DICT),
                                                ("nocopy", Kinds(SWITCH)),
                                                ("subpath", Kinds(TEXT)),
                                            ],
                                            extensible: true,
                                            ..Shape::CLOSED
                                        },
                                    ),
                                ),
                                (
                                    "tmpfs",
                                    Map(
                                        MAP,
                                        &Shape {
                                            known: &[
                                                ("size", OneOf(&[Between(0, i64::MAX), Kinds(TEXT)])),
                                                ("mode", Kinds(QUANTITY)),
                                            ],
                                            extensible: true,
                                            ..Shape::CLOSED
                                        },
                                    ),
                                ),
                                (
                                    "image",
                                    Map(
                                        MAP,
                                        &Shape {
                                            known: &[("subpath", Kinds(TEXT))],
                                            extensible: true,
                                            ..Shape::CLOSED
                                        },
                                    ),
                                ),
                            ],
                            extensible: true,
                            required: &["type"],
                            ..Shape::CLOSED
                        },
                    ),
                ])),
            ),
            ("volumes_from", Set(&Kinds(TEXT))),
            ("working_dir", Kinds(TEXT)),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);
