//! `dsd convert_text`: a text to HDF5 files of characters, to train, choose and test a language model.

use super::Usage;
use crate::cli;
use crate::data::new_folder::NewFolder;
use crate::data::text::{Streams, Vocabulary};
use crate::{files, info};
use anyhow::{Context, Result, anyhow};

/// Runs the command.
pub fn run(args: &cli::ConvertText) -> Result<()> {
    if args.val + args.test >= 1.0 {
        let text = format!(
            "--val {} and --test {} leave nothing to train on; make them smaller",
            args.val, args.test
        );
        return Err(Usage(text).into());
    }
    let place = || args.text.display().to_string();
    let text = files::read_text(&args.text)?;
    let vocabulary = match &args.vocabulary {
        Some(path) => Vocabulary::read(path)?,
        None => Vocabulary::of(&text),
    };
    let symbols = vocabulary.encode(&text).with_context(place)?;
    let part = |fraction: f64| (symbols.len() as f64 * fraction) as usize;
    let (rest, test) = symbols.split_at(symbols.len() - part(args.test));
    let (train, val) = rest.split_at(rest.len() - part(args.val));
    let mut parts = Vec::new();
    for (name, symbols, wanted) in [
        ("train", train, true),
        ("val", val, args.val > 0.0),
        ("test", test, args.test > 0.0),
    ] {
        if wanted {
            let streams = Streams::new(symbols, args.streams, args.steps);
            let streams = streams.ok_or_else(|| short(args, name, symbols.len()))?;
            parts.push((name, streams));
        }
    }
    let folder = NewFolder::create(&args.out)?;
    for (name, streams) in &parts {
        let path = folder.path().join(format!("{name}.h5"));
        let saved = streams.save(&path);
        saved.map_err(|e| folder.failed(&format!("{:#}", e.root_cause())))?;
    }
    let lines = vocabulary.lines()?;
    files::write_atomic(&folder.path().join("vocabulary.txt"), |w| {
        Ok(w.write_all(lines.as_bytes())?)
    })?;
    folder.finish()?;
    info!("{} characters, {} kinds", symbols.len(), vocabulary.len());
    for (name, s) in &parts {
        info!(
            "{}: {} batches of {} steps x {} streams",
            args.out.join(format!("{name}.h5")).display(),
            s.rows / args.steps,
            args.steps,
            s.streams
        );
    }
    Ok(())
}

/// The error of a part that does not fill one batch.
fn short(args: &cli::ConvertText, name: &str, found: usize) -> anyhow::Error {
    anyhow!(
        "{}: its {name} part has {found} characters, but one batch of {} steps x {} streams needs {}; \
         lower --streams or --steps, or give this part more of the text",
        args.text.display(),
        args.steps,
        args.streams,
        args.steps * args.streams + 1
    )
}
