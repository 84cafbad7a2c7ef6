//! For which platforms images are built, and on which services run (docker/compose `cmd/compose/options.go`). Pure.

use super::Project;
use crate::error::Fault;

impl Project {
    /// The project with `DOCKER_DEFAULT_PLATFORM` where a service that is built names none, and with what its build is
    /// for. `single` is for what runs here: several platforms become none, and the builder decides.
    ///
    /// Fails where a build is not for the platform that is wanted.
    pub fn with_platforms(mut self, single: bool) -> Result<Self, Fault> {
        let default = self.environment.get("DOCKER_DEFAULT_PLATFORM").cloned().unwrap_or_default();
        for (name, service) in &mut self.services {
            let Some(build) = &mut service.build else { continue };
            let takes = |platform: &String| build.platforms.is_empty() || build.platforms.contains(platform);
            if !default.is_empty() && service.platform.is_empty() {
                if !takes(&default) {
                    return Err(Fault::new(format!(
                        "service {name:?} build.platforms does not support value set by DOCKER_DEFAULT_PLATFORM: \
                         {default}"
                    )));
                }
                service.platform.clone_from(&default);
            }
            if !service.platform.is_empty() {
                if !takes(&service.platform) {
                    let platform = &service.platform;
                    let message =
                        format!("service {name:?} build configuration does not support platform: {platform}");
                    return Err(Fault::new(message));
                }
                if single || build.platforms.is_empty() {
                    build.platforms = vec![service.platform.clone()];
                }
            }
            if single && build.platforms.len() > 1 {
                build.platforms.clear();
            }
        }
        Ok(self)
    }
}
