//! Numbers as Caffe prints them: C's `%g`, which is also what a C++ stream does by default.

use std::fmt;

/// Shows a number as C's `%g` does: 6 significant digits, no trailing zeros, an exponent when it is
/// below -4 or above 5. A NaN is `nan` whatever its sign bit, which no run should depend on.
#[derive(Clone, Copy, Debug)]
pub struct G<T: Into<f64>>(
    /// The number.
    pub T,
);

impl<T: Into<f64> + Copy> fmt::Display for G<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&general(self.0.into()))
    }
}

fn general(x: f64) -> String {
    const DIGITS: i32 = 6;
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    // The exponent counts after rounding: 999999.5 is 1e+06.
    let scientific = format!("{x:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        let places = (DIGITS - 1 - exponent) as usize;
        trim(&format!("{x:.places$}")).to_owned()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

/// Without the zeros that end a fraction.
fn trim(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_c() {
        // Made by printf("%g") of glibc.
        let cases: &[(f64, &str)] = &[
            (0.76, "0.76"),
            (1e-5, "1e-05"),
            (1.45069, "1.45069"),
            (100000.0, "100000"),
            (1e6, "1e+06"),
            (999999.5, "1e+06"),
            (999999.4, "999999"),
            (123456.7, "123457"),
            (1234567.0, "1.23457e+06"),
            (0.0001, "0.0001"),
            (0.00001234567, "1.23457e-05"),
            (0.000123456789, "0.000123457"),
            (0.0, "0"),
            (-0.0, "-0"),
            (-2.5, "-2.5"),
            (0.5, "0.5"),
            (100.0, "100"),
            (2.5e-7, "2.5e-07"),
            (1e100, "1e+100"),
            (1.5e-310, "1.5e-310"),
            (0.0625, "0.0625"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for &(x, text) in cases {
            assert_eq!(G(x).to_string(), text);
        }
    }

    #[test]
    fn a_float32_prints_as_the_double_it_becomes() {
        assert_eq!(G(0.04f32).to_string(), "0.04");
        assert_eq!(G(1.0f32 / 3.0).to_string(), "0.333333");
        assert_eq!(G(16777216.0f32).to_string(), "1.67772e+07");
    }

    #[test]
    fn width_and_alignment_apply() {
        assert_eq!(format!("{:>8}|{:<6}|", G(0.5), G(2.0)), "     0.5|2     |");
    }
}
