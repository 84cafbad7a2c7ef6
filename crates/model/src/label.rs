//! Labels: what users write on things to find them again.

use std::collections::BTreeMap;

/// Names and values that users give to an object.
pub type Labels = BTreeMap<String, String>;
