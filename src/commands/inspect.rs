//! `dsd inspect`: describes any file that this tool reads, told apart by its content.

use anyhow::{Result, bail};
use serde_json::json;

use crate::cli::Inspect;
use crate::compress::net_file::{self, NetLayer};
use crate::npz;
use crate::report::human::HumanBytes;
use crate::report::number::G;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::{files, outln};

/// Describes the file on stdout.
pub fn run(args: &Inspect) -> Result<()> {
    let bytes = files::read(&args.file)?;
    let layers = if npz::looks_like(&bytes) {
        arrays(args)?
    } else {
        let known = net_file::squeezenet_v1_0();
        let net: Vec<NetLayer> = known
            .iter()
            .map(|(name, shape)| NetLayer::new(name, shape.iter().product(), shape[0]))
            .collect();
        if !net_file::looks_like(&bytes, &net) {
            bail!(
                "{}: expected a .npz file or a Deep Compression .net of SqueezeNet v1.0, found neither",
                args.file.display()
            );
        }
        let decoded = net_file::decode(&bytes, &net)?.into_iter().zip(known);
        decoded
            .map(|(d, (name, shape))| Layer {
                name,
                shapes: vec![shape.to_vec(), vec![d.biases.len()]],
                count: d.weights.len(),
                nonzero: d.weights.iter().filter(|&&w| w != 0.0).count(),
            })
            .collect()
    };
    match args.json {
        true => print_json(&layers)?,
        false => print_table(args, bytes.len(), &layers)?,
    }
    Ok(())
}

/// What is told of a layer's weights, or of an array.
struct Layer {
    name: String,
    shapes: Vec<Vec<usize>>,
    count: usize,
    nonzero: usize,
}

fn arrays(args: &Inspect) -> Result<Vec<Layer>> {
    let arrays = npz::read(&args.file)?.into_iter();
    Ok(arrays
        .map(|(name, tensor)| Layer {
            name,
            shapes: vec![tensor.shape.dims().to_vec()],
            count: tensor.data.len(),
            nonzero: tensor.data.iter().filter(|&&w| w != 0.0).count(),
        })
        .collect())
}

fn density(nonzero: usize, count: usize) -> f64 {
    // Of nothing, nothing is pruned.
    if count == 0 {
        1.0
    } else {
        nonzero as f64 / count as f64
    }
}

fn whole(layers: &[Layer]) -> (usize, usize) {
    let nonzero = layers.iter().map(|l| l.nonzero).sum();
    (nonzero, layers.iter().map(|l| l.count).sum())
}

fn print_json(layers: &[Layer]) -> Result<()> {
    let (nonzero, count) = whole(layers);
    let list: Vec<_> = layers
        .iter()
        .map(|l| {
            json!({
                "name": l.name,
                "shapes": l.shapes,
                "nonzero": l.nonzero,
                "density": density(l.nonzero, l.count),
            })
        })
        .collect();
    Ok(output::json(
        &json!({ "layers": list, "density": density(nonzero, count) }),
    )?)
}

fn print_table(args: &Inspect, bytes: usize, layers: &[Layer]) -> Result<()> {
    let mut table = Table::new([
        ("layer", Align::Left),
        ("shapes", Align::Left),
        ("weights", Align::Right),
        ("nonzero", Align::Right),
        ("density", Align::Right),
    ]);
    for l in layers {
        let shapes = l.shapes.iter().map(|s| {
            let dims: Vec<String> = s.iter().map(usize::to_string).collect();
            dims.join("x")
        });
        table.row([
            l.name.clone(),
            shapes.collect::<Vec<_>>().join(" "),
            l.count.to_string(),
            l.nonzero.to_string(),
            format!("{:.4}", density(l.nonzero, l.count)),
        ]);
    }
    let (nonzero, count) = whole(layers);
    outln!("{}: {}", args.file.display(), HumanBytes(bytes as u64))?;
    output::text(format_args!("{table}"))?;
    let density = density(nonzero, count);
    outln!("{count} weights, {nonzero} nonzero, density {}", G(density))?;
    Ok(())
}
