//! Services as Docker 28.5.2 showed them (recorded from `GET /services/…`), through our model and back.

use super::{Service, ServiceSpec};
use minke_model::{
    NetworkId, ServiceId, Timestamp,
    object::Meta,
    service::{Service as Model, ServiceEndpoint, ServiceSpec as Spec},
};
use serde_json::{Value, json};

/// Made with every flag that `docker service create` has for it.
const FULL: &str = r#"{
 "ID": "rf8vltn4h59825m4xy6ap90xm",
 "Version": {
  "Index": 16
 },
 "CreatedAt": "2026-11-24T14:27:07.220312445Z",
 "UpdatedAt": "2026-11-24T14:27:07.228036432Z",
 "Spec": {
  "Name": "web",
  "Labels": {
   "l": "1"
  },
  "TaskTemplate": {
   "ContainerSpec": {
    "Image": "bb:1",
    "Labels": {
     "cl": "2"
    },
    "Args": [
     "/bin/sleep",
     "1000"
    ],
    "Hostname": "h",
    "Env": [
     "A=1"
    ],
    "Dir": "/",
    "User": "0",
    "Groups": [
     "5"
    ],
    "Init": true,
    "TTY": true,
    "Mounts": [
     {
      "Type": "volume",
      "Source": "v1",
      "Target": "/v"
     }
    ],
    "StopGracePeriod": 3000000000,
    "Healthcheck": {
     "Test": [
      "CMD-SHELL",
      "true"
     ]
    },
    "Hosts": [
     "1.2.3.4 a"
    ],
    "DNSConfig": {
     "Nameservers": [
      "1.1.1.1"
     ]
    },
    "Secrets": [
     {
      "File": {
       "Name": "s1",
       "UID": "0",
       "GID": "0",
       "Mode": 292
      },
      "SecretID": "vzkiyemk91pwkm120pnqihsra",
      "SecretName": "s1"
     }
    ],
    "Configs": [
     {
      "File": {
       "Name": "/etc/c1",
       "UID": "0",
       "GID": "0",
       "Mode": 292
      },
      "ConfigID": "7r93howho983sng98casre4kd",
      "ConfigName": "c1"
     }
    ],
    "Isolation": "default",
    "Sysctls": {
     "net.core.somaxconn": "10"
    },
    "CapabilityAdd": [
     "CAP_NET_ADMIN"
    ],
    "Ulimits": [
     {
      "Name": "nofile",
      "Hard": 200,
      "Soft": 100
     }
    ]
   },
   "Resources": {
    "Limits": {
     "NanoCPUs": 500000000,
     "MemoryBytes": 52428800,
     "Pids": 20
    },
    "Reservations": {
     "MemoryBytes": 10485760
    }
   },
   "RestartPolicy": {
    "Condition": "on-failure",
    "Delay": 5000000000,
    "MaxAttempts": 3
   },
   "Placement": {
    "Constraints": [
     "node.role==manager"
    ],
    "Preferences": [
     {
      "Spread": {
       "SpreadDescriptor": "node.labels.x"
      }
     }
    ]
   },
   "Networks": [
    {
     "Target": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    }
   ],
   "LogDriver": {
    "Name": "json-file",
    "Options": {
     "max-size": "1m"
    }
   },
   "ForceUpdate": 0,
   "Runtime": "container"
  },
  "Mode": {
   "Replicated": {
    "Replicas": 2
   }
  },
  "UpdateConfig": {
   "Parallelism": 2,
   "Delay": 1000000000,
   "FailureAction": "pause",
   "Monitor": 5000000000,
   "MaxFailureRatio": 0,
   "Order": "stop-first"
  },
  "RollbackConfig": {
   "Parallelism": 1,
   "FailureAction": "pause",
   "Monitor": 5000000000,
   "MaxFailureRatio": 0,
   "Order": "start-first"
  },
  "EndpointSpec": {
   "Mode": "vip",
   "Ports": [
    {
     "Protocol": "tcp",
     "TargetPort": 80,
     "PublishedPort": 8080,
     "PublishMode": "ingress"
    }
   ]
  }
 },
 "Endpoint": {
  "Spec": {
   "Mode": "vip",
   "Ports": [
    {
     "Protocol": "tcp",
     "TargetPort": 80,
     "PublishedPort": 8080,
     "PublishMode": "ingress"
    }
   ]
  },
  "Ports": [
   {
    "Protocol": "tcp",
    "TargetPort": 80,
    "PublishedPort": 8080,
    "PublishMode": "ingress"
   }
  ],
  "VirtualIPs": [
   {
    "NetworkID": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "Addr": "10.0.0.3/24"
   },
   {
    "NetworkID": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Addr": "10.0.1.2/24"
   }
  ]
 }
}"#;

