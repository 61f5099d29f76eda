//! One blob: its kind, its shape, and its values in the way that takes least.

use super::super::bits::{Input, put_varint};
use super::super::codebook::Codebook;
use super::super::symbols::{self, Plan, count};
use super::MOST_AXES;
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, Result, bail, ensure};

/// The kinds of blobs.
pub const ABSENT: u8 = 0;
const FLOATS: u8 = 1;
const SPARSE_FLOATS: u8 = 2;
const CODES: u8 = 3;
const SPARSE_CODES: u8 = 4;

/// Adds a blob; the bits of its codes, if it is coded.
pub fn write(tensor: &Tensor, codebook: Option<&Codebook>, out: &mut Vec<u8>) -> Option<u32> {
    let data = &tensor.data;
    let kept = codebook.and_then(|book| Some((book.clone(), book.codes(data)?)));
    let must_code = kept.is_some();
    let coded = kept.or_else(|| {
        let book = Codebook::of_values(data, 1)?;
        let codes = book.codes(data)?;
        Some((book, codes))
    });
    let gaps = Gaps::new(data);
    let alive = |w: &f32| *w != 0.0;
    let mut best: Option<(u64, u8)> = None;
    let mut offer = |bytes: u64, kind: u8| {
        if best.is_none_or(|(b, _)| bytes < b) {
            best = Some((bytes, kind));
        }
    };
    let plans = coded.as_ref().map(|(book, codes)| {
        let mut counts = count(codes.iter().copied());
        let all = Plan::new(&counts[..1 << book.bits()], book.bits());
        counts[0] = 0;
        let some = Plan::new(&counts[..1 << book.bits()], book.bits());
        let own = 1 + floats(book.values()).iter().map(Plan::bytes).sum::<u64>();
        offer(own + all.bytes(), CODES);
        offer(own + gaps.bytes() + some.bytes(), SPARSE_CODES);
        (all, some)
    });
    let survivors: Vec<f32> = match must_code || gaps.entries.len() == data.len() {
        true => Vec::new(),
        false => data.iter().copied().filter(alive).collect(),
    };
    if !must_code {
        offer(floats(data).iter().map(Plan::bytes).sum(), FLOATS);
        if gaps.entries.len() < data.len() {
            let bytes: u64 = floats(&survivors).iter().map(Plan::bytes).sum();
            offer(bytes + gaps.bytes(), SPARSE_FLOATS);
        }
    }
    let kind = best.map_or(FLOATS, |(_, kind)| kind);
    out.push(kind);
    put_varint(tensor.shape.axes(), out);
    tensor.shape.dims().iter().for_each(|d| put_varint(*d, out));
    match (kind, coded, plans) {
        (CODES | SPARSE_CODES, Some((book, codes)), Some((all, some))) => {
            out.push(book.bits() as u8);
            write_floats(book.values(), out);
            if kind == CODES {
                all.write(codes.iter().copied(), out);
            } else {
                gaps.write(out);
                some.write(codes.iter().copied().filter(|c| *c != 0), out);
            }
            return Some(book.bits());
        }
        (SPARSE_FLOATS, ..) => {
            gaps.write(out);
            write_floats(&survivors, out);
        }
        _ => write_floats(data, out),
    }
    None
}

/// The plans of four bytes of each value, the lowest first.
fn floats(values: &[f32]) -> [Plan; 4] {
    std::array::from_fn(|k| Plan::new(&count(values.iter().map(|v| v.to_le_bytes()[k])), 8))
}

fn write_floats(values: &[f32], out: &mut Vec<u8>) {
    for (k, plan) in floats(values).iter().enumerate() {
        plan.write(values.iter().map(|v| v.to_le_bytes()[k]), out);
    }
}

fn read_floats(input: &mut Input<'_>, n: usize) -> Result<Vec<f32>> {
    let mut planes = Vec::new();
    for _ in 0..4 {
        planes.push(symbols::read(input, n, 8)?);
    }
    let value = |i| f32::from_le_bytes(std::array::from_fn(|k| planes[k][i]));
    Ok((0..n).map(value).collect())
}

/// The zeros before each value that is none.
struct Gaps {
    entries: Vec<u32>,
    width: u32,
    symbols: usize,
    plan: Plan,
}

impl Gaps {
    /// In the width that takes least.
    fn new(data: &[f32]) -> Self {
        let mut entries = Vec::new();
        let mut gap = 0;
        for w in data {
            if *w == 0.0 {
                gap += 1;
            } else {
                entries.push(gap);
                gap = 0;
            }
        }
        let of_width = |width| {
            let most = (1u32 << width) - 1;
            let mut counts = vec![0u64; 1usize << width];
            for gap in &entries {
                counts[(gap % most) as usize] += 1;
                counts[most as usize] += u64::from(gap / most);
            }
            let symbols = counts.iter().sum::<u64>() as usize;
            (Plan::new(&counts, width), symbols, width)
        };
        let (mut plan, mut symbols, mut width) = of_width(1);
        for other in (2..=8).map(of_width) {
            if other.0.bytes() < plan.bytes() {
                (plan, symbols, width) = other;
            }
        }
        Self {
            entries,
            width,
            symbols,
            plan,
        }
    }

