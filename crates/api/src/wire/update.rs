//! `POST /containers/{name}/update`.

use super::{host::RestartPolicy, resources::Resources, wire};

wire! {
    /// Limits and policy to change; what is 0 or absent stays.
    struct UpdateBody {
        @flatten resources: Resources,
        restart_policy: RestartPolicy,
    }
}
