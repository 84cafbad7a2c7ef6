//! The wall clock as text: RFC 3339 with nanoseconds, fast. The date is kept for the second that it is true.

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    t.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(t.tv_nsec)
}

/// Writes times.
#[derive(Default)]
pub(crate) struct Clock {
    /// The second that `text` names, plus one; 0 is none.
    second: i64,
    /// `2006-01-02T15:04:05`.
    text: [u8; 19],
}

impl Clock {
    /// Appends `nanos` since 1970 as Go's RFC3339Nano in UTC: no trailing zeros in the fraction.
    pub(crate) fn put(&mut self, nanos: i64, out: &mut Vec<u8>) {
        let second = nanos.div_euclid(1_000_000_000);
        if self.second != second + 1 {
            self.second = second + 1;
            self.text = date(second);
        }
        out.extend_from_slice(&self.text);
        let mut rest = nanos.rem_euclid(1_000_000_000) as u32;
        if rest != 0 {
            let mut digits = [b'.'; 10];
            for d in digits[1..].iter_mut().rev() {
                *d = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            let used = digits.iter().rposition(|d| *d != b'0').map_or(0, |n| n + 1);
            out.extend_from_slice(&digits[..used]);
        }
        out.push(b'Z');
    }
}

/// The civil date of a second (Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_to_civil).
fn date(second: i64) -> [u8; 19] {
    let (days, of_day) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, width: usize, mut value: i64| {
        for d in text[at..at + width].iter_mut().rev() {
            *d = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, of_day / 3600);
    put(14, 2, of_day / 60 % 60);
    put(17, 2, of_day % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nanos: i64) -> String {
        let mut out = Vec::new();
        Clock::default().put(nanos, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(1_735_689_599_120_000_000), "2024-12-31T23:59:59.12Z");
        assert_eq!(text(4_102_444_800_000_000_000), "2100-01-01T00:00:00Z");
    }

    #[test]
    fn the_kept_second_changes_with_the_second() {
        let mut clock = Clock::default();
        let mut out = Vec::new();
        clock.put(999_999_999, &mut out);
        clock.put(1_000_000_000, &mut out);
        assert_eq!(out, b"1970-01-01T00:00:00.999999999Z1970-01-01T00:00:01Z");
    }
}
