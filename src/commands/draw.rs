//! `dsd draw`: the net as a picture.

use crate::cli::{self, DrawPhase, NetState};
use crate::draw::{Direction, Drawing, dot, net, pdf, picture, png, svg};
use crate::layers::Mode;
use crate::net::graph::included;
use crate::proto::LayerParameter;
use crate::session::{self, Model};
use crate::{files, info};
use anyhow::{Result, bail};

enum Format {
    Dot,
    Svg,
    Png,
    Pdf,
}

/// Writes the picture.
pub fn run(args: &cli::Draw) -> Result<()> {
    let end = args
        .out
        .extension()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let format = match end.to_str() {
        Some("dot" | "gv" | "raw") => Format::Dot,
        Some("svg") => Format::Svg,
        Some("png") => Format::Png,
        Some("pdf") => Format::Pdf,
        _ => {
            return Err(super::Usage(format!(
                "{}: the name must end in .svg, .png or .pdf (pictures), or in .dot (for graphviz, which makes all others)",
                args.out.display()
            ))
            .into());
        }
    };
    let model = Model::find(Some(&args.net), &[])?;
    let mode = match args.phase {
        DrawPhase::Train => Some(Mode::Train),
        DrawPhase::Test => Some(Mode::Test),
        DrawPhase::All => None,
    };
    let parsed = match mode {
        Some(_) => model.train_val()?,
        None => model.deploy()?,
    };
    let message = &parsed.message;
    let own = NetState::default();
    let state = mode.map(|mode| session::state(message, mode, &own));
    let kept = |layer: &&LayerParameter| state.as_ref().is_none_or(|s| included(layer, s));
    let mut layers: Vec<LayerParameter> = message.layer.iter().filter(kept).cloned().collect();
    if mode.is_some() {
        // All that is drawn is of one phase: the boxes need not say it.
        layers.iter_mut().for_each(|layer| layer.include.clear());
    }
    if layers.is_empty() {
        bail!(
            "{}: no layer to draw ({} in the file)",
            parsed.file,
            message.layer.len()
        );
    }
    let direction = match args.rankdir {
        cli::Direction::LeftRight => Direction::LeftRight,
        cli::Direction::RightLeft => Direction::RightLeft,
        cli::Direction::TopBottom => Direction::TopBottom,
        cli::Direction::BottomTop => Direction::BottomTop,
    };
    let scene = || {
        let state = state.unwrap_or_else(|| session::state(message, Mode::Test, &own));
        let drawing = Drawing::new(message.name(), &layers, &net::shapes(&parsed, &state));
        picture::scene(&drawing, direction, args.display_lrm)
    };
    let bytes = match format {
        Format::Dot => {
            let text = dot::dot(message.name(), &layers, direction, args.display_lrm);
            files::encoding::bytes(&text).into_owned()
        }
        Format::Svg => svg::svg(&scene()).into_bytes(),
        Format::Png => png::png(&scene())?,
        Format::Pdf => pdf::pdf(&scene()),
    };
    files::write_atomic(&args.out, |w| Ok(w.write_all(&bytes)?))?;
    info!("Drew {} layers in {}", layers.len(), args.out.display());
    Ok(())
}
