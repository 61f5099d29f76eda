//! What `dsd new` says of its choices: what it found, what it made of it and why, and what to do next.

use super::databases::Written;
use super::look::Found;
use crate::report::table::{Align, Table};
use crate::starter::{Batches, Lengths, Pictures};
use crate::{outln, warn};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Classes that are listed, at most.
const LISTED: usize = 12;

/// What was chosen, and what came of it.
pub(super) struct Chosen {
    pub net: String,
    pub pictures: Pictures,
    pub lengths: Lengths,
    pub tests: Batches,
    /// Pixels by which pictures are moved in training, at most.
    pub moved: usize,
    pub train: Written,
    pub val: Written,
    pub test: Option<Written>,
    /// Heights and widths of some pictures.
    pub sizes: Vec<[usize; 2]>,
    pub names: Vec<String>,
    pub weights: Option<PathBuf>,
}

/// Prints it.
pub(super) fn tell(chosen: &Chosen, found: &Found, out: &Path) -> Result<()> {
    let Chosen {
        pictures, lengths, ..
    } = chosen;
    warn_of(chosen, found);
    classes(chosen)?;
    let [channels, side, _] = pictures.size;
    outln!("")?;
    outln!("pictures  {}", sizes(&chosen.sizes, side, channels == 1))?;
    outln!("split     {}", split(chosen, found))?;
    let mirror = match pictures.mirror {
        true => ", mirrored half of the time",
        false => ", not mirrored",
    };
    outln!("training  moved by up to {} pixels{mirror}", chosen.moved)?;
    outln!("net       {}, {} classes", chosen.net, pictures.classes)?;
    let [dense, sparse, redense] = lengths.iterations;
    let rates = lengths.rates.map(|r| r.to_string()).join(", ");
    outln!(
        "phases    dense {dense}, sparse {sparse}, re-dense {redense} iterations of {} pictures; rates {rates}",
        lengths.batch
    )?;
    if chosen.weights.is_some() {
        outln!(
            "weights   all layers but the classifier start from those given; it learns 10 times as fast"
        )?;
    }
    let shown = out.display();
    outln!("\nIn {shown}: databases, train_val, deploy, solvers, flow.toml, classes.txt. Next:")?;
    for (command, why) in [
        (format!("dsd train {shown}"), "dense, sparse, re-dense"),
        (
            format!("dsd train {shown} --control"),
            "the same, and without the mask beside it",
        ),
        (format!("dsd report {shown}"), "a page to look at"),
        (format!("dsd classify {shown} photo.jpg"), "label a picture"),
        (format!("dsd compress {shown}"), "a small file"),
    ] {
        outln!(
            "  {command:<width$}  {why}",
            width = 27 + shown.to_string().len()
        )?;
    }
    Ok(())
}

/// A table of the classes, or of how many there are.
fn classes(chosen: &Chosen) -> Result<()> {
    if chosen.names.len() > LISTED {
        let counts = &chosen.train.of_class;
        let (least, most) = (counts.iter().min(), counts.iter().max());
        return Ok(outln!(
            "{} classes, with {} to {} pictures to train on",
            chosen.names.len(),
            least.unwrap_or(&0),
            most.unwrap_or(&0)
        )?);
    }
    let mut heads = vec![
        ("class", Align::Left),
        ("train", Align::Right),
        ("val", Align::Right),
    ];
    if chosen.test.is_some() {
        heads.push(("test", Align::Right));
    }
    let mut table = Table::new(heads);
    let parts = [Some(&chosen.train), Some(&chosen.val), chosen.test.as_ref()];
    for (i, name) in chosen.names.iter().enumerate() {
        let counts = parts.iter().flatten().map(|p| p.of_class[i].to_string());
        table.row(std::iter::once(name.clone()).chain(counts));
    }
    let counts = parts.iter().flatten().map(|p| p.count.to_string());
    table.row(std::iter::once("all".to_string()).chain(counts));
    Ok(outln!("{table}")?)
}

fn sizes(sizes: &[[usize; 2]], side: usize, gray: bool) -> String {
    let colours = if gray { "gray" } else { "colour" };
    let first = sizes.first().copied().unwrap_or([side, side]);
    let same = sizes.iter().all(|s| *s == first);
    match same {
        true if first == [side, side] => format!("{colours}, {side} x {side}"),
        true => format!(
            "{colours}, {} x {}, brought to {side} x {side}",
            first[0], first[1]
        ),
        false => {
            let most = |k: usize| sizes.iter().map(|s| s[k]).max().unwrap_or(0);
            let least = |k: usize| sizes.iter().map(|s| s[k]).min().unwrap_or(0);
            format!(
                "{colours}, {} x {} to {} x {} (height x width), brought to {side} x {side}",
                least(0),
                least(1),
                most(0),
                most(1)
            )
        }
    }
}

fn split(chosen: &Chosen, found: &Found) -> String {
    let [train, val] = [chosen.train.count, chosen.val.count];
    let how = match found.val {
        Some(_) => "as they came",
        None => "shuffled, of each class its share",
    };
    let mut text = format!("{train} to train on, {val} to validate, {how}");
    let tested = chosen.tests.pictures();
    if tested < val {
        text += &format!(
            "; a test takes {tested} of them ({} batches of {})",
            chosen.tests.count, chosen.tests.size
        );
    }
    if let Some(test) = &chosen.test {
        text += &format!("; {} kept for the end", test.count);
    }
    text
}

/// What may go wrong with such pictures.
fn warn_of(chosen: &Chosen, found: &Found) {
    let lists = [Some(&found.train), found.val.as_ref(), found.test.as_ref()];
    for list in lists.into_iter().flatten() {
        if list.left_out > 0 {
            warn!(
                "{} files of {} are left out: no pictures by their names",
                list.left_out,
                list.source.display()
            );
        }
        if let Some(first) = list.missing.first() {
            warn!(
                "{} of {} classes have no folder in {}, the first '{first}'",
                list.missing.len(),
                list.classes.len(),
                list.source.display()
            );
        }
    }
    let parts = [Some(&chosen.train), Some(&chosen.val), chosen.test.as_ref()];
    let unreadable: usize = parts.iter().flatten().map(|p| p.unreadable).sum();
    if unreadable > 0 {
        warn!("{unreadable} pictures cannot be read and are left out");
    }
    let empty = |counts: &[usize]| counts.iter().position(|n| *n == 0);
    if let Some(class) = empty(&chosen.train.of_class) {
        warn!(
            "The class '{}' has no picture to train on; the net will not learn it",
            chosen.names[class]
        );
    }
    if let Some(class) = empty(&chosen.val.of_class) {
        warn!(
            "The class '{}' has no picture in validation, which tells nothing of it",
            chosen.names[class]
        );
    }
    let counts = &chosen.train.of_class;
    let (most, least) = (counts.iter().max(), counts.iter().filter(|n| **n > 0).min());
    if let (Some(most), Some(least)) = (most, least)
        && *most >= 10 * *least
    {
        warn!(
            "The largest class has {most} pictures, the smallest {least}: the net will prefer the large ones"
        );
    }
    if chosen.val.count < 100 {
        warn!(
            "{} pictures validate: one picture is {:.1}% of the accuracy",
            chosen.val.count,
            100.0 / chosen.val.count as f64
        );
    }
}
