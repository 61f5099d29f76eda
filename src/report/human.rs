//! Durations and sizes for people.

use std::fmt;
use std::time::Duration;

/// Shows a duration with two units at most: `0.42 s`, `48.3 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[derive(Clone, Copy, Debug)]
pub struct HumanTime(
    /// The duration.
    pub Duration,
);

impl fmt::Display for HumanTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.0.as_secs_f64();
        let seconds = exact.round() as u64;
        let text = match seconds {
            // Rounded first, so that no unit ever shows its own limit (60 s, 60 min).
            0..60 if exact < 9.995 => format!("{exact:.2} s"),
            0..60 if exact < 59.95 => format!("{exact:.1} s"),
            0..3600 => {
                let seconds = seconds.max(60);
                format!("{} min {} s", seconds / 60, seconds % 60)
            }
            _ => {
                let minutes = (seconds + 30) / 60;
                match minutes / 60 {
                    hours @ 0..24 => format!("{hours} h {} min", minutes % 60),
                    _ => {
                        let hours = (minutes + 30) / 60;
                        format!("{} d {} h", hours / 24, hours % 24)
                    }
                }
            }
        };
        f.pad(&text)
    }
}

/// Shows a number of bytes: `512 bytes`, `659.9 KiB`, `1.25 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct HumanBytes(
    /// The number of bytes.
    pub u64,
);

impl fmt::Display for HumanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} bytes", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // 1023.95 would show as 1024.0.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let places = if value < 9.995 { 2 } else { 1 };
        f.pad(&format!("{value:.places$} {}", UNITS[unit]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        let cases = [
            (0.4249, "0.42 s"),
            (9.999, "10.0 s"),
            (48.31, "48.3 s"),
            (59.97, "1 min 0 s"),
            (200.4, "3 min 20 s"),
            (3599.6, "1 h 0 min"),
            (7500.0, "2 h 5 min"),
            (86399.0, "1 d 0 h"),
            (273_600.0, "3 d 4 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(
                HumanTime(Duration::from_secs_f64(seconds)).to_string(),
                text
            );
        }
    }

    #[test]
    fn sizes_read_naturally() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.00 KiB"),
            (675_763, "659.9 KiB"),
            (1_048_575, "1.00 MiB"),
            (5 << 30, "5.00 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(HumanBytes(bytes).to_string(), text);
        }
    }
}
