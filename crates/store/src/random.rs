//! A small generator of numbers that a seed repeats. For faults and pauses, never for secrets.

/// xorshift64* (Marsaglia 2003; Vigna 2016).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.max(1))
    }

    /// From `SEED` in the environment, or from the clock; printed, so that a failure can be run again.
    #[cfg(test)]
    pub(crate) fn seeded() -> Self {
        let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64);
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(clock);
        println!("SEED={seed}");
        Random::new(seed)
    }

    /// A seed for a twin that goes on alike.
    #[cfg(test)]
    pub(crate) fn state(&self) -> u64 {
        self.0
    }

    /// 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
