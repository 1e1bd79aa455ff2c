//! Durations as text, `90s` or `1h30m`: how they are given on the command line, and how they are shown.

use std::time::Duration;

const SECOND_MILLIS: u64 = 1_000;
/// The units, longest first, with their length in milliseconds.
const UNITS_MILLIS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", SECOND_MILLIS), ("ms", 1)];
const EXPECTED: &str =
    "whole numbers with d, h, m, s or ms, longest first, are expected, for instance 90s or 1h30m";

/// Reads one or more whole numbers, each with its unit, longest first.
pub(crate) fn parse(text: &str) -> Result<Duration, &'static str> {
    const TOO_LONG: &str = "too long";
    let (mut rest, mut millis) = (text, 0_u64);
    // What is found is behind the unit before, so that none comes twice.
    let mut units = UNITS_MILLIS.iter();
    loop {
        let (digits, behind) = split_where(rest, |c| !c.is_ascii_digit());
        let (name, behind) = split_where(behind, |c| c.is_ascii_digit());
        let (_, unit_millis) = units.find(|(unit, _)| *unit == name).ok_or(EXPECTED)?;
        if digits.is_empty() {
            return Err(EXPECTED);
        }
        // Digits that are no number are too many.
        let count: u64 = digits.parse().map_err(|_| TOO_LONG)?;
        let part = count.checked_mul(*unit_millis).ok_or(TOO_LONG)?;
        millis = millis.checked_add(part).ok_or(TOO_LONG)?;
        if behind.is_empty() {
            return Ok(Duration::from_millis(millis));
        }
        rest = behind;
    }
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// As [`parse`] reads it: in whole seconds, rounded up, and below one second in milliseconds.
pub(crate) fn show(duration: Duration) -> String {
    let (second, millis) = (u128::from(SECOND_MILLIS), duration.as_millis());
    if millis < second {
        return format!("{millis}ms");
    }
    let mut left = millis.div_ceil(second) * second;
    let mut shown = String::new();
    for (name, unit_millis) in UNITS_MILLIS {
        let unit = u128::from(unit_millis);
        let count = left / unit;
        left %= unit;
        if count > 0 {
            shown.push_str(&format!("{count}{name}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_do_not_overflow() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("1m5ms", 60_005),
            ("18446744073709551615ms", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "5", "s", "-5s", "+5s", "1.5s", "5 s", "5w", "5S", "30m1h", "1s1s", "1h30", "h5m", "٣s"]
        {
            assert_eq!(parse(text), Err(EXPECTED), "{text}");
        }
        for text in ["18446744073709551615d", "18446744073709551616ms", "1s18446744073709551615ms"] {
            assert_eq!(parse(text), Err("too long"), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (1_001, "2s"),
            (59_001, "1m"),
            (43_199_998, "12h"),
            (43_198_000, "11h59m58s"),
            (93_784_000, "1d2h3m4s"),
            (86_401_000, "1d1s"),
        ] {
            let shown = show(Duration::from_millis(millis));
            assert_eq!(shown, text, "{millis}");
            let rounded = if millis < 1_000 { millis } else { millis.div_ceil(1_000) * 1_000 };
            assert_eq!(parse(&shown), Ok(Duration::from_millis(rounded)), "{text}");
        }
        assert_eq!(show(Duration::from_micros(999)), "0ms");
        assert!(show(Duration::MAX).ends_with('s'));
    }
}
