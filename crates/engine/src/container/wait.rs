//! `wait`: until a container does not run, until its next exit, or until it is gone.

use super::Containers;
use crate::{Error, error::Result};
use minke_model::ContainerState;
use std::future::Future;

/// Until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run, be it only until its restart; at once when it does not now.
    #[default]
    NotRunning,
    /// It exits after now.
    NextExit,
    /// It is removed.
    Removed,
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitResult {
    /// The exit code.
    pub code: i64,
    /// Why its removal failed, when that was waited for.
    pub error: Option<String>,
}

impl Containers {
    /// The first await finds the container and subscribes; the future that it gives ends with the wait.
    pub async fn wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = WaitResult> + Send + 'static> {
        let cell = self.find(name)?;
        let mut progress = cell.progress.subscribe();
        let began = progress.borrow_and_update().exits;
        Ok(async move {
            let done = progress.wait_for(|p| match condition {
                WaitCondition::NotRunning => {
                    let up = p.state.is_up() || p.state == ContainerState::Restarting;
                    p.removed || p.exits > began || !up
                }
                WaitCondition::NextExit => p.removed || p.exits > began,
                WaitCondition::Removed => p.removed,
            });
            match done.await {
                Ok(p) => WaitResult { code: i64::from(p.code), error: None },
                // The cell went with its container between two looks.
                Err(_) => WaitResult { code: 0, error: None },
            }
        })
    }

    /// Refuses a condition that Docker does not know.
    pub fn parse_wait_condition(text: &str) -> Result<WaitCondition> {
        match text {
            "" | "not-running" => Ok(WaitCondition::NotRunning),
            "next-exit" => Ok(WaitCondition::NextExit),
            "removed" => Ok(WaitCondition::Removed),
            _ => Err(Error::Invalid(format!("invalid condition: {text:?}"))),
        }
    }
}
