//! `dsd classify --score`, and `dsd test` on a folder of classes: how right a net is on pictures whose folders are their
//! classes.

use super::classifier::Classifier;
use super::tables;
use crate::classify::folders::{self, Known};
use crate::classify::tally::{Answer, Tally};
use crate::classify::{self, Given};
use crate::data::class_list;
use crate::data::list::{Entry, List};
use crate::files::{self, encoding};
use crate::report::{output, progress};
use crate::session::{Model, Session};
use crate::{error, info, warn};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The folder of the classes' folders.
    pub folder: &'a Path,
    /// `--labels`.
    pub labels: Option<&'a Path>,
    /// `--ext`: only files that end so.
    pub ext: Option<&'a str>,
    /// `--json`.
    pub json: bool,
    /// `--csv`.
    pub csv: Option<&'a Path>,
}

/// Classifies the pictures of a folder and tells how right the net of `session` is.
///
/// # Errors
/// The folders are not the net's classes, the net cannot run, or a picture cannot be read (told at the end).
pub fn run(session: &Session, given: &Given, asked: &Asked) -> Result<()> {
    let labels = asked.labels.map(classify::labels).transpose()?;
    ensure!(
        asked.folder.is_dir(),
        "{}: expected a folder with a folder of pictures for each class",
        asked.folder.display()
    );
    let classifier = Classifier::open(session, given, usize::MAX)?;
    let named = labels.zip(asked.labels).map(|(lines, file)| Known {
        lines,
        list: file.display().to_string(),
    });
    let known = named.or_else(|| nets_own(session, &classifier, asked.folder));
    let (mut list, named_by) =
        folders::pictures(asked.folder, classifier.scores.classes, known.as_ref())?;
    keep(&mut list, asked.ext)?;
    tell(&list, named_by.as_deref());
    let files: Vec<PathBuf> = list
        .entries
        .iter()
        .map(|e| list.source.join(encoding::path(&e.name)))
        .collect();
    let mut tally = Tally {
        classes: list.classes.clone(),
        answers: Vec::new(),
    };
    let (mut failed, mut rows) = (0, Vec::new());
    let bar = progress::bar("classify", 0, files.len() as u64);
    let started = Instant::now();
    for (files, entries) in files
        .chunks(classifier.batch())
        .zip(list.entries.chunks(classifier.batch()))
    {
        for ((file, entry), result) in files.iter().zip(entries).zip(classifier.run(files)?) {
            bar.inc(1);
            let class = usize::try_from(entry.label)?;
            let shown = file.display().to_string();
            match result {
                Ok(probabilities) => {
                    let answer = Answer::new(&shown, class, &probabilities);
                    rows.push((shown, class, Some((answer.said, answer.probability))));
                    tally.answers.push(answer);
                }
                Err(error) => {
                    error!("{error:#}");
                    failed += 1;
                    rows.push((shown, class, None));
                }
            }
        }
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    if let Some(file) = asked.csv {
        let text = csv(&tally, &rows);
        files::write_atomic(file, |w| Ok(w.write_all(text.as_bytes())?))?;
        info!("Wrote {}", file.display());
    }
    if asked.json {
        let mut object = tables::as_json(&tally, classifier.scores.classes);
        let more = json!({
            "net": classifier.net.name(),
            "preprocessing": classifier.preprocess.text,
            "softmax_added": !classifier.scores.softmax,
            "precision": classifier.net.precision(),
            "failed": failed,
            "images_per_s": files.len() as f64 / seconds,
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut object, more) {
            all.extend(more);
        }
        output::json(&object)?;
    } else if !tally.answers.is_empty() {
        output::text(format_args!(
            "{}",
            tables::text(&tally, classifier.scores.classes)
        ))?;
    }
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", files.len());
    }
    Ok(())
}

/// The class list of the data that the net's own data layer names, or of the net's folder; not where the pictures'
/// folder has one itself.
fn nets_own(session: &Session, classifier: &Classifier, folder: &Path) -> Option<Known> {
    if folder.join(class_list::CLASSES).is_file() {
        return None;
    }
    match &session.model {
        Model::File(_) => {}
        Model::Packed(packed) => {
            return packed.labels.clone().map(|lines| Known {
                lines,
                list: packed.file.display().to_string(),
            });
        }
        Model::Builtin(..) => return None,
    }
    let layer = &classifier.source;
    let of_data = layer.data_param.as_ref().map(|p| p.source().to_string());
    let of_list = layer
        .image_data_param
        .as_ref()
        .map(|p| p.source().to_string());
    let home = session.model.folder();
    let data = of_data.or(of_list).map(|name| files::resolve(&name, &home));
    let read = |at: PathBuf| {
        let lines = class_list::of(&at).ok().flatten()?;
        let list = at.join(class_list::CLASSES).display().to_string();
        (lines.len() == classifier.scores.classes).then_some(Known { lines, list })
    };
    data.and_then(read).or_else(|| read(home))
}

/// Leaves the pictures that end in `ext`, if it is given.
fn keep(list: &mut List, ext: Option<&str>) -> Result<()> {
    let Some(end) = ext.map(|e| e.trim_start_matches('.').to_lowercase()) else {
        return Ok(());
    };
    if end.is_empty() {
        return Ok(());
    }
    let ends = |e: &Entry| e.name.to_lowercase().ends_with(&format!(".{end}"));
    list.entries.retain(ends);
    ensure!(
        !list.entries.is_empty(),
        "{}: no picture ends in .{end} (--ext)",
        list.source.display()
    );
    Ok(())
}

/// Says how the folders found their classes, and what is left out.
fn tell(list: &List, named_by: Option<&str>) {
    let shown = list.source.display();
    info!("{} pictures below {shown}", list.entries.len());
    match named_by {
        Some(names) => info!("The folders' classes are by {names}"),
        None => info!(
            "The net's classes are the folders in the order of their names; --labels F, the names in the net's order, one a \
             line, gives another"
        ),
    }
    if list.left_out > 0 {
        warn!(
            "{shown}: left out {} files that are no pictures by their names in a folder of a class",
            list.left_out
        );
    }
    let numbers: Option<Vec<u64>> = list.classes.iter().map(|c| c.parse().ok()).collect();
    if numbers.is_some_and(|n| !n.is_sorted()) {
        warn!(
            "{shown}: the folders are numbers but stand in the order of their letters ('10' before '2'), as in training from \
             such folders; if the net counts otherwise, give --labels F, the names in its order"
        );
    }
}

/// A picture, its class, and the class that is said with its probability; none where it cannot be read.
type Row = (String, usize, Option<(usize, f32)>);

/// A row a picture.
fn csv(tally: &Tally, rows: &[Row]) -> String {
    let cell = |text: &str| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    };
    let mut text = "file,class,predicted,probability\n".to_string();
    for (file, class, said) in rows {
        let (said, probability) = match said {
            Some((said, p)) => (cell(&tally.name(*said)), p.to_string()),
            None => Default::default(),
        };
        text += &format!(
            "{},{},{said},{probability}\n",
            cell(file),
            cell(&tally.name(*class))
        );
    }
    text
}
