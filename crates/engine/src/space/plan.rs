//! What goes when the disk fills up, in which order, and what stays and why. Pure.
//!
//! The order: the build cache, images without a name, images, logs of containers that ended; in each the longest unused
//! first. Never: what something runs on, is made of or is built on, nor what was used within the time to keep.

use minke_model::Timestamp;

/// When to begin, when to end, what to leave alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Percent of the file system in use from which on things go; 0 is never.
    pub high: u8,
    /// Percent in use at which no more go.
    pub low: u8,
    /// Seconds since its last use for which a thing stays in any case.
    pub keep: i64,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { high: 90, low: 80, keep: 24 * 60 * 60 }
    }
}

/// What sort a thing is; in the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// What builds keep to be faster the next time.
    BuildCache,
    /// An image that lost its name.
    UnnamedImage,
    /// An image with a name.
    Image,
    /// The log of a container that ended.
    Log,
}

impl Sort {
    /// As people see it.
    pub fn name(self) -> &'static str {
        match self {
            Sort::BuildCache => "build cache",
            Sort::UnnamedImage => "unnamed image",
            Sort::Image => "image",
            Sort::Log => "log",
        }
    }
}

/// Something that takes room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    /// What it is.
    pub sort: Sort,
    /// By which it is removed.
    pub id: String,
    /// As people see it.
    pub name: String,
    /// Bytes that its end gives back.
    pub bytes: u64,
    /// When it was last used.
    pub used: Timestamp,
    /// Why it is never touched, if so.
    pub held: Option<String>,
}

/// The disk, and what lies on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes that are free for everybody.
    pub free: u64,
    /// Now.
    pub now: Timestamp,
    /// In any order.
    pub things: Vec<Thing>,
}

/// What happens to a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes now.
    Goes,
    /// It would go if the disk were fuller.
    Next,
    /// It stays, and why.
    Stays(String),
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Percent of the file system in use.
    pub used: u8,
    /// Bytes that are to be had back; 0 while the disk is not full enough.
    pub wanted: u64,
    /// In the order in which they go.
    pub things: Vec<(Thing, Verdict)>,
}

/// Decides.
pub(super) fn plan(view: View, marks: Watermarks) -> Plan {
    let taken = view.total.saturating_sub(view.free);
    let used = percent(taken, view.total);
    let goal = (u128::from(view.total) * u128::from(marks.low) / 100) as u64;
    let is_full = marks.high > 0 && used >= marks.high;
    let wanted = if is_full { taken.saturating_sub(goal) } else { 0 };
    let mut things = view.things;
    things.sort_by(|a, b| (a.sort, a.used, &a.id).cmp(&(b.sort, b.used, &b.id)));
    let mut freed = 0u64;
    let judge = |thing: Thing| {
        let age = view.now.as_second().saturating_sub(thing.used.as_second());
        let verdict = if let Some(why) = &thing.held {
            Verdict::Stays(why.clone())
        } else if age < marks.keep {
            Verdict::Stays(format!("used within the last {}", span(marks.keep)))
        } else if freed < wanted {
            freed = freed.saturating_add(thing.bytes);
            Verdict::Goes
        } else {
            Verdict::Next
        };
        (thing, verdict)
    };
    Plan { used, wanted, things: things.into_iter().map(judge).collect() }
}

/// Rounded up, as `df` does: nearly full is full.
fn percent(part: u64, whole: u64) -> u8 {
    if whole == 0 {
        return 0;
    }
    (u128::from(part) * 100).div_ceil(u128::from(whole)).min(100) as u8
}

/// `24 hours`.
fn span(seconds: i64) -> String {
    match seconds {
        s if s % 3600 == 0 => format!("{} hours", s / 3600),
        s if s % 60 == 0 => format!("{} minutes", s / 60),
        s => format!("{s} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_nanos(day * DAY * 1_000_000_000)
    }

    fn thing(sort: Sort, id: &str, day: i64) -> Thing {
        Thing { sort, id: id.into(), name: id.into(), bytes: 10, used: at(day), held: None }
    }

    fn view(free: u64, things: Vec<Thing>) -> View {
        View { total: 100, free, now: at(100), things }
    }

    fn verdicts(plan: &Plan) -> Vec<(&str, &Verdict)> {
        plan.things.iter().map(|(thing, verdict)| (thing.id.as_str(), verdict)).collect()
    }

    #[test]
    fn nothing_goes_below_the_watermark_and_the_order_is_known_all_the_same() {
        let things = vec![
            thing(Sort::Log, "log", 1),
            thing(Sort::Image, "old", 1),
            thing(Sort::BuildCache, "cache", 9),
        ];
        let plan = plan(view(11, things), Watermarks::default());
        assert_eq!((plan.used, plan.wanted), (89, 0));
        assert_eq!(
            verdicts(&plan),
            [("cache", &Verdict::Next), ("old", &Verdict::Next), ("log", &Verdict::Next)]
        );
    }

    #[test]
    fn as_much_goes_as_is_needed_the_longest_unused_first() {
        let things = vec![
            thing(Sort::Image, "newer", 50),
            thing(Sort::Image, "older", 20),
            thing(Sort::UnnamedImage, "nameless", 60),
            thing(Sort::Image, "today", 100),
        ];
        let plan = plan(view(5, things), Watermarks::default());
        assert_eq!((plan.used, plan.wanted), (95, 15));
        assert_eq!(
            verdicts(&plan),
            [
                ("nameless", &Verdict::Goes),
                ("older", &Verdict::Goes),
                ("newer", &Verdict::Next),
                ("today", &Verdict::Stays("used within the last 24 hours".into())),
            ]
        );
    }

    #[test]
    fn what_is_held_stays_however_full_the_disk_is() {
        let mut held = thing(Sort::Image, "runs", 1);
        held.held = Some("container web runs on it".into());
        let plan = plan(view(0, vec![held]), Watermarks { keep: 0, ..Watermarks::default() });
        assert_eq!(verdicts(&plan), [("runs", &Verdict::Stays("container web runs on it".into()))]);
    }

    #[test]
    fn zero_is_never() {
        let off = Watermarks { high: 0, low: 0, keep: 0 };
        assert_eq!(plan(view(0, vec![thing(Sort::Image, "x", 1)]), off).wanted, 0);
    }
}
