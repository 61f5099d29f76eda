//! `dsd convert_imageset`: pictures and a list, or a folder for each class, to a database.
//!
//! Pictures are read in parallel, a few at a time, and written in their order by one thread.

use super::Usage;
use crate::cli;
use crate::data::class_list;
use crate::data::convert::{Conversion, Storage};
use crate::data::encode::{Format, TYPES};
use crate::data::list::List;
use crate::data::writer::DatabaseWriter;
use crate::files::encoding;
use crate::proto::caffe::Datum;
use crate::proto::caffe::data_parameter::Db;
use crate::random::{Purpose, Random};
use crate::report::progress;
use crate::solver::DEFAULT_SEED;
use crate::solver::signals::{Request, Signals};
use crate::{error, info, warn};
use anyhow::{Result, bail};
use indicatif::ProgressBar;
use prost::Message;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};

/// Pictures for each thread that are read at a time.
const CHUNK: usize = 16;

/// A picture to convert.
struct Item {
    key: String,
    path: PathBuf,
    label: i32,
}

/// A picture's record and size.
type Converted = Result<(Datum, [usize; 3])>;

/// Runs the command; the exit code is 0, or 130 where SIGINT stopped it.
pub fn run(args: &cli::ConvertImageset, seed: Option<u64>) -> Result<ExitCode> {
    let conversion = conversion(args)?;
    let list = list(args)?;
    let items = items(args, &list, seed.unwrap_or(DEFAULT_SEED));
    info!("A total of {} images.", items.len());
    if list.left_out > 0 {
        let shown = list.source.display();
        warn!(
            "{} files of {shown} are left out: no pictures by their names",
            list.left_out
        );
    }
    if matches!(conversion.storage, Storage::FileOf(_)) && !args.encoded {
        info!("encode_type specified, assuming encoded=true.");
    }
    // SIGHUP as well: a terminal that closes leaves no half database either.
    let signals = Signals::listen(Request::Stop, Request::Stop)?;
    let mut writer = DatabaseWriter::create(&args.db_name, args.backend.into())?;
    let kind = match args.backend.into() {
        Db::Lmdb => "lmdb",
        Db::Leveldb => "leveldb",
    };
    info!("Opened {kind} {}", args.db_name.display());
    let mut tally = Tally {
        bar: progress::bar("convert", 0, items.len() as u64),
        items: &items,
        check_size: args.check_size,
        first: None,
        other: None,
        others: 0,
        done: 0,
        unreadable: 0,
    };
    let finished = std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        let (items, conversion) = (&items, &conversion);
        scope.spawn(move || {
            for chunk in items.chunks(CHUNK * rayon::current_num_threads()) {
                let read = |i: &Item| conversion.read(&i.path, i.label);
                let converted: Vec<Converted> = chunk.par_iter().map(read).collect();
                // Nobody waits for them any more: the work has failed or was stopped.
                if sender.send(converted).is_err() {
                    break;
                }
            }
        });
        tally.write_all(&mut writer, receiver, &signals)
    })?;
    let Tally {
        done,
        unreadable,
        first,
        other,
        others,
        ..
    } = tally;
    let shown = args.db_name.display();
    if !finished {
        drop(writer);
        warn!("Stopped by a signal: no database is made");
        return Ok(ExitCode::from(130));
    }
    if done == 0 {
        bail!("none of the {unreadable} pictures can be read (see above); no database is made");
    }
    if done % 1000 != 0 {
        info!("Processed {done} files.");
    }
    if !list.classes.is_empty() {
        writer.put_classes(&list.classes)?;
    }
    writer.finish()?;
    log_classes(&list, &args.db_name);
    info!("Wrote {done} records to {shown}");
    if let (Some((first, size)), Some((path, another))) = (first, other) {
        warn!(
            "{others} of {done} pictures have another size than the first (channels x height x width): {} has \
             {}, {} has {}; --resize_height and --resize_width make them alike",
            first.display(),
            shown_size(size),
            path.display(),
            shown_size(another)
        );
    }
    if unreadable > 0 {
        warn!(
            "{unreadable} of {} pictures cannot be read and are left out",
            items.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The pictures, with the labels that --classes gives them.
fn list(args: &cli::ConvertImageset) -> Result<List> {
    let Some(path) = &args.classes else {
        return List::read(&args.list_file);
    };
    let names = class_list::read(path)?;
    let list = List::read_with(&args.list_file, Some((names, path.display().to_string())))?;
    if let Some(first) = list.missing.first() {
        warn!(
            "{} of {} classes have no folder in {}, the first '{first}'; the others keep their labels",
            list.missing.len(),
            list.classes.len(),
            list.source.display()
        );
    }
    Ok(list)
}

/// What the flags ask for.
fn conversion(args: &cli::ConvertImageset) -> Result<Conversion> {
    let usage = |text: String| Err(Usage(text).into());
    let kind = args.encode_type.trim_start_matches('.');
    let format = Format::of_extension(kind);
    if !kind.is_empty() && format.is_none() {
        return usage(format!("--encode_type {kind}: expected {TYPES}"));
    }
    if let Some(Err(e)) = format.map(|f| f.check_channels(if args.gray { 1 } else { 3 })) {
        return usage(format!("--encode_type {kind}: {e}"));
    }
    let size = [args.resize_height, args.resize_width].map(|n| usize::try_from(n).unwrap_or(0));
    if size.contains(&0) && size != [0, 0] {
        let (given, other) = match size {
            [_, 0] => ("--resize_height", "--resize_width"),
            _ => ("--resize_width", "--resize_height"),
        };
        return usage(format!(
            "{given} is given without {other}; pictures are resized only by both (Caffe would silently keep \
             their sizes)"
        ));
    }
    // libpng's and libjpeg's own limits are about there.
    if size.iter().any(|n| *n > 65_500) {
        return usage(format!(
            "--resize_height, --resize_width: at most 65500, found {size:?}"
        ));
    }
    let storage = match (args.encoded, kind) {
        (false, "") => Storage::Pixels,
        (true, "") => Storage::File,
        (_, kind) => Storage::FileOf(kind.into()),
    };
    let size = (!size.contains(&0)).then_some(size);
    if args.gray && size.is_none() && !matches!(storage, Storage::Pixels) {
        warn!(
            "As in Caffe, files that are stored as they are keep their colours in spite of --gray"
        );
    }
    Ok(Conversion {
        gray: args.gray,
        size,
        storage,
    })
}

/// The pictures in their order, with the keys that Caffe gives them.
fn items(args: &cli::ConvertImageset, list: &List, seed: u64) -> Vec<Item> {
    let mut order: Vec<usize> = (0..list.entries.len()).collect();
    let shuffle = args.shuffle || list.source.is_dir() && !args.noshuffle;
    if shuffle {
        info!("Shuffling data");
        // Fisher and Yates' method.
        let random = Random::new(seed, Purpose::Shuffle, 0);
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i as u64, i + 1));
        }
    }
    // Caffe puts the root before the path as it is; a folder's missing slash is added.
    let slash = !args.root_folder.ends_with('/') && Path::new(&args.root_folder).is_dir();
    let root = match (list.source.is_dir(), slash) {
        (true, _) => format!("{}/", list.source.display()),
        (false, true) => format!("{}/", args.root_folder),
        (false, false) => args.root_folder.clone(),
    };
    let item = |(place, i): (usize, usize)| {
        let entry = &list.entries[i];
        // Caffe numbers the lines, empty ones too.
        let number = match entry.line {
            line @ 1.. if !shuffle => line - 1,
            _ => place,
        };
        Item {
            key: format!("{number:08}_{}", entry.name),
            path: encoding::path(&format!("{root}{}", entry.name)),
            label: entry.label,
        }
    };
    order.into_iter().enumerate().map(item).collect()
}

