//! Numbers as text.

use std::fmt::Write as _;

/// `value` with two decimals as Python's `.2f` prints it (ties to even, `inf`, `nan`).
pub(crate) fn fixed2(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else {
        format!("{value:.2}")
    }
}

/// `value` with about `digits` significant digits, never in exponent form, with grouping commas
/// from ten thousand on.
pub(crate) fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "–".to_owned()
        } else {
            "∞".to_owned()
        };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = (digits - 1 - magnitude).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    if value.abs() >= 10_000.0 {
        grouped(&text)
    } else {
        text
    }
}

/// A number in a table: whole numbers as they are, others with four significant digits.
pub(crate) fn cell(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => {
            let digits = count(whole.abs() as u64);
            if whole < 0.0 {
                format!("-{digits}")
            } else {
                digits
            }
        }
        Some(value) => significant(value, 4),
    }
}

/// A count with grouping commas from ten thousand on.
pub(crate) fn count(value: u64) -> String {
    let text = value.to_string();
    if value >= 10_000 {
        grouped(&text)
    } else {
        text
    }
}

/// A time in milliseconds, shown in the unit that suits its size, with three significant digits.
pub(crate) fn duration_ms(ms: f64) -> String {
    if !ms.is_finite() {
        return "–".to_owned();
    }
    match ms.abs() {
        0.0 => "0 ms".to_owned(),
        size if size < 0.000_999_5 => format!("{} ns", significant(ms * 1e6, 3)),
        size if size < 0.999_5 => format!("{} µs", significant(ms * 1e3, 3)),
        size if size < 9_995.0 => format!("{} ms", significant(ms, 3)),
        _ => format!("{} s", significant(ms / 1e3, 3)),
    }
}

/// A fraction in percent, with more decimals for small ones.
pub(crate) fn percent(fraction: f64) -> String {
    if !fraction.is_finite() {
        return "–".to_owned();
    }
    let value = fraction * 100.0;
    let size = value.abs();
    if size == 0.0 || size >= 99.95 {
        format!("{value:.0} %")
    } else if size >= 1.0 {
        format!("{value:.1} %")
    } else if size >= 0.01 {
        format!("{value:.2} %")
    } else {
        "< 0.01 %".to_owned()
    }
}

fn grouped(text: &str) -> String {
    let (sign, rest) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = rest
        .split_once('.')
        .map_or((rest, None), |(w, f)| (w, Some(f)));
    let mut out = sign.to_owned();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        let _ = write!(out, ".{fraction}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_round_to_even_as_in_python() {
        // Each value is exact in binary, so that it is a true tie; expected values are Python's.
        for (value, expected) in [
            (0.125, "0.12"),
            (0.375, "0.38"),
            (2.5, "2.50"),
            (1.005, "1.00"),
            (1e16, "10000000000000000.00"),
        ] {
            assert_eq!(fixed2(value), expected);
        }
        assert_eq!(fixed2(f64::INFINITY), "inf");
        assert_eq!(fixed2(f64::NAN), "nan");
    }

    #[test]
    fn numbers_keep_three_significant_digits() {
        assert_eq!(significant(0.012_345, 3), "0.0123");
        assert_eq!(significant(1234.5, 3), "1234");
        assert_eq!(significant(1_234_567.0, 3), "1,234,567");
        assert_eq!(duration_ms(0.002_5), "2.50 µs");
        assert_eq!(duration_ms(12.345), "12.3 ms");
        assert_eq!(duration_ms(123_456.0), "123 s");
        assert_eq!(percent(0.000_5), "0.05 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(count(12_345), "12,345");
    }
}
