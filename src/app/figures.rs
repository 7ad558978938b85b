//! Figures as people read them: grouped digits, three significant digits for sizes, real minus signs.

use std::time::Duration;

const THIN_SPACE: char = '\u{2009}';
const MINUS: char = '\u{2212}';

/// `15 500`, digits grouped by three with thin spaces.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(THIN_SPACE);
        }
        text.push(digit);
    }
    text
}

/// `1 example`, `1 024 examples`.
pub fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(n as u64), if n == 1 { one } else { many })
}

/// `431 k`, `2.29 M`, `17.6 G`: three significant digits.
pub fn short_count(n: f64) -> String {
    scaled(n, &[(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")], "")
}

/// `1.72 MB`, decimal units.
pub fn bytes(n: f64) -> String {
    scaled(n, &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB")], "B")
}

fn scaled(n: f64, units: &[(f64, &str)], plain: &str) -> String {
    // 999.6 k reads as 1.00 M, so the unit is chosen after rounding.
    for &(size, unit) in units {
        if n.abs() >= size * 0.9995 {
            return format!("{} {unit}", significant(n / size));
        }
    }
    if plain.is_empty() { format!("{n:.0}") } else { format!("{n:.0} {plain}") }
}

fn significant(x: f64) -> String {
    let decimals = if x.abs() >= 99.95 {
        0
    } else if x.abs() >= 9.995 {
        1
    } else {
        2
    };
    format!("{x:.decimals$}")
}

/// `62.0 %` of a share in 0..=1, with `decimals` places.
pub fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", share * 100.0)
}

/// An interval around a share: `±0.67` in percentage points where it is about as wide on both sides, else its
/// ends, as `70 to 97 %`.
pub fn interval(share: f64, (low, high): (f64, f64)) -> String {
    /// How far the middle may lie from the share, as a part of half the width.
    const ABOUT: f64 = 0.15;
    let half = (high - low) / 2.0;
    let lopsided = (f64::midpoint(low, high) - share).abs() > ABOUT * half;
    if lopsided || share - half < 0.0 || share + half > 1.0 {
        let decimals = usize::from(half < 0.05);
        return format!("{:.decimals$} to {:.decimals$} %", low * 100.0, high * 100.0);
    }
    format!("±{:.2}", half * 100.0)
}

/// A weight magnitude with four significant digits, such as `0.03120` or `3.10e−6`.
pub fn magnitude(x: f64) -> String {
    let size = x.abs();
    let sign = if x < 0.0 { MINUS.to_string() } else { String::new() };
    if size == 0.0 {
        "0".to_owned()
    } else if (1e-4..1e5).contains(&size) {
        let decimals = (3.0 - size.log10().floor()).clamp(0.0, 7.0) as usize;
        format!("{sign}{size:.decimals$}")
    } else {
        format!("{sign}{size:.2e}").replace("e-", &format!("e{MINUS}"))
    }
}

/// A change with its sign, such as `−0.55 pt` or `+1.2 %`. `±0` where it rounds to nothing.
pub fn change(x: f64, decimals: usize, unit: &str) -> String {
    let text = format!("{:.decimals$}", x.abs());
    if text.chars().all(|c| c == '0' || c == '.') {
        return format!("±0 {unit}").trim_end().to_owned();
    }
    let sign = if x < 0.0 { MINUS } else { '+' };
    format!("{sign}{text} {unit}").trim_end().to_owned()
}

/// `0.41 ms`, `12 ms`, `1.3 s`.
pub fn milliseconds(ms: f64) -> String {
    if ms >= 1000.0 { format!("{} s", significant(ms / 1000.0)) } else { format!("{} ms", significant(ms)) }
}

/// Time left, such as `0.3 s left` or `2 min left`.
pub fn time_left(left: Duration) -> String {
    let seconds = left.as_secs_f64();
    if seconds < 9.95 {
        format!("{seconds:.1} s left")
    } else if seconds < 90.0 {
        format!("{seconds:.0} s left")
    } else {
        format!("{:.0} min left", seconds / 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(counted(1, "example", "examples"), "1 example");
        assert_eq!(counted(0, "example", "examples"), "0 examples");
        assert_eq!(count(1_234_567), "1\u{2009}234\u{2009}567");
    }

    #[test]
    fn short_forms_keep_three_digits_and_carry_into_the_next_unit() {
        assert_eq!(short_count(431_080.0), "431 k");
        assert_eq!(short_count(2_293_000.0), "2.29 M");
        assert_eq!(short_count(999_700.0), "1.00 M");
        assert_eq!(short_count(51.0), "51");
        assert_eq!(bytes(1_724_320.0), "1.72 MB");
        assert_eq!(bytes(12.0), "12 B");
    }

    #[test]
    fn magnitudes_keep_four_digits_over_the_whole_range() {
        assert_eq!(magnitude(0.031_24), "0.03124");
        assert_eq!(magnitude(1.5), "1.500");
        assert_eq!(magnitude(0.0), "0");
        assert_eq!(magnitude(-3.14e-7), "\u{2212}3.14e\u{2212}7");
    }

    #[test]
    fn an_interval_that_is_lopsided_or_passes_a_bound_shows_its_ends() {
        assert_eq!(interval(0.9, (0.699, 0.972)), "70 to 97 %");
        assert_eq!(interval(1.0, (0.839, 1.0)), "84 to 100 %");
        assert_eq!(interval(0.87, (0.8633, 0.8765)), "±0.66");
        assert_eq!(interval(0.995, (0.9799, 0.9987)), "98.0 to 99.9 %");
    }

    #[test]
    fn a_change_that_rounds_to_nothing_has_no_sign() {
        assert_eq!(change(-0.55, 2, "pt"), "\u{2212}0.55 pt");
        assert_eq!(change(0.001, 2, "pt"), "±0 pt");
        assert_eq!(change(1.25, 1, "%"), "+1.2 %");
    }
}
