//! A picture as a PDF of one page. The letters are Helvetica's, one of the fonts that every reader has.

use super::layout::Pair;
use super::png::corners;
use super::scene::{Colour, Line, Piece, Scene, Shape};
use crate::files::encoding;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::fmt::Write as _;
use std::io::Write as _;

/// The longest side that readers take.
const LONGEST: f64 = 14_400.0;

/// The bytes of the file.
pub fn pdf(scene: &Scene) -> Vec<u8> {
    let [w, h] = scene.size;
    let scale = (LONGEST / w.max(h)).min(1.0);
    let mut page = Page(String::new());
    // y runs down, as in the scene.
    page.put(format_args!(
        "{scale:.6} 0 0 {:.6} 0 {:.2} cm",
        -scale,
        h * scale
    ));
    for shape in &scene.shapes {
        page.shape(shape);
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(page.0.as_bytes());
    let content = encoder.finish().unwrap_or_default();
    let font = |name: &str| {
        format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>")
    };
    let head = format!(
        "<< /Length {} /Filter /FlateDecode >>\nstream\n",
        content.len()
    );
    let objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {:.2} {:.2}] /Contents 4 0 R \
             /Resources << /Font << /F0 5 0 R /F1 6 0 R >> >> >>",
            w * scale,
            h * scale
        )
        .into_bytes(),
        [head.as_bytes(), &content, b"\nendstream"].concat(),
        font("Helvetica").into_bytes(),
        font("Helvetica-Bold").into_bytes(),
        format!("<< /Title ({}) /Producer (dsd) >>", string(&scene.title)).into_bytes(),
    ];
    let mut file = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut places = Vec::new();
    for (k, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.extend(format!("{} 0 obj\n", k + 1).bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let start = file.len();
    let count = objects.len() + 1;
    file.extend(format!("xref\n0 {count}\n0000000000 65535 f \n").bytes());
    for place in places {
        file.extend(format!("{place:010} 00000 n \n").bytes());
    }
    let tail = format!(
        "trailer\n<< /Size {count} /Root 1 0 R /Info 7 0 R >>\nstartxref\n{start}\n%%EOF\n"
    );
    file.extend(tail.bytes());
    file
}

/// A page's commands.
struct Page(String);

impl Page {
    fn put(&mut self, command: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{command}");
    }

    fn colour(&mut self, [r, g, b]: Colour, operator: &str) {
        let [r, g, b] = [r, g, b].map(|v| f64::from(v) / 255.0);
        self.put(format_args!("{r:.3} {g:.3} {b:.3} {operator}"));
    }

    fn line(&mut self, (colour, width): Line) {
        self.colour(colour, "RG");
        self.put(format_args!("{width} w"));
    }

    fn path(&mut self, [x, y]: Pair, pieces: &[Piece]) {
        self.put(format_args!("{x:.2} {y:.2} m"));
        for piece in pieces {
            match *piece {
                Piece::Line([x, y]) => self.put(format_args!("{x:.2} {y:.2} l")),
                Piece::Bend(a, b, c) => self.put(format_args!(
                    "{:.2} {:.2} {:.2} {:.2} {:.2} {:.2} c",
                    a[0], a[1], b[0], b[1], c[0], c[1]
                )),
            }
        }
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Box {
                at,
                size,
                radius,
                fill,
                line,
            } => {
                self.colour(*fill, "rg");
                self.line(*line);
                self.path([at[0] + radius, at[1]], &corners(*at, *size, *radius));
                self.put(format_args!("b"));
            }
            Shape::Polygon { points, fill, line } => {
                let Some((first, rest)) = points.split_first() else {
                    return;
                };
                self.colour(*fill, "rg");
                line.iter().for_each(|line| self.line(*line));
                let rest: Vec<Piece> = rest.iter().map(|&to| Piece::Line(to)).collect();
                self.path(*first, &rest);
                self.put(format_args!("{}", if line.is_some() { "b" } else { "f" }));
            }
            Shape::Curve { from, pieces, line } => {
                self.line(*line);
                self.path(*from, pieces);
                self.put(format_args!("S"));
            }
            Shape::Text {
                at: [x, y],
                size,
                bold,
                middle,
                colour,
                text,
            } => {
                let letters = latin1(text);
                let width = width(&letters, *bold) * size;
                let x = if *middle { x - width / 2.0 } else { *x };
                self.colour(*colour, "rg");
                self.put(format_args!(
                    "BT /F{} {size} Tf 1 0 0 -1 {x:.2} {y:.2} Tm ({}) Tj ET",
                    u8::from(*bold),
                    string(text)
                ));
            }
        }
    }
}

/// The letters as the fonts' encoding has them; a question mark for all others.
fn latin1(text: &str) -> Vec<u8> {
    let text = encoding::shown(text);
    let letters = text.chars().filter(|c| !c.is_control());
    let byte = |c: char| match c {
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).unwrap_or(b'?'),
        '…' => 0x85,
        _ => b'?',
    };
    letters.map(byte).collect()
}

/// The same inside of brackets.
fn string(text: &str) -> String {
    let mut out = String::new();
    for letter in latin1(text) {
        match letter {
            b'(' | b')' | b'\\' => out.extend(['\\', char::from(letter)]),
            b' '..=b'~' => out.push(char::from(letter)),
            other => drop(write!(out, "\\{other:03o}")),
        }
    }
    out
}

/// The widths of Helvetica's letters from space to tilde, in thousandths of the font size (Adobe's metrics).
const REGULAR: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// Those of Helvetica-Bold.
const BOLD: [u16; 95] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667,
    611, 778, 722, 278, 556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556,
    278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
];

/// The width of a text for the font size 1.
fn width(letters: &[u8], bold: bool) -> f64 {
    let table = if bold { &BOLD } else { &REGULAR };
    let one = |&letter: &u8| {
        let place = usize::from(letter).wrapping_sub(32);
        f64::from(table.get(place).copied().unwrap_or(556)) / 1000.0
    };
    letters.iter().map(one).sum()
}
