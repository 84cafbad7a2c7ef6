//! What the build cache keeps, and what of it may go.

use super::{Builds, Inner};
use minke_build::{
    Result,
    request::{CacheFilter, CachePrune, CacheUsage},
};
use minke_image::work::chain_id;
use minke_model::{Timestamp, event::Noun, id::Digest};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// So many bytes free are enough on any disk.
const LOW: u64 = 2 << 30;

/// Where an entry lies, to remove it.
enum Place {
    Record,
    Context,
    Mount,
}

impl Builds {
    /// What the cache keeps and the filters take, the one needed last first.
    pub async fn usage(&self, filters: &[CacheFilter]) -> Result<Vec<CacheUsage>> {
        let (inner, filters) = (self.inner.clone(), filters.to_vec());
        super::blocking(move || {
            let all = entries(&inner).into_iter().map(|(usage, _)| usage);
            let mut taken: Vec<CacheUsage> = all.filter(|usage| takes(&filters, usage)).collect();
            taken.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.id.cmp(&b.id)));
            Ok(taken)
        })
        .await
    }

    /// Takes away what may go; what went, in order.
    pub async fn prune(&self, wish: CachePrune) -> Result<Vec<CacheUsage>> {
        let inner = self.inner.clone();
        let gone = super::blocking(move || {
            let gone = prune(&inner, &wish);
            inner.store.collect()?;
            Ok(gone)
        })
        .await?;
        let freed: u64 = gone.iter().map(|usage| usage.size).sum();
        let attributes = BTreeMap::from([("reclaimed".to_owned(), freed.to_string())]);
        self.inner.events.tell(Noun::Builder, "prune", "", attributes);
        Ok(gone)
    }
}

fn entries(inner: &Arc<Inner>) -> Vec<(CacheUsage, Place)> {
    let mut all = Vec::new();
    let records = inner.cache.all();
    // A layer that several records have is counted once, for the one that was first.
    let mut by_chain: HashMap<Digest, String> = HashMap::new();
    let mut records: Vec<_> = records.into_iter().collect();
    records.sort_by_key(|(record, _)| (record.chain.len(), record.created));
    let mut counted: BTreeSet<Digest> = BTreeSet::new();
    for (record, size) in records {
        let below = record.chain.len().saturating_sub(1);
        let parent = by_chain.get(&chain_id(&record.chain[..below])).cloned();
        let whole = chain_id(&record.chain);
        let first = record.chain.is_empty() || counted.insert(whole.clone());
        by_chain.entry(whole).or_insert_with(|| record.id.clone());
        let shared = !record.chain.is_empty() && inner.store.has_image_with(&record.chain);
        all.push((
            CacheUsage {
                id: record.id,
                parents: parent.into_iter().collect(),
                kind: "regular",
                description: record.description,
                in_use: false,
                shared,
                size: if first { size } else { 0 },
                created: record.created,
                last_used: record.used,
                uses: record.uses,
                mutable: false,
            },
            Place::Record,
        ));
    }
    for (name, size, used) in inner.contexts.at_rest() {
        all.push((
            CacheUsage {
                id: name,
                parents: Vec::new(),
                kind: "source.local",
                description: "local source for context".into(),
                in_use: false,
                shared: false,
                size,
                created: used,
                last_used: Some(used),
                uses: 1,
                mutable: true,
            },
            Place::Context,
        ));
    }
    for (name, meta, size, in_use) in inner.mounts.all() {
        all.push((
            CacheUsage {
                id: name,
                parents: Vec::new(),
                kind: "exec.cachemount",
                description: format!("cached mount {} from exec", meta.id),
                in_use,
                shared: false,
                size,
                created: Timestamp::from_nanos(meta.created),
                last_used: Some(Timestamp::from_nanos(meta.used)),
                uses: meta.uses,
                mutable: true,
            },
            Place::Mount,
        ));
    }
    all
}

