//! Numbers as people type them: sizes (`64KiB`) and durations (`10s`).

use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: plain, or with a unit (`kB`, `MB`, `GB` count in
/// thousands, `KiB`, `MiB`, `GiB` in 1024).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size(pub(crate) u64);

/// A text that is no size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "not a size: write a whole number of bytes, or one with a unit, such as 4096, 64KiB or 1MiB"
)]
pub(crate) struct SizeError;

const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl FromStr for Size {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let (number, unit) = number_and_unit(text).ok_or(SizeError)?;
        let factor = SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let (_, factor) = factor.ok_or(SizeError)?;
        number.checked_mul(*factor).map(Self).ok_or(SizeError)
    }
}

/// A text that is no duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a duration: write a whole number with a unit, such as 500ms, 10s, 2m or 1h")]
pub(crate) struct DurationError;

/// Reads `500ms`, `10s`, `2m`, `1h`; never zero.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    let (number, unit) = number_and_unit(text).ok_or(DurationError)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(DurationError),
    };
    let millis = number.checked_mul(factor).filter(|millis| *millis > 0);
    millis.map(Duration::from_millis).ok_or(DurationError)
}

/// The digits that a text begins with, and the rest.
pub(crate) fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_units() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("1MiB", 1 << 20),
            ("2 GiB", 2 << 30),
            ("3MB", 3_000_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "KiB", "1.5MiB", "-1", "12 parsecs", "99999999999TiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for text in ["10", "0s", "s", "1d", "99999999999999999999h"] {
            assert_eq!(duration(text), Err(DurationError), "{text}");
        }
    }
}
