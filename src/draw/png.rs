//! A picture as PNG. The letters are DejaVu Sans Condensed's, which is part of the program: a picture must not depend
//! on the machine's fonts.

use super::layout::Pair;
use super::scene::{Colour, Line, Piece, Scene, Shape};
use crate::files::encoding;
use anyhow::{Context, Result};
use image::{ImageFormat, RgbaImage};
use std::io::Cursor;
use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};
use ttf_parser::{Face, OutlineBuilder};

/// Pixels of the file for each of the scene, where the picture is not too large for that.
const SCALE: f64 = 2.0;
/// The most pixels of a picture, and of its sides.
const MOST: f64 = 1e8;
const LONGEST: f64 = 30_000.0;
/// How far a corner's handles reach, of its radius: a Bezier curve that is nearly a circle.
const ROUND: f64 = 0.552;

/// The bytes of the file.
///
/// # Errors
/// The picture is too large for the machine's memory.
pub fn png(scene: &Scene) -> Result<Vec<u8>> {
    let [w, h] = scene.size;
    let scale = SCALE
        .min(LONGEST / w.max(h))
        .min((MOST / (w * h).max(1.0)).sqrt());
    let side = |v: f64| (v * scale).ceil().max(1.0) as u32;
    let (width, height) = (side(w), side(h));
    let pixmap = Pixmap::new(width, height);
    let pixmap = pixmap.with_context(|| format!("no room for {width} x {height} pixels"))?;
    let mut canvas = Canvas {
        pixmap,
        transform: Transform::from_scale(scale as f32, scale as f32),
        faces: [
            Face::parse(dejavu::sans_condensed::regular(), 0)?,
            Face::parse(dejavu::sans_condensed::bold(), 0)?,
        ],
    };
    canvas.pixmap.fill(tiny_skia::Color::WHITE);
    for shape in &scene.shapes {
        canvas.shape(shape);
    }
    // All of it is opaque, so that alpha, which the canvas multiplies colours with, changes nothing.
    let image = RgbaImage::from_raw(width, height, canvas.pixmap.take());
    let image = image.context("no room for the picture")?;
    let mut file = Cursor::new(Vec::new());
    image::DynamicImage::ImageRgba8(image)
        .into_rgb8()
        .write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

struct Canvas<'a> {
    pixmap: Pixmap,
    transform: Transform,
    /// Regular and bold.
    faces: [Face<'a>; 2],
}

fn paint([r, g, b]: Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, 255);
    paint.anti_alias = true;
    paint
}

impl Canvas<'_> {
    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Box {
                at,
                size,
                radius,
                fill,
                line,
            } => {
                let path = round_box(*at, *size, *radius);
                self.fill(path.as_ref(), *fill);
                self.stroke(path.as_ref(), *line);
            }
            Shape::Polygon { points, fill, line } => {
                let path = polygon(points);
                self.fill(path.as_ref(), *fill);
                if let Some(line) = line {
                    self.stroke(path.as_ref(), *line);
                }
            }
            Shape::Curve { from, pieces, line } => {
                let mut path = Drawn::default();
                path.go(*from);
                pieces.iter().for_each(|piece| path.piece(piece));
                self.stroke(path.0.finish().as_ref(), *line);
            }
            Shape::Text {
                at,
                size,
                bold,
                middle,
                colour,
                text,
            } => {
                let path = letters(&self.faces[usize::from(*bold)], text, *at, *size, *middle);
                self.fill(path.as_ref(), *colour);
            }
        }
    }

    fn fill(&mut self, path: Option<&Path>, colour: Colour) {
        if let Some(path) = path {
            let rule = FillRule::Winding;
            self.pixmap
                .fill_path(path, &paint(colour), rule, self.transform, None);
        }
    }

    fn stroke(&mut self, path: Option<&Path>, (colour, width): Line) {
        let stroke = Stroke {
            width: width as f32,
            ..Stroke::default()
        };
        if let Some(path) = path {
            self.pixmap
                .stroke_path(path, &paint(colour), &stroke, self.transform, None);
        }
    }
}

/// A path that is being drawn.
#[derive(Default)]
struct Drawn(PathBuilder);

impl Drawn {
    fn go(&mut self, [x, y]: Pair) {
        self.0.move_to(x as f32, y as f32);
    }

    fn piece(&mut self, piece: &Piece) {
        match *piece {
            Piece::Line([x, y]) => self.0.line_to(x as f32, y as f32),
            Piece::Bend(a, b, c) => {
                let [a, b, c] = [a, b, c].map(|p| p.map(|v| v as f32));
                self.0.cubic_to(a[0], a[1], b[0], b[1], c[0], c[1]);
            }
        }
    }
}

fn polygon(points: &[Pair]) -> Option<Path> {
    let mut path = Drawn::default();
    let (first, rest) = points.split_first()?;
    path.go(*first);
    rest.iter().for_each(|&to| path.piece(&Piece::Line(to)));
    path.0.close();
    path.0.finish()
}

fn round_box([x, y]: Pair, [w, h]: Pair, radius: f64) -> Option<Path> {
    let mut path = Drawn::default();
    path.go([x + radius, y]);
    for piece in corners([x, y], [w, h], radius) {
        path.piece(&piece);
    }
    path.0.close();
    path.0.finish()
}

/// The sides and corners of a box from the right end of its upper left corner on.
pub(super) fn corners([x, y]: Pair, [w, h]: Pair, r: f64) -> [Piece; 8] {
    let (right, bottom, c) = (x + w, y + h, r * (1.0 - ROUND));
    [
        Piece::Line([right - r, y]),
        Piece::Bend([right - c, y], [right, y + c], [right, y + r]),
        Piece::Line([right, bottom - r]),
        Piece::Bend(
            [right, bottom - c],
            [right - c, bottom],
            [right - r, bottom],
        ),
        Piece::Line([x + r, bottom]),
        Piece::Bend([x + c, bottom], [x, bottom - c], [x, bottom - r]),
        Piece::Line([x, y + r]),
        Piece::Bend([x, y + c], [x + c, y], [x + r, y]),
    ]
}

/// The outlines of a text.
fn letters(face: &Face<'_>, text: &str, [x, y]: Pair, size: f64, middle: bool) -> Option<Path> {
    let text = encoding::shown(text);
    let scale = size / f64::from(face.units_per_em());
    let glyphs = text.chars().filter(|c| !c.is_control());
    let glyphs: Vec<_> = glyphs
        .map(|c| face.glyph_index(c).unwrap_or_default())
        .collect();
    let advance = |g| f64::from(face.glyph_hor_advance(g).unwrap_or(0)) * scale;
    let total: f64 = glyphs.iter().map(|&g| advance(g)).sum();
    let mut outline = Outline {
        path: PathBuilder::new(),
        scale: scale as f32,
        x: (x - if middle { total / 2.0 } else { 0.0 }) as f32,
        y: y as f32,
    };
    for glyph in glyphs {
        face.outline_glyph(glyph, &mut outline);
        outline.x += advance(glyph) as f32;
    }
    outline.path.finish()
}

/// Takes a letter's outline to its place; letters have y up.
struct Outline {
    path: PathBuilder,
    scale: f32,
    x: f32,
    y: f32,
}

impl Outline {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
