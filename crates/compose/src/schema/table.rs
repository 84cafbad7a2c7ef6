//! What a compose file may say at its top: the facts of the Compose Specification's schema as compose-go v2.9.1 has it
//! (`schema/compose-spec.json`). Pure.

use super::{
    Kind, Names,
    Rule::{self, Kinds, List, Map, OneOf, Set},
    Shape,
    service::SERVICE,
};

pub(super) const TEXT: &[Kind] = &[Kind::Text];
/// A boolean, or a text that a variable may make one.
pub(super) const SWITCH: &[Kind] = &[Kind::Bool, Kind::Text];
/// A number, or a text with a unit.
pub(super) const QUANTITY: &[Kind] = &[Kind::Number, Kind::Text];
/// A whole number, or a text that a variable may make one.
pub(super) const COUNT: &[Kind] = &[Kind::Integer, Kind::Text];
pub(super) const MAP: &[Kind] = &[Kind::Map];
pub(super) const MAP_OR_NULL: &[Kind] = &[Kind::Map, Kind::Null];
pub(super) const EXTERNAL: &[Kind] = &[Kind::Bool, Kind::Text, Kind::Map];

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

/// Another file.
pub(super) const INCLUDE: Rule = OneOf(&[
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
pub(super) const NETWORK: Rule = Map(
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
pub(super) const VOLUME: Rule = Map(
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
pub(super) const SECRET: Rule = Map(
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
pub(super) const CONFIG: Rule = Map(
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
pub(super) const MODEL: Rule = Map(
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
pub(super) const COMMAND: Rule = OneOf(&[Kinds(&[Kind::Null]), Kinds(TEXT), List(&Kinds(TEXT))]);

/// Files with variables.
pub(super) const ENV_FILE: Rule = OneOf(&[
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
pub(super) const LABEL_FILE: Rule = OneOf(&[Kinds(TEXT), List(&Kinds(TEXT))]);

/// One or some.
pub(super) const STRING_OR_LIST: Rule = OneOf(&[Kinds(TEXT), LIST_OF_STRINGS]);

/// Different ones.
pub(super) const LIST_OF_STRINGS: Rule = Set(&Kinds(TEXT));

/// `KEY=VALUE` pairs.
pub(super) const LIST_OR_DICT: Rule = OneOf(&[
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
pub(super) const EXTRA_HOSTS: Rule = OneOf(&[
    Map(
        MAP,
        &Shape { each: Some((Names::Any, &OneOf(&[Kinds(TEXT), List(&Kinds(TEXT))]))), ..Shape::CLOSED },
    ),
    Set(&Kinds(TEXT)),
]);

/// A device's limit.
pub(super) const BLKIO_LIMIT: Rule =
    Map(MAP, &Shape { known: &[("path", Kinds(TEXT)), ("rate", Kinds(COUNT))], ..Shape::CLOSED });

/// A device's weight.
pub(super) const BLKIO_WEIGHT: Rule =
    Map(MAP, &Shape { known: &[("path", Kinds(TEXT)), ("weight", Kinds(COUNT))], ..Shape::CLOSED });

/// Mounted configs or secrets.
pub(super) const SERVICE_CONFIG_OR_SECRET: Rule = List(&OneOf(&[
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
pub(super) const ULIMITS: Rule = Map(
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