fn prune(inner: &Arc<Inner>, wish: &CachePrune) -> Vec<CacheUsage> {
    let now = Timestamp::now();
    let all = entries(inner);
    let mut total: u64 = all.iter().map(|(usage, _)| usage.size).sum();
    let is_old = |usage: &CacheUsage| {
        wish.keep_seconds
            .is_none_or(|seconds| now.since(usage.last_used.unwrap_or(usage.created)).as_secs() >= seconds)
    };
    let mut may: Vec<_> = all
        .into_iter()
        .filter(|(usage, _)| {
            // What an image has as well frees nothing: it goes with all only.
            !usage.in_use && (wish.all || !usage.shared) && is_old(usage) && takes(&wish.filters, usage)
        })
        .collect();
    may.sort_by(|(a, _), (b, _)| {
        a.last_used.cmp(&b.last_used).then_with(|| b.parents.len().cmp(&a.parents.len()))
    });
    let bounded = wish.keep_bytes.is_some() || wish.reserved_bytes.is_some() || wish.min_free_bytes.is_some();
    let (mut gone, mut freed) = (Vec::new(), 0);
    for (usage, place) in may {
        if bounded && is_enough(inner, wish, total, freed) {
            break;
        }
        let removed = match place {
            Place::Record => inner.cache.remove(&usage.id),
            Place::Context => inner.contexts.remove(&usage.id),
            Place::Mount => inner.mounts.remove(&usage.id),
        };
        if removed {
            total = total.saturating_sub(usage.size);
            freed += usage.size;
            gone.push(usage);
        }
    }
    gone
}

/// Whether bounds are kept by now.
fn is_enough(inner: &Arc<Inner>, wish: &CachePrune, total: u64, freed: u64) -> bool {
    if wish.reserved_bytes.is_some_and(|reserved| total <= reserved) {
        return true;
    }
    let small = wish.keep_bytes.is_none_or(|keep| total <= keep);
    // What was freed shows on the disk later.
    let (free, _) = disk(inner);
    let free = wish.min_free_bytes.is_none_or(|least| free.saturating_add(freed) >= least);
    small && free && (wish.keep_bytes.is_some() || wish.min_free_bytes.is_some())
}

/// Bytes that are free on the disk of builds, and all.
fn disk(inner: &Inner) -> (u64, u64) {
    let bytes = |stat: rustix::fs::StatVfs| (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    rustix::fs::statvfs(&inner.scratch).map_or((u64::MAX, 0), bytes)
}

/// Where less than a twentieth of the disk is free (or 2 GiB, if that is less), what was needed longest ago goes until
/// twice that is.
pub(super) fn make_room(inner: &Arc<Inner>) {
    let (free, all) = disk(inner);
    let low = (all / 20).min(LOW);
    if free >= low {
        return;
    }
    let wish = CachePrune { all: true, min_free_bytes: Some(2 * low), ..CachePrune::default() };
    let gone = prune(inner, &wish);
    tracing::info!("the disk is nearly full: {} entries of the build cache went", gone.len());
}

/// Whether all filters take an entry (containerd's filters, as BuildKit names the fields).
fn takes(filters: &[CacheFilter], usage: &CacheUsage) -> bool {
    filters.iter().all(|filter| {
        let switch = |is: bool| match (filter.operator.as_str(), filter.value.as_str()) {
            ("", _) => is,
            (_, value) => is == matches!(value, "" | "1" | "t" | "true" | "True" | "TRUE"),
        };
        let words = |words: &[&str]| match filter.operator.as_str() {
            "" => words.iter().any(|word| !word.is_empty()),
            "!=" => !words.contains(&filter.value.as_str()),
            "~=" => {
                regex_lite::Regex::new(&filter.value).is_ok_and(|r| words.iter().any(|word| r.is_match(word)))
            }
            _ => words.contains(&filter.value.as_str()),
        };
        match filter.field.as_str() {
            "id" => words(&[&usage.id]),
            "parent" | "parents" => words(&usage.parents.iter().map(String::as_str).collect::<Vec<_>>()),
            "description" => words(&[&usage.description]),
            "type" => words(&[usage.kind]),
            "inuse" => switch(usage.in_use),
            "mutable" => switch(usage.mutable),
            "immutable" => switch(!usage.mutable),
            "shared" => switch(usage.shared),
            "private" => switch(!usage.shared),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests;
