//! How many pictures a second does a database of JPEG pictures give to a net that does nothing? Decoded, cropped,
//! mirrored and made floats, by one thread and by more; the rounds of all take turns, so that a clock that changes
//! is no one's gain.

mod common;

use common::{best, one, short};
use criterion::Throughput;
use dsd::data::batches::Batches;
use dsd::data::encode::{Format, encode};
use dsd::data::lmdb_writer::LmdbWriter;
use dsd::data::{Options, open};
use dsd::feed::Feed;
use dsd::kernels::crew;
use dsd::layers::Mode;
use dsd::proto::caffe::{Datum, NetParameter};
use dsd::proto::parse;
use dsd::random::{Purpose, Random};
use dsd::report::table::{Align, Table};
use prost::Message;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const PICTURES: usize = 1000;
const SIDE: usize = 256;
const BATCH: usize = 50;
const ROUNDS: usize = 15;

/// The side of what the net sees of a picture.
const CROP: usize = 227;

thread_local! {
    /// The floats of a leaf of one picture.
    static LEAF: RefCell<Vec<f32>> = RefCell::new(vec![0.0; 3 * CROP * CROP]);
}

/// The layer that reads them, as nets of ImageNet do.
const LAYER: &str = "layer { name: 'data' type: 'Data' top: 'data' top: 'label' \
    transform_param { mirror: true crop_size: 227 mean_value: 104 mean_value: 117 mean_value: 123 } \
    data_param { source: 'FOLDER' batch_size: 50 backend: LMDB } }";

/// A picture of shapes and some noise, whose JPEG is about as large as a photograph's.
fn picture(number: u64) -> Vec<u8> {
    let random = Random::new(number, Purpose::Transform, 0);
    let waves: Vec<[f32; 4]> = (0..12)
        .map(|k| [0, 1, 2, 3].map(|i| random.unit(4 * k + i)))
        .collect();
    let noise = random.branch(1);
    let mut planes = Vec::with_capacity(3 * SIDE * SIDE);
    for c in 0..3 {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let wave = |w: &[f32; 4]| {
                    let along = x as f32 * (w[0] - 0.5) + y as f32 * (w[1] - 0.5);
                    (along * w[2] + 6.3 * w[3] + c as f32).sin()
                };
                let sum: f32 = waves.iter().map(wave).sum();
                let grain = 24.0 * (noise.unit(planes.len() as u64) - 0.5);
                planes.push((128.0 + 14.0 * sum + grain).clamp(0.0, 255.0) as u8);
            }
        }
    }
    planes
}

/// Writes the database; the bytes of its pictures.
fn write(folder: &Path) -> usize {
    let mut writer = LmdbWriter::create(folder).expect("a new folder");
    let mut bytes = 0;
    for i in 0..PICTURES {
        let file = encode(&picture(i as u64), [3, SIDE, SIDE], Format::Jpeg).expect("a picture");
        bytes += file.len();
        let datum = Datum {
            encoded: Some(true),
            label: Some(i as i32),
            data: Some(file),
            ..Datum::default()
        };
        let key = format!("{i:08}");
        writer
            .put(key.as_bytes(), datum.encode_to_vec())
            .expect("it is written");
    }
    writer.finish().expect("it is written");
    bytes
}

/// A run's data, read by so many threads.
struct Reader {
    pool: ThreadPool,
    batches: Batches,
}

impl Reader {
    fn new(folder: &Path, threads: usize) -> Self {
        let text = LAYER.replace("FOLDER", &folder.display().to_string());
        let net = parse::<NetParameter>(&text, "the bench").expect("it parses");
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("threads");
        let options = Options {
            mode: Mode::Train,
            seed: 1,
            source: None,
            resolve: &|name| name.into(),
            skip_bad: false,
            warn: &|text| eprintln!("{text}"),
        };
        let source = open(&net.message.layer[0], &options).expect("it opens");
        let batches = pool.install(|| Batches::new(source, 0));
        Self { pool, batches }
    }

    /// Takes as many pictures as there are.
    fn round(&mut self) {
        self.pool.install(|| {
            for _ in 0..PICTURES / BATCH {
                let batch = self.batches.take().expect("it is read");
                // As a pass takes them: a leaf makes its pictures floats where it reads them next.
                crew::run(BATCH, |_, i| {
                    LEAF.with_borrow_mut(|leaf| batch.rows(0, i..i + 1, black_box(leaf)));
                });
                self.batches.give_back(batch);
            }
        });
    }

    /// The seconds of a round of its own: nothing is read ahead before or after.
    fn time(&mut self) -> f64 {
        self.batches.expect((PICTURES / BATCH) as u64);
        let start = Instant::now();
        self.round();
        let seconds = start.elapsed().as_secs_f64();
        self.batches.rest();
        seconds
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("jpeg_lmdb");
    let bytes = write(&database);
    println!(
        "{PICTURES} pictures of {SIDE} x {SIDE}, {} bytes a JPEG",
        bytes / PICTURES
    );
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let counts: Vec<usize> = [1, 2, 4, 8, 16, 32, 64]
        .into_iter()
        .filter(|&n| n <= most)
        .collect();

    let mut criterion = short();
    let mut group = criterion.benchmark_group("data");
    group.throughput(Throughput::Elements(PICTURES as u64));
    for &threads in &counts {
        let mut reader = Reader::new(&database, threads);
        best(&mut group, format!("JPEG LMDB, threads {threads}"), || {
            reader.time();
        });
    }
    group.finish();
    criterion.final_summary();

    let mut readers: Vec<Reader> = counts.iter().map(|&n| Reader::new(&database, n)).collect();
    let mut seconds = vec![Vec::new(); counts.len()];
    for _ in 0..ROUNDS {
        for (reader, seconds) in readers.iter_mut().zip(&mut seconds) {
            seconds.push(reader.time());
        }
    }
    show(&counts, &seconds);
}

/// The median round of each number of threads, and the median of how many times faster than one thread, a moment
/// before, it was.
fn show(counts: &[usize], seconds: &[Vec<f64>]) {
    use Align::Right;
    let mut table = Table::new([("threads", Right), ("pictures/s", Right), ("times", Right)]);
    for (threads, all) in counts.iter().zip(seconds) {
        let times = seconds[0].iter().zip(all).map(|(one, these)| one / these);
        table.row([
            threads.to_string(),
            one(Some(PICTURES as f64 / median(all.clone()))),
            format!("{:.2}", median(times.collect())),
        ]);
    }
    print!("{table}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
