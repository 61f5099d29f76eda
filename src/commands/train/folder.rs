//! `dsd train FOLDER`: the flow of a folder that `dsd new` has made, with its run beside it.

use crate::cli::Train;
use crate::commands::Usage;
use crate::commands::model_folder::ModelFolder;
use crate::commands::run_folder::run_record;
use crate::info;
use anyhow::Result;

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
    if super::control::asked(&args) {
        args.args.out = Some(model.control());
        return Ok(args);
    }
    let run = model.run();
    if !args.args.resume && run.join(run_record::NAME).exists() {
        info!(
            "Going on with the run in {}; remove that folder to start anew",
            run.display()
        );
        args.args.resume = true;
    }
    args.args.out = Some(run);
    Ok(args)
}
