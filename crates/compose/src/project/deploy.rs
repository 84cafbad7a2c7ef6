//! How many, with what resources, and how they are replaced. Pure.

use super::{Bytes, DeviceCount, Duration, shape::shape};
use std::collections::BTreeMap;

shape! {
    /// How a service is deployed.
    pub struct Deploy {
        /// `replicated`, `global` or one of their jobs.
        mode: String = "mode",
        /// How many containers.
        replicas: Option<i64> = "replicas",
        /// Labels of the service, not of its containers.
        labels: BTreeMap<String, String> = "labels",
        /// How containers are replaced.
        update_config: Option<UpdateConfig> = "update_config",
        /// How they are put back.
        rollback_config: Option<UpdateConfig> = "rollback_config",
        /// Limits and reservations.
        resources: Resources = "resources",
        /// When one is started again.
        restart_policy: Option<RestartPolicy> = "restart_policy",
        /// On which nodes.
        placement: Placement = "placement",
        /// `vip` or `dnsrr`.
        endpoint_mode: String = "endpoint_mode",
    }
}

shape! {
    /// How containers are replaced.
    pub struct UpdateConfig {
        /// How many at a time.
        parallelism: Option<u64> = "parallelism",
        /// Between groups.
        delay: Duration = "delay",
        /// What happens when one fails.
        failure_action: String = "failure_action",
        /// For how long one is watched.
        monitor: Duration = "monitor",
        /// How many may fail.
        max_failure_ratio: f32 = "max_failure_ratio",
        /// `start-first` or `stop-first`.
        order: String = "order",
    }
}

shape! {
    /// Limits and reservations.
    pub struct Resources {
        /// At most.
        limits: Option<Resource> = "limits",
        /// At least.
        reservations: Option<Resource> = "reservations",
    }
}

shape! {
    /// An amount of resources.
    pub struct Resource {
        /// CPUs, also fractions.
        cpus: f32 = "cpus",
        /// Memory.
        memory: Bytes = "memory",
        /// Processes.
        pids: i64 = "pids",
        /// Devices such as GPUs.
        devices: Vec<DeviceRequest> = "devices",
        /// What the cluster's operator defined.
        generic_resources: Vec<GenericResource> = "generic_resources",
    }
}

shape! {
    /// A resource that the cluster's operator defined.
    pub struct GenericResource {
        /// In whole pieces.
        discrete_resource_spec: Option<DiscreteResource> = "discrete_resource_spec",
    }
}

shape! {
    /// A number of pieces.
    pub struct DiscreteResource {
        /// Of what.
        kind: String = "kind" [always],
        /// How many.
        value: i64 = "value" [always],
    }
}

shape! {
    /// Devices that some driver gives.
    pub struct DeviceRequest {
        /// What they must be able to: `gpu`.
        capabilities: Vec<String> = "capabilities",
        /// The driver.
        driver: String = "driver",
        /// How many.
        count: DeviceCount = "count",
        /// Or which.
        device_ids: Vec<String> = "device_ids",
        /// What the driver is told.
        options: BTreeMap<String, String> = "options",
    }
}

shape! {
    /// When a container is started again.
    pub struct RestartPolicy {
        /// `none`, `on-failure`, `any`.
        condition: String = "condition",
        /// After how long.
        delay: Option<Duration> = "delay",
        /// How often at most.
        max_attempts: Option<u64> = "max_attempts",
        /// How long one must run to count as started.
        window: Option<Duration> = "window",
    }
}

shape! {
    /// On which nodes.
    pub struct Placement {
        /// What must be true of a node.
        constraints: Vec<String> = "constraints",
        /// Over what to spread.
        preferences: Vec<Preference> = "preferences",
        /// At most so many a node.
        max_replicas_per_node: u64 = "max_replicas_per_node",
    }
}

shape! {
    /// Over what to spread.
    pub struct Preference {
        /// A node's label.
        spread: String = "spread",
    }
}
