//! Tables and histograms as text.

use std::fmt::Write as _;

/// Bars of a histogram.
const BARS: usize = 12;
/// Characters of the longest bar.
const BAR_WIDTH: usize = 40;

/// Columns of the same width, right-aligned, two spaces apart.
pub fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "  {}{cell}", " ".repeat(width - cell.chars().count()));
        }
        text.push('\n');
    }
    text
}

/// `text` with its lines broken at spaces, so that none is longer than `columns` unless a word is. Line
/// breaks and indents that it has stay.
pub(crate) fn wrap(text: &str, columns: usize) -> String {
    let mut wrapped = String::new();
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            wrapped.push('\n');
        }
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end_matches(' ').chars().count();
            if used > 0 && used + length > columns {
                wrapped.truncate(wrapped.trim_end_matches(' ').len());
                wrapped.push('\n');
                used = 0;
            }
            wrapped.push_str(word);
            used += word.chars().count();
        }
    }
    wrapped
}

/// Appends a histogram of `values`, with their mean and percentiles, to `text`; nothing without
/// values.
pub fn histogram(title: &str, values: &[f64], text: &mut String) {
    let Some(low) = values.iter().copied().reduce(f64::min) else {
        return;
    };
    let high = values.iter().copied().fold(low, f64::max);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |p: f64| sorted[((sorted.len() - 1) as f64 * p).round() as usize];
    let _ = writeln!(
        text,
        "\n{title}: mean {mean:.1}, min {low:.1}, p50 {:.1}, p90 {:.1}, p99 {:.1}, max {high:.1}",
        at(0.5),
        at(0.9),
        at(0.99)
    );
    let width = (high - low) / BARS as f64;
    if width <= 0.0 {
        return;
    }
    let mut counts = [0_usize; BARS];
    for value in values {
        counts[(((value - low) / width) as usize).min(BARS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    for (bar, count) in counts.iter().enumerate() {
        let blocks = "█".repeat((count * BAR_WIDTH).div_ceil(most));
        let _ = writeln!(
            text,
            "{:>10.1} {blocks:<BAR_WIDTH$} {count}",
            low + width * bar as f64
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_only() {
        for (text, columns, wrapped) in [
            ("one two three", 8, "one two\nthree"),
            ("one two", 80, "one two"),
            ("a-long-word b", 4, "a-long-word\nb"),
            ("  indented\nsecond line", 10, "  indented\nsecond\nline"),
            ("", 10, ""),
        ] {
            assert_eq!(wrap(text, columns), wrapped);
        }
    }

    #[test]
    fn every_value_is_counted_in_a_bar() {
        let mut text = String::new();
        histogram("x", &[1.0, 1.0, 2.0, 13.0], &mut text);
        let counts: Vec<usize> = text
            .lines()
            .skip(2)
            .map(|line| line.split_whitespace().last().unwrap().parse().unwrap())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 4);
        assert_eq!((counts[0], counts[1], counts[11]), (2, 1, 1));
    }
}
