//! How numbers, sizes and times are shown to people.

use std::fmt::Write;
use std::time::Duration;

/// A count with its thousands set apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 task`, `2 tasks`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A size in bytes: `512 B`, `3.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time: `0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    let mut text = String::new();
    let (whole, rest, units) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => (seconds / 60, seconds % 60, ("min", "s")),
        3600..172_800 => (seconds / 3600, seconds % 3600 / 60, ("h", "min")),
        _ => (seconds / 86_400, seconds % 86_400 / 3600, ("days", "h")),
    };
    write!(text, "{whole} {}", units.0).expect("writing to a string");
    if rest > 0 {
        write!(text, " {rest} {}", units.1).expect("writing to a string");
    }
    text
}

/// A time in milliseconds.
pub(crate) fn millis(millis: u64) -> String {
    time(Duration::from_millis(millis))
}

/// A table with a heading; columns of numbers are for the caller to format.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        assert_eq!(row.len(), widths.len(), "a row has a cell for each column");
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heading: Vec<String> = heading.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:<width$}  ").expect("writing to a string");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let texts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [counted(1, "task"), counted(0, "task")],
            ["1 task", "0 tasks"]
        );
    }

    #[test]
    fn sizes() {
        let texts = [0, 1023, 1024, 1 << 20, (1 << 20) - 1, 3_565_158].map(size);
        assert_eq!(
            texts,
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "3.4 MiB"]
        );
    }

    #[test]
    fn times() {
        let texts = [40, 840, 9_960, 60_000, 200_000, 7_500_000, 260_000_000].map(millis);
        assert_eq!(
            texts,
            [
                "0.0 s",
                "0.8 s",
                "10 s",
                "1 min",
                "3 min 20 s",
                "2 h 5 min",
                "3 days"
            ]
        );
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["1".into(), "pi".into()], vec!["12".into(), "é".into()]];
        assert_eq!(table(&["id", "name"], &rows), "id  name\n1   pi\n12  é\n");
    }
}
