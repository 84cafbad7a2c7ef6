//! From what the files say and what runs to steps: one act each, what must come before, and because of what. Pure.
//!
//! The rules of what is made anew are docker compose 2.40.3's (`pkg/compose/convergence.go`, `create.go`, `down.go`);
//! beyond them, a config or secret whose content changed counts too. Start at [`up`].

mod down;
mod image;
mod lifecycle;
mod up;

pub use down::{Down, Images, down};
pub use image::{Building, images};
pub use lifecycle::{restart, start, stop};
pub use up::{Recreate, Up, changed_volumes, resolved, up};

use crate::project::Condition;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Steps, each with what must be done before it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The steps; `after` names earlier ones by their place here.
    pub steps: Vec<Step>,
    /// What is worth saying before anything is done.
    pub warnings: Vec<String>,
    /// So many of the steps make things; those after them start what was made.
    pub created: usize,
    /// The container that `service:NAME` stands for, by service.
    pub first: BTreeMap<String, String>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is done.
    pub act: Act,
    /// The steps that come before.
    pub after: Vec<usize>,
    /// Why: `there is none yet`.
    pub because: String,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Fetches the image of a service. Where it can be built, failing is no failure.
    Pull {
        /// The service.
        service: String,
        /// The image.
        image: String,
        /// Whether a failure may be passed over.
        optional: bool,
    },
    /// Builds the image of a service.
    Build {
        /// The service.
        service: String,
        /// Its image.
        image: String,
        /// Not, when a pull before this brought it.
        unless_there: bool,
    },
    /// Makes a network.
    CreateNetwork {
        /// Its key in the file.
        key: String,
        /// Its name.
        name: String,
    },
    /// Takes containers out of a network.
    Leave {
        /// The network's id.
        network: String,
        /// The containers' ids.
        containers: Vec<String>,
    },
    /// Removes a network.
    RemoveNetwork {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Makes a volume.
    CreateVolume {
        /// Its key in the file.
        key: String,
        /// Its name.
        name: String,
    },
    /// Removes a volume.
    RemoveVolume {
        /// Its name.
        name: String,
    },
    /// Nothing: the container runs as it should.
    Keep {
        /// The container.
        name: String,
    },
    /// Makes a container.
    Create {
        /// Its service.
        service: String,
        /// Which of its service's.
        number: u32,
        /// Its name.
        name: String,
    },
    /// Makes a container, stops and removes the old one, and takes over its name.
    Replace {
        /// Its service.
        service: String,
        /// Which of its service's.
        number: u32,
        /// Its name.
        name: String,
        /// The old one's id.
        old: String,
        /// The old one's name.
        old_name: String,
    },
    /// Gives a container the name that a replacement was interrupted before.
    Rename {
        /// Its id.
        id: String,
        /// Its name to be.
        name: String,
    },
    /// Starts a container.
    Start {
        /// Its service.
        service: String,
        /// Its name.
        name: String,
    },
    /// Lets a paused container go on.
    Unpause {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Stops a container and starts it.
    Restart {
        /// Its service.
        service: String,
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Stops a container.
    Stop {
        /// Its service.
        service: String,
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Removes a container that was stopped.
    Remove {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// Whether its anonymous volumes go with it.
        volumes: bool,
    },
    /// Waits for the containers of a service.
    Wait {
        /// The service.
        service: String,
        /// Their names.
        names: Vec<String>,
        /// For what.
        until: Until,
        /// Whether its failing is a failure.
        required: bool,
    },
    /// Removes an image.
    RemoveImage {
        /// Its name.
        name: String,
    },
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// They are healthy.
    Healthy,
    /// They ended with 0.
    Completed,
    /// They are healthy, or run where nothing probes them.
    RunningOrHealthy,
}

impl Until {
    /// What a dependency waits for; a started one needs no wait.
    pub(crate) fn of(condition: Condition) -> Option<Self> {
        match condition {
            Condition::Started => None,
            Condition::Healthy => Some(Until::Healthy),
            Condition::CompletedSuccessfully => Some(Until::Completed),
        }
    }
}

impl Plan {
    /// Adds a step after others; its place.
    pub fn push(
        &mut self,
        act: Act,
        after: impl IntoIterator<Item = usize>,
        because: impl Into<String>,
    ) -> usize {
        let after: BTreeSet<usize> = after.into_iter().collect();
        self.steps.push(Step { act, after: after.into_iter().collect(), because: because.into() });
        self.steps.len() - 1
    }

    /// Whether nothing would change.
    pub fn is_idle(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.act, Act::Keep { .. } | Act::Wait { .. }))
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Pull { image, .. } => write!(f, "pull image {image}"),
            Act::Build { image, .. } => write!(f, "build image {image}"),
            Act::CreateNetwork { name, .. } => write!(f, "create network {name}"),
            Act::Leave { containers, .. } => {
                write!(f, "take {} containers out of the network", containers.len())
            }
            Act::RemoveNetwork { name, .. } => write!(f, "remove network {name}"),
            Act::CreateVolume { name, .. } => write!(f, "create volume {name}"),
            Act::RemoveVolume { name } => write!(f, "remove volume {name}"),
            Act::Keep { name } => write!(f, "keep container {name}"),
            Act::Create { name, .. } => write!(f, "create container {name}"),
            Act::Replace { name, .. } => write!(f, "replace container {name}"),
            Act::Rename { name, .. } => write!(f, "name container {name}"),
            Act::Start { name, .. } => write!(f, "start container {name}"),
            Act::Unpause { name, .. } => write!(f, "unpause container {name}"),
            Act::Restart { name, .. } => write!(f, "restart container {name}"),
            Act::Stop { name, .. } => write!(f, "stop container {name}"),
            Act::Remove { name, .. } => write!(f, "remove container {name}"),
            Act::Wait { service, until, .. } => {
                let until = match until {
                    Until::Healthy => "is healthy",
                    Until::Completed => "has completed",
                    Until::RunningOrHealthy => "runs",
                };
                write!(f, "wait until {service} {until}")
            }
            Act::RemoveImage { name } => write!(f, "remove image {name}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, because {}", self.act, self.because)
    }
}

/// Why no plan can be made. The sentences are docker compose's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Neither image nor build.
    #[error("invalid service {service:?}. Must specify either image or build")]
    NoImage {
        /// The service.
        service: String,
    },
    /// An external network is not there.
    #[error("network {name} declared as external, but could not be found")]
    NoExternalNetwork {
        /// The network.
        name: String,
    },
    /// An external volume is not there.
    #[error("external volume {name:?} not found")]
    NoExternalVolume {
        /// The volume.
        name: String,
    },
    /// A network of that name is another one of the project's.
    #[error(
        "network {name} was found but has incorrect label com.docker.compose.network set to {found:?} (expected: {key:?})"
    )]
    OtherNetwork {
        /// The network.
        name: String,
        /// Its label.
        found: String,
        /// Its key in the file.
        key: String,
    },
    /// Several containers cannot have one name.
    #[error(
        "WARNING: The {service:?} service is using the custom container name {name:?}. Docker requires each container to have a unique name. Remove the custom name to scale the service"
    )]
    OneName {
        /// The service.
        service: String,
        /// The name.
        name: String,
    },
    /// What must be there first has no container.
    #[error("{service} is missing dependency {dependency}")]
    NoDependency {
        /// Who needs it.
        service: String,
        /// What.
        dependency: String,
    },
    /// There is nothing to start.
    #[error("service {service:?} has no container to start")]
    NoContainer {
        /// The service.
        service: String,
    },
    /// What a namespace or volume would be shared with is not there.
    #[error("cannot share {what} with service {service}: container missing")]
    NothingToShare {
        /// The namespace or volume.
        what: &'static str,
        /// The service.
        service: String,
    },
}

impl PlanError {
    /// For programs.
    pub fn kind(&self) -> minke_model::Kind {
        match self {
            PlanError::NoImage { .. } | PlanError::OneName { .. } => minke_model::Kind::Invalid,
            PlanError::OtherNetwork { .. } => minke_model::Kind::Conflict,
            PlanError::NoExternalNetwork { .. }
            | PlanError::NoExternalVolume { .. }
            | PlanError::NoDependency { .. }
            | PlanError::NoContainer { .. }
            | PlanError::NothingToShare { .. } => minke_model::Kind::NotFound,
        }
    }
}

#[cfg(test)]
mod tests;
