//! Caches outside of this machine: to a client's directory, to a registry, or in the image itself.

use crate::build::Inner;
use minke_build::{
    BuildError, Built, Client, Result,
    host::At,
    report::Reporter,
    request::CacheRef,
};
use std::{collections::BTreeMap, sync::Arc};

/// As progress names one.
pub(super) fn shown(cache: &CacheRef) -> String {
    match cache.kind.as_str() {
        "local" => "client directory".into(),
        kind => kind.to_owned(),
    }
}

/// Writes a build's steps to a cache outside.
pub(super) async fn export(
    _inner: &Arc<Inner>,
    _built: &Arc<Built>,
    wish: &CacheRef,
    _client: &Arc<dyn Client>,
    _reporter: &Reporter,
) -> Result<BTreeMap<String, String>> {
    Err(BuildError::unsupported(format!("caches of type {} are not written yet", wish.kind)))
}

/// Makes the records of a cache outside known.
pub(in crate::build) async fn import(_inner: &Arc<Inner>, wish: &CacheRef, _at: &At) -> Result<()> {
    Err(BuildError::unsupported(format!("caches of type {} are not read yet", wish.kind)))
}
