//! `dsd export`: weights in another format.

use super::Usage;
use super::nets;
use crate::session::Model;
use crate::weights_file::Stored;
use crate::{cli, files, info, npz, warn, weights_file};
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
        let named = match args.model {
            None => weights_file::read_named(path, &bytes).ok(),
            Some(_) => None,
        };
        let next = match named {
            Some(stored) => stored,
            None => {
                let model = Model::find(args.model.as_deref(), std::slice::from_ref(path))?;
                // Of a training net too, whose data need not be there.
                match (
                    nets::skeleton(&model),
                    weights_file::read_named(path, &bytes),
                ) {
                    (Ok(net), _) => {
                        let mut weights = net.fill(0)?;
                        net.load(&mut weights, &weights_file::read(path, &net)?)?;
                        net.to_stored(&weights)
                    }
                    (Err(why), Ok(stored)) => {
                        warn!(
                            "{why:#}; the layers are exported as {} has them",
                            path.display()
                        );
                        stored
                    }
                    (Err(why), Err(_)) => return Err(why),
                }
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
