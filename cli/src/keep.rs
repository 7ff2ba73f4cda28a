//! `--keep-jobs`: for how long, and for how many bytes of results, jobs that are
//! over are kept.

use crate::size::{Size, number_and_unit};
use manyhands_coordinator::Keep;

/// What is kept unless something else was asked for.
pub(crate) const DEFAULT: &str = "30d";

/// A text that is no `--keep-jobs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write an age, a size or both, such as 30d, 12h or 30d,50GB; or `all`")]
pub(crate) struct KeepError;

/// Reads `30d`, `12h,50GB`, `50GB`, `all`.
pub(crate) fn keep(text: &str) -> Result<Keep, KeepError> {
    let mut keep = Keep::default();
    if text.trim() == "all" {
        return Ok(keep);
    }
    for part in text.split(',') {
        let bound = match age_ms(part) {
            Some(age) => keep.age_ms.replace(age),
            None => keep.bytes.replace(bytes(part)?),
        };
        if bound.is_some() {
            return Err(KeepError);
        }
    }
    Ok(keep)
}

fn age_ms(text: &str) -> Option<u64> {
    const SECOND: u64 = 1000;
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "s" => SECOND,
        "m" | "min" => 60 * SECOND,
        "h" => 3600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 7 * 86_400 * SECOND,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A size with its unit: a bare number could be anything.
fn bytes(text: &str) -> Result<u64, KeepError> {
    let bare = text.trim().bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(Size(bytes)) if !bare => Ok(bytes),
        _ => Err(KeepError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn ages_and_sizes_in_any_order() {
        let bounds = |age_ms, bytes| {
            Ok(Keep {
                jobs: None,
                age_ms,
                bytes,
            })
        };
        assert_eq!(keep("30d"), bounds(Some(30 * DAY), None));
        assert_eq!(keep(DEFAULT), keep("30d"));
        assert_eq!(
            keep("12h,50GB"),
            bounds(Some(DAY / 2), Some(50_000_000_000))
        );
        assert_eq!(keep("1GiB, 2w"), bounds(Some(14 * DAY), Some(1 << 30)));
        assert_eq!(keep("0s"), bounds(Some(0), None));
        assert_eq!(keep("all"), bounds(None, None));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "", "30", "forever", "30d,", "1d,2d", "1GB,2GB", "all,1d", "-1d",
        ] {
            assert_eq!(keep(text), Err(KeepError), "{text}");
        }
    }
}
