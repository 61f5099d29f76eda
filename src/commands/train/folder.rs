//! `dsd train FOLDER`: the flow of a folder that `dsd new` has made, with its run beside it.

use crate::cli::Train;
use crate::commands::Usage;
use crate::commands::model_folder::ModelFolder;
use crate::commands::run_folder::run_record;
use crate::info;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The arguments, with what a folder stands for: its flow, and where its run goes. A run that is there goes on.
pub(super) fn resolved(args: &Train) -> Result<Train> {
    let mut args = args.clone();
    let Some(folder) = args.folder.take() else {
        return Ok(args);
    };
    let Some(model) = ModelFolder::at(&folder) else {
        let shown = folder.display();
        let text = format!(
            "{shown} is no folder of a model: expected flow.toml and train_val.prototxt in it, as dsd new PICTURES --out \
             {shown} makes them"
        );
        return Err(Usage(text).into());
    };
    args.flow = Some(model.flow()?);
    let control = super::control::asked(&args);
    let run = if control {
        model.control()
    } else {
        model.run()
    };
    enter(&mut args, &folder)?;
    let run = std::path::absolute(run.strip_prefix(&folder).unwrap_or(&run))?;
    if control {
        args.args.out = Some(run);
        return Ok(args);
    }
    if args.args.find_lr.is_none() && !args.args.resume && run.join(run_record::NAME).exists() {
        info!(
            "Going on with the run in {}; remove that folder to start anew",
            run.display()
        );
        args.args.resume = true;
    }
    args.args.out = Some(run);
    Ok(args)
}

/// Makes the folder the working one, so that its own solvers and nets are taken and not others of their names where the user
/// is; the other paths of the command line stay what they were.
fn enter(args: &mut Train, folder: &Path) -> Result<()> {
    let given = &mut args.args;
    let some = [
        &mut given.snapshot,
        &mut given.source,
        &mut given.metrics,
        &mut given.tensorboard,
    ];
    let flow = args.flow.as_mut();
    let paths = some.into_iter().flatten().chain(flow);
    for path in paths.chain(given.weights.iter_mut()) {
        let full: PathBuf = std::path::absolute(&*path)?;
        *path = full;
    }
    std::env::set_current_dir(folder)
        .with_context(|| format!("cannot go to the folder {}", folder.display()))
}
