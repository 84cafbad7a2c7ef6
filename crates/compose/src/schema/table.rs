//! What a compose file may say, attribute by attribute: the facts of the Compose Specification's schema as
//! compose-go v2.9.1 has it (`schema/compose-spec.json`). Pure.

use super::{
    Kind, Names, Pattern,
    Rule::{self, Between, Kinds, Like, List, Map, OneOf, Set, Words},
    Shape,
};

const TEXT: &[Kind] = &[Kind::Text];
/// A boolean, or a text that a variable may make one.
const SWITCH: &[Kind] = &[Kind::Bool, Kind::Text];
/// A number, or a text with a unit.
const QUANTITY: &[Kind] = &[Kind::Number, Kind::Text];
/// A whole number, or a text that a variable may make one.
const COUNT: &[Kind] = &[Kind::Integer, Kind::Text];
const MAP: &[Kind] = &[Kind::Map];
const MAP_OR_NULL: &[Kind] = &[Kind::Map, Kind::Null];
const EXTERNAL: &[Kind] = &[Kind::Bool, Kind::Text, Kind::Map];

/// A whole file.
pub(crate) const FILE: Rule = Map(
    MAP,
    &Shape {
        known: &[
            ("version", Kinds(TEXT)),
            ("name", Kinds(TEXT)),
            ("include", List(&INCLUDE)),
            ("services", Map(MAP, &Shape { each: Some((Names::Plain, &SERVICE)), ..Shape::CLOSED })),
            ("models", Map(MAP, &Shape { each: Some((Names::Plain, &MODEL)), open: true, ..Shape::CLOSED })),
            (
                "networks",
                Map(MAP, &Shape { each: Some((Names::Plain, &NETWORK)), open: true, ..Shape::CLOSED }),
            ),
            ("volumes", Map(MAP, &Shape { each: Some((Names::Plain, &VOLUME)), ..Shape::CLOSED })),
            ("secrets", Map(MAP, &Shape { each: Some((Names::Plain, &SECRET)), ..Shape::CLOSED })),
            ("configs", Map(MAP, &Shape { each: Some((Names::Plain, &CONFIG)), ..Shape::CLOSED })),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// A service.
const SERVICE: Rule = Map(
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

/// How health is probed.
const HEALTHCHECK: Rule = Map(
    MAP,
    &Shape {
        known: &[
            ("disable", Kinds(SWITCH)),
            ("interval", Kinds(TEXT)),
            ("retries", Kinds(QUANTITY)),
            ("test", OneOf(&[Kinds(TEXT), List(&Kinds(TEXT))])),
            ("timeout", Kinds(TEXT)),
            ("start_period", Kinds(TEXT)),
            ("start_interval", Kinds(TEXT)),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// What `watch` does.
const DEVELOPMENT: Rule = Map(
    MAP_OR_NULL,
    &Shape {
        known: &[(
            "watch",
            List(&Map(
                MAP,
                &Shape {
                    known: &[
                        ("ignore", STRING_OR_LIST),
                        ("include", STRING_OR_LIST),
                        ("path", Kinds(TEXT)),
                        ("action", Words(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
                        ("target", Kinds(TEXT)),
                        ("exec", SERVICE_HOOK),
                        ("initial_sync", Kinds(&[Kind::Bool])),
                    ],
                    extensible: true,
                    required: &["path", "action"],
                    ..Shape::CLOSED
                },
            )),
        )],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// How a service is deployed.
const DEPLOYMENT: Rule = Map(
    MAP_OR_NULL,
    &Shape {
        known: &[
            ("mode", Kinds(TEXT)),
            ("endpoint_mode", Kinds(TEXT)),
            ("replicas", Kinds(COUNT)),
            ("labels", LIST_OR_DICT),
            (
                "rollback_config",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("parallelism", Kinds(COUNT)),
                            ("delay", Kinds(TEXT)),
                            ("failure_action", Kinds(TEXT)),
                            ("monitor", Kinds(TEXT)),
                            ("max_failure_ratio", Kinds(QUANTITY)),
                            ("order", Words(&["start-first", "stop-first"])),
                        ],
                        extensible: true,
                        ..Shape::CLOSED
                    },
                ),
            ),
            (
                "update_config",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("parallelism", Kinds(COUNT)),
                            ("delay", Kinds(TEXT)),
                            ("failure_action", Kinds(TEXT)),
                            ("monitor", Kinds(TEXT)),
                            ("max_failure_ratio", Kinds(QUANTITY)),
                            ("order", Words(&["start-first", "stop-first"])),
                        ],
                        extensible: true,
                        ..Shape::CLOSED
                    },
                ),
            ),
            (
                "resources",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            (
                                "limits",
                                Map(
                                    MAP,
                                    &Shape {
                                        known: &[
                                            ("cpus", Kinds(QUANTITY)),
                                            ("memory", Kinds(TEXT)),
                                            ("pids", Kinds(COUNT)),
                                        ],
                                        extensible: true,
                                        ..Shape::CLOSED
                                    },
                                ),
                            ),
                            (
                                "reservations",
                                Map(
                                    MAP,
                                    &Shape {
                                        known: &[
                                            ("cpus", Kinds(QUANTITY)),
                                            ("memory", Kinds(TEXT)),
                                            ("generic_resources", GENERIC_RESOURCES),
                                            ("devices", DEVICES),
                                        ],
                                        extensible: true,
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
            (
                "restart_policy",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("condition", Kinds(TEXT)),
                            ("delay", Kinds(TEXT)),
                            ("max_attempts", Kinds(COUNT)),
                            ("window", Kinds(TEXT)),
                        ],
                        extensible: true,
                        ..Shape::CLOSED
                    },
                ),
            ),
            (
                "placement",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("constraints", List(&Kinds(TEXT))),
                            (
                                "preferences",
                                List(&Map(
                                    MAP,
                                    &Shape {
                                        known: &[("spread", Kinds(TEXT))],
                                        extensible: true,
                                        ..Shape::CLOSED
                                    },
                                )),
                            ),
                            ("max_replicas_per_node", Kinds(COUNT)),
                        ],
                        extensible: true,
                        ..Shape::CLOSED
                    },
                ),
            ),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// Resources of the cluster's operator.
const GENERIC_RESOURCES: Rule = List(&Map(
    MAP,
    &Shape {
        known: &[(
            "discrete_resource_spec",
            Map(
                MAP,
                &Shape {
                    known: &[("kind", Kinds(TEXT)), ("value", Kinds(QUANTITY))],
                    extensible: true,
                    ..Shape::CLOSED
                },
            ),
        )],
        extensible: true,
        ..Shape::CLOSED
    },
));

/// Device requests.
const DEVICES: Rule = List(&Map(
    MAP,
    &Shape {
        known: &[
            ("capabilities", LIST_OF_STRINGS),
            ("count", Kinds(COUNT)),
            ("device_ids", LIST_OF_STRINGS),
            ("driver", Kinds(TEXT)),
            ("options", LIST_OR_DICT),
        ],
        extensible: true,
        required: &["capabilities"],
        ..Shape::CLOSED
    },
));

/// GPUs.
const GPUS: Rule = OneOf(&[
    Words(&["all"]),
    List(&Map(
        MAP,
        &Shape {
            known: &[
                ("capabilities", LIST_OF_STRINGS),
                ("count", Kinds(COUNT)),
                ("device_ids", LIST_OF_STRINGS),
                ("driver", Kinds(TEXT)),
                ("options", LIST_OR_DICT),
            ],
            open: true,
            ..Shape::CLOSED
        },
    )),
]);

/// Another file.
const INCLUDE: Rule = OneOf(&[
    Kinds(TEXT),
    Map(
        MAP,
        &Shape {
            known: &[
                ("path", STRING_OR_LIST),
                ("env_file", STRING_OR_LIST),
                ("project_directory", Kinds(TEXT)),
            ],
            ..Shape::CLOSED
        },
    ),
]);

/// A network.
const NETWORK: Rule = Map(
    MAP_OR_NULL,
    &Shape {
        known: &[
            ("name", Kinds(TEXT)),
            ("driver", Kinds(TEXT)),
            (
                "driver_opts",
                Map(MAP, &Shape { each: Some((Names::Any, &Kinds(QUANTITY))), open: true, ..Shape::CLOSED }),
            ),
            (
                "ipam",
                Map(
                    MAP,
                    &Shape {
                        known: &[
                            ("driver", Kinds(TEXT)),
                            (
                                "config",
                                List(&Map(
                                    MAP,
                                    &Shape {
                                        known: &[
                                            ("subnet", Kinds(TEXT)),
                                            ("ip_range", Kinds(TEXT)),
                                            ("gateway", Kinds(TEXT)),
                                            (
                                                "aux_addresses",
                                                Map(
                                                    MAP,
                                                    &Shape {
                                                        each: Some((Names::Any, &Kinds(TEXT))),
                                                        ..Shape::CLOSED
                                                    },
                                                ),
                                            ),
                                        ],
                                        extensible: true,
                                        ..Shape::CLOSED
                                    },
                                )),
                            ),
                            (
                                "options",
                                Map(MAP, &Shape { each: Some((Names::Any, &Kinds(TEXT))), ..Shape::CLOSED }),
                            ),
                        ],
                        extensible: true,
                        ..Shape::CLOSED
                    },
                ),
            ),
            (
                "external",
                Map(EXTERNAL, &Shape { known: &[("name", Kinds(TEXT))], extensible: true, ..Shape::CLOSED }),
            ),
            ("internal", Kinds(SWITCH)),
            ("enable_ipv4", Kinds(SWITCH)),
            ("enable_ipv6", Kinds(SWITCH)),
            ("attachable", Kinds(SWITCH)),
            ("labels", LIST_OR_DICT),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// A volume.
const VOLUME: Rule = Map(
    MAP_OR_NULL,
    &Shape {
        known: &[
            ("name", Kinds(TEXT)),
            ("driver", Kinds(TEXT)),
            (
                "driver_opts",
                Map(MAP, &Shape { each: Some((Names::Any, &Kinds(QUANTITY))), open: true, ..Shape::CLOSED }),
            ),
            (
                "external",
                Map(EXTERNAL, &Shape { known: &[("name", Kinds(TEXT))], extensible: true, ..Shape::CLOSED }),
            ),
            ("labels", LIST_OR_DICT),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// A secret.
const SECRET: Rule = Map(
    MAP,
    &Shape {
        known: &[
            ("name", Kinds(TEXT)),
            ("environment", Kinds(TEXT)),
            ("file", Kinds(TEXT)),
            (
                "external",
                Map(EXTERNAL, &Shape { known: &[("name", Kinds(TEXT))], open: true, ..Shape::CLOSED }),
            ),
            ("labels", LIST_OR_DICT),
            ("driver", Kinds(TEXT)),
            (
                "driver_opts",
                Map(MAP, &Shape { each: Some((Names::Any, &Kinds(QUANTITY))), open: true, ..Shape::CLOSED }),
            ),
            ("template_driver", Kinds(TEXT)),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// A config.
const CONFIG: Rule = Map(
    MAP,
    &Shape {
        known: &[
            ("name", Kinds(TEXT)),
            ("content", Kinds(TEXT)),
            ("environment", Kinds(TEXT)),
            ("file", Kinds(TEXT)),
            (
                "external",
                Map(EXTERNAL, &Shape { known: &[("name", Kinds(TEXT))], open: true, ..Shape::CLOSED }),
            ),
            ("labels", LIST_OR_DICT),
            ("template_driver", Kinds(TEXT)),
        ],
        extensible: true,
        ..Shape::CLOSED
    },
);

/// A language model.
const MODEL: Rule = Map(
    MAP,
    &Shape {
        known: &[
            ("name", Kinds(TEXT)),
            ("model", Kinds(TEXT)),
            ("context_size", Kinds(&[Kind::Integer])),
            ("runtime_flags", List(&Kinds(TEXT))),
        ],
        extensible: true,
        required: &["model"],
        ..Shape::CLOSED
    },
);

/// A command.
const COMMAND: Rule = OneOf(&[Kinds(&[Kind::Null]), Kinds(TEXT), List(&Kinds(TEXT))]);

/// A command at some moment of a life.
const SERVICE_HOOK: Rule = Map(
    MAP,
    &Shape {
        known: &[
            ("command", COMMAND),
            ("user", Kinds(TEXT)),
            ("privileged", Kinds(SWITCH)),
            ("working_dir", Kinds(TEXT)),
            ("environment", LIST_OR_DICT),
        ],
        extensible: true,
        required: &["command"],
        ..Shape::CLOSED
    },
);

/// Files with variables.
const ENV_FILE: Rule = OneOf(&[
    Kinds(TEXT),
    List(&OneOf(&[
        Kinds(TEXT),
        Map(
            MAP,
            &Shape {
                known: &[("path", Kinds(TEXT)), ("format", Kinds(TEXT)), ("required", Kinds(SWITCH))],
                required: &["path"],
                ..Shape::CLOSED
            },
        ),
    ])),
]);

/// Files with labels.
const LABEL_FILE: Rule = OneOf(&[Kinds(TEXT), List(&Kinds(TEXT))]);

/// One or some.
const STRING_OR_LIST: Rule = OneOf(&[Kinds(TEXT), LIST_OF_STRINGS]);

/// Different ones.
const LIST_OF_STRINGS: Rule = Set(&Kinds(TEXT));

/// `KEY=VALUE` pairs.
const LIST_OR_DICT: Rule = OneOf(&[
    Map(
        MAP,
        &Shape {
            each: Some((Names::Any, &Kinds(&[Kind::Text, Kind::Number, Kind::Bool, Kind::Null]))),
            ..Shape::CLOSED
        },
    ),
    Set(&Kinds(TEXT)),
]);

/// Lines for `/etc/hosts`.
const EXTRA_HOSTS: Rule = OneOf(&[
    Map(
        MAP,
        &Shape { each: Some((Names::Any, &OneOf(&[Kinds(TEXT), List(&Kinds(TEXT))]))), ..Shape::CLOSED },
    ),
    Set(&Kinds(TEXT)),
]);

/// A device's limit.
const BLKIO_LIMIT: Rule =
    Map(MAP, &Shape { known: &[("path", Kinds(TEXT)), ("rate", Kinds(COUNT))], ..Shape::CLOSED });

/// A device's weight.
const BLKIO_WEIGHT: Rule =
    Map(MAP, &Shape { known: &[("path", Kinds(TEXT)), ("weight", Kinds(COUNT))], ..Shape::CLOSED });

/// Mounted configs or secrets.
const SERVICE_CONFIG_OR_SECRET: Rule = List(&OneOf(&[
    Kinds(TEXT),
    Map(
        MAP,
        &Shape {
            known: &[
                ("source", Kinds(TEXT)),
                ("target", Kinds(TEXT)),
                ("uid", Kinds(TEXT)),
                ("gid", Kinds(TEXT)),
                ("mode", Kinds(QUANTITY)),
            ],
            extensible: true,
            ..Shape::CLOSED
        },
    ),
]));

/// Limits of each process.
const ULIMITS: Rule = Map(
    MAP,
    &Shape {
        each: Some((
            Names::Lower,
            &OneOf(&[
                Kinds(COUNT),
                Map(
                    MAP,
                    &Shape {
                        known: &[("hard", Kinds(COUNT)), ("soft", Kinds(COUNT))],
                        extensible: true,
                        required: &["soft", "hard"],
                        ..Shape::CLOSED
                    },
                ),
            ]),
        )),
        open: true,
        ..Shape::CLOSED
    },
);
