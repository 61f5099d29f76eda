//! `dsd export`: weights in another format.

use super::Usage;
use super::nets::Model;
use crate::layers::Mode;
use crate::net::graph::{Graph, State};
use crate::net::weights::Stored;
use crate::net::{Net, Options};
use crate::{cli, files, info, models, npz, weights_file};
use anyhow::Result;

/// Runs the command.
pub fn run(args: &cli::Export) -> Result<()> {
    let extension = args
        .out
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    if extension != "npz" {
        let text = format!(
            "--out {}: cannot write '.{extension}' files; use .npz",
            args.out.display()
        );
        return Err(Usage(text).into());
    }
    let stored = stored(args)?;
    let mut named = Vec::new();
    for layer in &stored.layers {
        for (k, blob) in layer.blobs.iter().enumerate() {
            named.push((format!("{}:{k}", layer.name), blob.view()));
        }
    }
    npz::write(
        &args.out,
        named.iter().map(|(n, v)| (n.as_str(), v.clone())),
    )?;
    info!(
        "Wrote {} arrays of {} layers to {}",
        named.len(),
        stored.layers.len(),
        args.out.display()
    );
    Ok(())
}

/// The weights by layer name. A file that names its layers needs no net.
fn stored(args: &cli::Export) -> Result<Stored> {
    let mut all: Option<Stored> = None;
    for path in &args.weights {
        let bytes = files::read(path)?;
        let named = if args.model.is_none() {
            weights_file::read_named(path, &bytes)
        } else {
            Err(anyhow::anyhow!(""))
        };
        let next = match named {
            Ok(stored) => stored,
            Err(_) => {
                let model = Model::find(args.model.as_deref(), std::slice::from_ref(path))?;
                let graph = Graph::new(&model.deploy()?, &State::new(Mode::Test))?;
                let shapes = models::input_shapes(&graph)?;
                let net = Net::new(graph, &shapes, &Options::default())?;
                let mut weights = net.fill(0)?;
                net.load(&mut weights, &weights_file::read(path, &net)?)?;
                net.to_stored(&weights)
            }
        };
        match &mut all {
            None => all = Some(next),
            Some(all) => {
                for layer in next.layers {
                    all.layers.retain(|l| l.name != layer.name);
                    all.layers.push(layer);
                }
            }
        }
    }
    Ok(all.unwrap_or_default())
}
