//! What a compose file may say of how a service is deployed, watched and probed: the facts of the Compose Specification's schema as compose-go v2.9.1 has it
//! (`schema/compose-spec.json`). Pure.

use super::{
    Kind,
    Rule::{self, Kinds, List, Map, OneOf, Words},
    Shape,
    table::{
        COMMAND, COUNT, LIST_OF_STRINGS, LIST_OR_DICT, MAP, MAP_OR_NULL, QUANTITY, STRING_OR_LIST, SWITCH,
        TEXT,
    },
};

/// How a service is deployed.
pub(super) const DEPLOYMENT: Rule = Map(
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
pub(super) const GENERIC_RESOURCES: Rule = List(&Map(
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
pub(super) const DEVICES: Rule = List(&Map(
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
pub(super) const GPUS: Rule = OneOf(&[
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

/// What `watch` does.
pub(super) const DEVELOPMENT: Rule = Map(
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

/// How health is probed.
pub(super) const HEALTHCHECK: Rule = Map(
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

/// A command at some moment of a life.
pub(super) const SERVICE_HOOK: Rule = Map(
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
