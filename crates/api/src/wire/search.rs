//! `GET /images/search`.

use minke_engine::image::Found;
use serde::Serialize;

/// One repository that was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Hit {
    star_count: i64,
    is_official: bool,
    name: String,
    is_automated: bool,
    description: String,
}

impl From<Found> for Hit {
    fn from(found: Found) -> Self {
        Self {
            star_count: found.star_count,
            is_official: found.is_official,
            name: found.name,
            // Docker Hub has none any more, and dockerd says so whatever the index says.
            is_automated: false,
            description: found.description,
        }
    }
}
