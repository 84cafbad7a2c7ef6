//! Stories of the whole room: what a kill leaves, and what comes of inputs that nobody thought of.

mod crash;
mod fuzz;

/// So many rounds of a test with random inputs; with `MINKE_FUZZ=SECONDS`, as many as that time has room for.
pub(crate) fn rounds(few: u64) -> impl Iterator<Item = u64> {
    let seconds = std::env::var("MINKE_FUZZ").ok().and_then(|s| s.parse().ok());
    let until = seconds.map(|s| std::time::Instant::now() + std::time::Duration::from_secs(s));
    (0..).take_while(move |round| until.map_or(*round < few, |until| std::time::Instant::now() < until))
}