/// `docker service create --name plain IMAGE`, shown with `insertDefaults`.
const DEFAULTS: &str = r#"{
 "ID": "4xx2elkk1doi772en5ffiy50d",
 "Version": {
  "Index": 19
 },
 "CreatedAt": "2026-11-24T14:27:07.258959994Z",
 "UpdatedAt": "2026-11-24T14:27:07.258959994Z",
 "Spec": {
  "Name": "plain",
  "Labels": {},
  "TaskTemplate": {
   "ContainerSpec": {
    "Image": "bb:1",
    "Args": [
     "/bin/sleep",
     "1000"
    ],
    "Init": false,
    "StopGracePeriod": 10000000000,
    "DNSConfig": {},
    "Isolation": "default"
   },
   "Resources": {
    "Limits": {},
    "Reservations": {}
   },
   "RestartPolicy": {
    "Condition": "any",
    "Delay": 5000000000,
    "MaxAttempts": 0
   },
   "Placement": {},
   "ForceUpdate": 0,
   "Runtime": "container"
  },
  "Mode": {
   "Replicated": {
    "Replicas": 1
   }
  },
  "UpdateConfig": {
   "Parallelism": 1,
   "FailureAction": "pause",
   "Monitor": 5000000000,
   "MaxFailureRatio": 0,
   "Order": "stop-first"
  },
  "RollbackConfig": {
   "Parallelism": 1,
   "FailureAction": "pause",
   "Monitor": 5000000000,
   "MaxFailureRatio": 0,
   "Order": "stop-first"
  },
  "EndpointSpec": {
   "Mode": "vip"
  }
 },
 "Endpoint": {
  "Spec": {}
 }
}"#;

fn parsed(spec: &Value) -> Spec {
    crate::wire::folded::<ServiceSpec>(spec.clone()).expect("a spec").parse().expect("a good spec")
}

fn service(spec: Spec, endpoint: Option<ServiceEndpoint>) -> Model {
    Model {
        id: ServiceId::parse("rf8vltn4h59825m4xy6ap90xm").expect("an id"),
        meta: Meta::new(Timestamp::from_nanos(0)),
        spec,
        previous: None,
        template: 1,
        previous_template: None,
        endpoint,
        update: None,
        job_iteration: 0,
        job_started: None,
        removing: false,
    }
}

#[test]
fn a_service_with_every_flag_is_shown_as_docker_shows_it() {
    let recorded: Value = serde_json::from_str(FULL).expect("JSON");
    let network = |digit: &str| NetworkId::parse(&digit.repeat(64)).expect("an id");
    let spec = parsed(&recorded["Spec"]);
    let endpoint = ServiceEndpoint {
        mode: Default::default(),
        ports: spec.endpoint.clone().expect("an endpoint").ports,
        vips: vec![
            (network("b"), "10.0.0.3".parse().expect("an address"), 24),
            (network("a"), "10.0.1.2".parse().expect("an address"), 24),
        ],
    };
    let shown = serde_json::to_value(Service::new(&service(spec, Some(endpoint)))).expect("JSON");
    assert_eq!(shown["Spec"], recorded["Spec"]);
    assert_eq!(shown["Endpoint"], recorded["Endpoint"]);
}

#[test]
fn defaults_are_shown_when_asked_for() {
    let recorded: Value = serde_json::from_str(DEFAULTS).expect("JSON");
    let asked = json!({
        "Name": "plain",
        "TaskTemplate": { "ContainerSpec": {
            "Image": "bb:1", "Args": ["/bin/sleep", "1000"], "Init": false, "DNSConfig": {},
        } },
        "EndpointSpec": { "Mode": "vip" },
    });
    let shown = Service::new(&service(parsed(&asked), None)).with_defaults();
    let shown = serde_json::to_value(shown).expect("JSON");
    assert_eq!(shown["Spec"], recorded["Spec"]);
    assert_eq!(shown["Endpoint"], recorded["Endpoint"]);
}

#[test]
fn what_cannot_be_is_refused_with_dockers_sentences() {
    let refused = |change: Value| {
        let mut spec = json!({ "Name": "a", "TaskTemplate": { "ContainerSpec": { "Image": "bb:1" } } });
        merge(&mut spec, change);
        let wire = crate::wire::folded::<ServiceSpec>(spec).expect("a spec");
        wire.parse().err().map(|e| e.message).unwrap_or_default()
    };
    let rpc = |text: &str| format!("rpc error: code = InvalidArgument desc = {text}");
    let container = |change: Value| json!({ "TaskTemplate": { "ContainerSpec": change } });
    assert_eq!(refused(json!({})), "");
    assert_eq!(
        refused(json!({ "Mode": { "Global": {}, "Replicated": {} } })),
        "must specify only one service mode"
    );
    assert_eq!(refused(json!({ "EndpointSpec": { "Mode": "x" } })), "invalid resolution mode: \"x\"");
    assert_eq!(refused(json!({ "UpdateConfig": { "Order": "x" } })), "unrecognized update order x");
    assert_eq!(refused(json!({ "TaskTemplate": { "Runtime": "x" } })), "unsupported runtime");
    let restart = json!({ "TaskTemplate": { "RestartPolicy": { "Condition": "x" } } });
    assert_eq!(refused(restart), "invalid RestartCondition: \"x\"");
    assert_eq!(
        refused(container(json!({ "Image": "" }))),
        rpc("ContainerSpec: image reference must be provided")
    );
    assert_eq!(
        refused(container(json!({ "Image": "A:b:c" }))),
        rpc("ContainerSpec: \"A:b:c\" is not a valid repository/tag")
    );
    let probe = json!({ "Healthcheck": { "Interval": 1 } });
    assert_eq!(
        refused(container(probe)),
        rpc("ContainerSpec: Interval in HealthConfig cannot be less than 1ms")
    );
    for (kind, why) in [
        ("cluster", "cluster volumes are not supported by this daemon"),
        ("odd", "invalid MountType: \"odd\""),
    ] {
        assert_eq!(refused(container(json!({ "Mounts": [{ "Type": kind, "Target": "/a" }] }))), why);
    }
    assert!(refused(container(json!({ "Isolation": "hyperv" }))).contains("only for Windows"));
    assert!(
        refused(container(json!({ "Privileges": { "CredentialSpec": {} } }))).contains("only for Windows")
    );
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}
