//! A small generator of numbers that a seed repeats. For faults and pauses, never for secrets.

/// xorshift64* (Marsaglia 2003; Vigna 2016).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.max(1))
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
