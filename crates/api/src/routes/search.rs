//! `GET /images/search`: an index' own search, filtered here (moby `registry/search.go`).

use super::{Routes, ok};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::Answer,
    wire::search::Hit,
};
use minke_engine::image::{Found, Search};
use std::collections::{BTreeMap, BTreeSet};

/// How many are found where nothing is said, and at most.
const USUAL: i64 = 25;
const MOST: i64 = 100;

/// What of the found is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    official: Option<bool>,
    automated: Option<bool>,
    stars: i64,
}

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let limit = match ask.query.number("limit")? {
        None | Some(0) => USUAL,
        Some(limit) => limit,
    };
    let limit = u8::try_from(limit)
        .ok()
        .filter(|n| (1..=MOST).contains(&i64::from(*n)))
        .ok_or_else(|| ApiError::invalid(format!("limit {limit} is outside the range of [1, {MOST}]")))?;
    let wanted = Wanted::read(&ask.query.filters()?)?;
    let term = ask.query.get("term").to_owned();
    if term.starts_with("http://") || term.starts_with("https://") {
        let scheme = term.split("://").next().unwrap_or_default();
        return Err(ApiError::invalid(format!(
            "invalid repository name: repository name ({}) should not have a scheme ({scheme}://)",
            term.trim_start_matches(scheme).trim_start_matches("://")
        )));
    }
    let found = routes.engine.images.search(Search { term, limit }).await?;
    ok(&found.into_iter().filter(|found| wanted.takes(found)).map(Hit::from).collect::<Vec<_>>())
}

impl Wanted {
    fn read(filters: &BTreeMap<String, BTreeSet<String>>) -> Result<Self> {
        let mut wanted = Self::default();
        for (name, values) in filters {
            let wrong = || {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                ApiError::invalid(format!("invalid filter '{name}={}'", values.join(" ")))
            };
            let truth = || match values.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["true" | "1"] => Ok(true),
                ["false" | "0"] => Ok(false),
                _ => Err(wrong()),
            };
            match name.as_str() {
                "is-official" => wanted.official = Some(truth()?),
                "is-automated" => wanted.automated = Some(truth()?),
                "stars" => {
                    for value in values {
                        let stars = value.parse::<i64>().map_err(|_| wrong())?;
                        wanted.stars = wanted.stars.max(stars);
                    }
                }
                other => return Err(ApiError::invalid(format!("invalid filter '{other}'"))),
            }
        }
        Ok(wanted)
    }

    fn takes(&self, found: &Found) -> bool {
        self.official.is_none_or(|official| official == found.is_official)
            // None is automated any more.
            && self.automated != Some(true)
            && found.star_count >= self.stars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), BTreeSet::from([(*v).to_owned()]))).collect()
    }

    #[test]
    fn filters_are_dockerds() {
        let wanted = Wanted::read(&filters(&[("is-official", "true"), ("stars", "3")])).unwrap();
        assert!(wanted.takes(&Found { is_official: true, star_count: 3, ..Found::default() }));
        assert!(!wanted.takes(&Found { is_official: true, star_count: 2, ..Found::default() }));
        assert!(!wanted.takes(&Found { star_count: 9, ..Found::default() }));
        let refused = |name, value| Wanted::read(&filters(&[(name, value)])).unwrap_err().message;
        assert_eq!(refused("stars", "x"), "invalid filter 'stars=x'");
        assert_eq!(refused("no", "x"), "invalid filter 'no'");
    }
}
