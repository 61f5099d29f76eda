//! A curve in a terminal: Braille characters, each two dots wide and four high.

/// The width of the numbers to the left of a curve.
const NUMBERS: usize = 9;
/// The bits of a Braille character's dots, by row and column.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// A curve through points, `width` characters wide with its numbers and `rows` characters high, and a line below it that says
/// from where to where x goes. With `log` y goes by powers of ten. Points that are no numbers break the curve.
pub fn curve(points: &[(f64, f64)], [width, rows]: [usize; 2], log: bool) -> Vec<String> {
    let height = |y: f64| if log { y.log10() } else { y };
    let known = |p: &&(f64, f64)| p.0.is_finite() && height(p.1).is_finite();
    let span = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let all = points.iter().filter(known).map(of);
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        })
    };
    let (left, right) = span(&|p| p.0);
    let (low, high) = span(&|p| p.1);
    let columns = width.saturating_sub(NUMBERS + 2).max(2);
    let rows = rows.max(2);
    let mut grid = vec![vec![0u32; columns]; rows];
    let part = |v: f64, from: f64, to: f64| {
        if to > from {
            (v - from) / (to - from)
        } else {
            0.5
        }
    };
    let place = |p: (f64, f64)| -> (f64, f64) {
        let x = part(p.0, left, right) * (2 * columns - 1) as f64;
        let y = part(height(p.1), height(low), height(high));
        (x, (1.0 - y) * (4 * rows - 1) as f64)
    };
    let mut last: Option<(f64, f64)> = None;
    for point in points {
        if !known(&point) {
            last = None;
            continue;
        }
        let to = place(*point);
        let from = last.replace(to).unwrap_or(to);
        let steps = (to.0 - from.0)
            .abs()
            .max((to.1 - from.1).abs())
            .ceil()
            .max(1.0) as usize;
        for k in 0..=steps {
            let at = k as f64 / steps as f64;
            let x = (from.0 + at * (to.0 - from.0)).round() as usize;
            let y = (from.1 + at * (to.1 - from.1)).round() as usize;
            grid[(y / 4).min(rows - 1)][(x / 2).min(columns - 1)] |= DOTS[y % 4][x % 2];
        }
    }
    let mut lines = Vec::new();
    for (k, row) in grid.iter().enumerate() {
        let number = match k {
            0 => short(high),
            k if k + 1 == rows => short(low),
            _ => String::new(),
        };
        let dots = row
            .iter()
            .map(|bits| char::from_u32(0x2800 + bits).unwrap_or(' '));
        // An empty character is a space to those who cut lines.
        let dots: String = dots
            .map(|c| if c == '\u{2800}' { ' ' } else { c })
            .collect();
        lines.push(format!("{number:>NUMBERS$} │{}", dots.trim_end()));
    }
    let (from, to) = (short(left), short(right));
    let gap = columns
        .saturating_sub(from.chars().count())
        .max(to.chars().count() + 1);
    lines.push(format!("{:>NUMBERS$} └{from}{to:>gap$}", ""));
    lines
}

/// A bar that is filled to a part of its width.
pub fn bar(part: f64, width: usize) -> String {
    let full = (part.clamp(0.0, 1.0) * width as f64).round() as usize;
    "█".repeat(full) + &"░".repeat(width - full)
}

/// A number in at most nine letters.
fn short(v: f64) -> String {
    match v.abs() {
        _ if !v.is_finite() => String::new(),
        0.0 => "0".to_owned(),
        size if !(1e-3..1e7).contains(&size) => format!("{v:.2e}"),
        _ if v.fract() == 0.0 => format!("{v}"),
        size => {
            let places = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            format!("{v:.places$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_line_goes_from_corner_to_corner() {
        let points: Vec<_> = (0..=10)
            .map(|x| (f64::from(x), f64::from(10 - x)))
            .collect();
        let lines = curve(&points, [21, 3], false);
        assert_eq!(lines.len(), 4);
        assert!(
            lines[0].starts_with("       10 │\u{2801}") || lines[0].contains('⠑'),
            "{lines:#?}"
        );
        assert!(lines[2].starts_with("        0 │"), "{lines:#?}");
        assert_eq!(lines[3], "          └0       10");
        assert!(lines.iter().all(|l| l.chars().count() <= 21), "{lines:#?}");
    }

    #[test]
    fn nothing_and_one_point_and_narrow_terminals_are_drawn() {
        let _ = curve(&[], [0, 0], true);
        let lines = curve(&[(5.0, 0.5)], [30, 4], true);
        assert!(lines[0].starts_with("   0.5000 │"), "{lines:#?}");
        let broken = curve(&[(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)], [30, 4], false);
        let dots = |l: &String| l.chars().filter(|c| *c > '\u{2800}').count();
        assert_eq!(broken.iter().map(dots).sum::<usize>(), 2, "{broken:#?}");
        assert_eq!(bar(0.5, 4), "██░░");
        assert_eq!(bar(f64::NAN, 2).chars().count(), 2);
    }
}
