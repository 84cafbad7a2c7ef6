//! Requests as docker compose would make them.

use super::*;
use minke_compose::{Disk as _, LoadOptions, load};