/// What has become of the pictures so far.
struct Tally<'a> {
    bar: ProgressBar,
    items: &'a [Item],
    check_size: bool,
    /// The first picture that was read, and its size.
    first: Option<(&'a Path, [usize; 3])>,
    /// The first picture of another size, and how many have another.
    other: Option<(&'a Path, [usize; 3])>,
    others: usize,
    done: usize,
    unreadable: usize,
}

impl Tally<'_> {
    /// Writes the pictures as they come; false if a signal came first.
    fn write_all(
        &mut self,
        writer: &mut DatabaseWriter,
        chunks: Receiver<Vec<Converted>>,
        signals: &Signals,
    ) -> Result<bool> {
        let mut items = self.items.iter();
        for chunk in chunks {
            for (converted, item) in chunk.into_iter().zip(items.by_ref()) {
                if signals.peek() == Request::Stop {
                    return Ok(false);
                }
                self.bar.inc(1);
                match converted {
                    Ok((datum, dims)) => self.write(writer, item, &datum, dims)?,
                    Err(e) => {
                        error!("Could not open or find file {}: {e:#}", item.path.display());
                        self.unreadable += 1;
                    }
                }
            }
        }
        Ok(true)
    }
}

impl<'a> Tally<'a> {
    fn write(
        &mut self,
        writer: &mut DatabaseWriter,
        item: &'a Item,
        datum: &Datum,
        dims: [usize; 3],
    ) -> Result<()> {
        let (first, expected) = *self.first.get_or_insert((&item.path, dims));
        if self.check_size && dims != expected {
            bail!(
                "--check_size: {} has {} (channels x height x width), but {}, the first, has {}",
                item.path.display(),
                shown_size(dims),
                first.display(),
                shown_size(expected)
            );
        }
        if dims != expected {
            self.other.get_or_insert((&item.path, dims));
            self.others += 1;
        }
        writer.put(&encoding::bytes(&item.key), datum.encode_to_vec())?;
        self.done += 1;
        if self.done.is_multiple_of(1000) {
            info!("Processed {} files.", self.done);
        }
        Ok(())
    }
}

fn shown_size([c, h, w]: [usize; 3]) -> String {
    format!("{c} x {h} x {w}")
}

/// Which label is which class; a long list only says where it is.
fn log_classes(list: &List, database: &Path) {
    if list.classes.len() <= 20 {
        for (label, class) in list.classes.iter().enumerate() {
            info!("Class {label}: {class}");
        }
    }
    if !list.classes.is_empty() {
        let path = database.join(class_list::CLASSES);
        info!(
            "{} classes, listed in {}",
            list.classes.len(),
            path.display()
        );
    }
}
