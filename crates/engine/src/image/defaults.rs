//! Defaults of an image that is made here, after the instructions that its user gives: `commit` and `import --change`.

use crate::error::Result;
use minke_image::changes;
use minke_model::image::ImageDefaults;

/// `defaults` after the instructions; a signal that nobody knows is refused.
pub(crate) fn changed(defaults: ImageDefaults, instructions: &[String]) -> Result<ImageDefaults> {
    let before = defaults.stop_signal.clone();
    let after = changes::apply(defaults, instructions)?;
    if let Some(signal) = after.stop_signal.as_ref().filter(|_| after.stop_signal != before) {
        crate::signal::parse(signal)?;
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_may_speak_of_what_was_there_before() {
        let before = ImageDefaults { env: vec!["PATH=/bin".into()], ..ImageDefaults::default() };
        let after = changed(before.clone(), &["ENV PATH=/opt/bin:$PATH".into()]).unwrap();
        assert_eq!(after.env, ["PATH=/opt/bin:/bin"]);
        let error = changed(before, &["STOPSIGNAL nonsense".into()]).unwrap_err();
        assert_eq!(error.to_string(), "invalid signal: nonsense");
    }
}
