//! `POST /build/prune` (moby `builder/builder-next`, `toBuildkitPruneInfo`).

use super::super::{Routes, ok};
use crate::{
    error::{ApiError, Result},
    query::Query,
    request::Ask,
    response::Answer,
    wire::prune::Caches,
};
use minke_engine::build::request::{CacheFilter, CachePrune};
use minke_model::go::{parse_duration, quote};

/// Fields that can be filtered by.
const FIELDS: [&str; 7] = ["id", "parent", "type", "description", "inuse", "shared", "private"];

pub(super) async fn prune(routes: &Routes, ask: &Ask) -> Result<Answer> {
    let gone = routes.engine.builds.prune(wish(&ask.query, ask.version.before(48))?).await?;
    let caches_deleted = (!gone.is_empty()).then(|| gone.iter().map(|usage| usage.id.clone()).collect());
    ok(&Caches { caches_deleted, space_reclaimed: gone.iter().map(|usage| usage.size).sum() })
}

fn wish(query: &Query, old: bool) -> Result<CachePrune> {
    let bytes = |name: &str| match query.get(name) {
        "" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(bytes) => Ok(u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)),
            Err(_) => {
                Err(ApiError::invalid(format!("{name} is in bytes and expects an integer, got {text}")))
            }
        },
    };
    let mut wish = CachePrune { all: query.flag("all"), ..CachePrune::default() };
    wish.reserved_bytes = match old {
        true => bytes("keep-storage")?,
        false => bytes("reserved-space")?.or(bytes("keep-storage")?),
    };
    if !old {
        (wish.keep_bytes, wish.min_free_bytes) = (bytes("max-used-space")?, bytes("min-free-space")?);
    }
    for (field, values) in query.filters()? {
        let values: Vec<&String> = values.iter().collect();
        let several = || ApiError::invalid(format!("the filter {} takes one value", quote(&field)));
        match (field.as_str(), values.as_slice()) {
            ("until" | "unused-for", [value]) => {
                let nanos = parse_duration(value).map_err(|e| {
                    ApiError::invalid(format!("{} filter expects a duration (e.g., '24h'): {e}", field))
                })?;
                wish.keep_seconds = Some(u64::try_from(nanos).unwrap_or(0) / 1_000_000_000);
            }
            ("until" | "unused-for", _) => return Err(several()),
            (known, []) if FIELDS.contains(&known) => wish.filters.push(CacheFilter {
                field: known.to_owned(),
                operator: String::new(),
                value: String::new(),
            }),
            (known, [value]) if FIELDS.contains(&known) => wish.filters.push(CacheFilter {
                field: if known == "parent" { "parents".into() } else { known.to_owned() },
                operator: if known == "id" { "~=".into() } else { "==".into() },
                value: (*value).clone(),
            }),
            (known, _) if FIELDS.contains(&known) => return Err(several()),
            (other, _) => return Err(ApiError::invalid(format!("invalid filter '{other}'"))),
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_bounds_are_dockerds() {
        let read = |text: &str, old| wish(&Query::parse(text), old);
        let new = read(
            "all=1&filters={\"until\":[\"24h\"],\"id\":[\"ab\"]}&max-used-space=5&keep-storage=7",
            false,
        )
        .unwrap();
        assert_eq!(
            (new.all, new.keep_seconds, new.keep_bytes, new.reserved_bytes),
            (true, Some(86_400), Some(5), Some(7))
        );
        let filter = &new.filters[0];
        assert_eq!(
            (filter.field.as_str(), filter.operator.as_str(), filter.value.as_str()),
            ("id", "~=", "ab")
        );
        assert_eq!(read("max-used-space=5", true).unwrap().keep_bytes, None);
        assert!(read("filters={\"no\":[\"x\"]}", false).is_err() && read("keep-storage=x", false).is_err());
    }
}