    fn bytes(&self) -> u64 {
        let mut counts = Vec::new();
        put_varint(self.entries.len(), &mut counts);
        put_varint(self.symbols, &mut counts);
        1 + counts.len() as u64 + self.plan.bytes()
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_varint(self.entries.len(), out);
        out.push(self.width as u8);
        put_varint(self.symbols, out);
        let most = (1u32 << self.width) - 1;
        let symbols = self.entries.iter().flat_map(|gap| {
            let skips = std::iter::repeat_n(most as u8, (gap / most) as usize);
            skips.chain([(gap % most) as u8])
        });
        self.plan.write(symbols, out);
    }

    /// The places of the entries among `n` values.
    fn read(input: &mut Input<'_>, n: usize) -> Result<Vec<usize>> {
        let (entries, width, symbols) = (input.varint()?, input.byte()?, input.varint()?);
        ensure!(
            entries <= n && (1..=8).contains(&width) && (entries..=n).contains(&symbols),
            "expected at most {n} entries and gaps of 1 to 8 bits, found {entries} entries and {symbols} gaps of \
             {width} bits"
        );
        let most = (1usize << width) - 1;
        let mut places = Vec::with_capacity(entries);
        let mut at = 0;
        for gap in symbols::read(input, symbols, width.into())? {
            at += usize::from(gap);
            if usize::from(gap) < most {
                places.push(at);
                at += 1;
            }
        }
        ensure!(
            places.len() == entries && at <= n,
            "expected {entries} entries among {n} values, found {} among {at}",
            places.len()
        );
        Ok(places)
    }
}

/// The values that a file may still hold.
pub struct Budget {
    /// At the begin.
    pub most: u64,
    /// Now.
    pub left: u64,
}

impl Budget {
    fn spend(&mut self, shape: &[usize]) -> Result<usize> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let n = count.filter(|n| *n as u64 <= self.left).with_context(|| {
            format!(
                "expected at most the {} values that a file of this length may hold, found a shape of {shape:?}",
                self.most
            )
        })?;
        self.left -= n as u64;
        Ok(n)
    }
}

/// Reads what [`write`] has written.
pub fn read(
    input: &mut Input<'_>,
    budget: &mut Budget,
) -> Result<Option<(Tensor, Option<Codebook>)>> {
    let kind = input.byte()?;
    if kind == ABSENT {
        return Ok(None);
    }
    let axes = input.varint()?;
    ensure!(
        axes <= MOST_AXES,
        "expected at most {MOST_AXES} axes, found {axes}"
    );
    let dims: Vec<usize> = (0..axes).map(|_| input.varint()).collect::<Result<_>>()?;
    let n = budget.spend(&dims)?;
    let shape = Shape::new(dims);
    let tensor = |data| Tensor { shape, data };
    let book = match kind {
        CODES | SPARSE_CODES => Some(read_codebook(input)?),
        _ => None,
    };
    let data = match (kind, &book) {
        (FLOATS, _) => read_floats(input, n)?,
        (SPARSE_FLOATS, _) => {
            let places = Gaps::read(input, n)?;
            let values = read_floats(input, places.len())?;
            scatter(n, &places, &values)
        }
        (CODES, Some(book)) => {
            let codes = symbols::read(input, n, book.bits())?;
            let mut data = vec![0.0; n];
            book.decode(&codes, &mut data);
            data
        }
        (SPARSE_CODES, Some(book)) => {
            let places = Gaps::read(input, n)?;
            let codes = symbols::read(input, places.len(), book.bits())?;
            let mut values = vec![0.0; places.len()];
            book.decode(&codes, &mut values);
            scatter(n, &places, &values)
        }
        _ => bail!("expected a blob of a kind up to {SPARSE_CODES}, found {kind}"),
    };
    Ok(Some((tensor(data), book)))
}

fn read_codebook(input: &mut Input<'_>) -> Result<Codebook> {
    let bits = u32::from(input.byte()?);
    ensure!(
        (1..=8).contains(&bits),
        "expected codes of 1 to 8 bits, found {bits}"
    );
    let values = read_floats(input, 1usize << bits)?;
    Codebook::new(bits, values).context("expected a codebook of finite values, the first of them 0")
}

fn scatter(n: usize, places: &[usize], values: &[f32]) -> Vec<f32> {
    let mut data = vec![0.0; n];
    for (place, value) in places.iter().zip(values) {
        data[*place] = *value;
    }
    data
}
