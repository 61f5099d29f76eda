//! The .npy form of one array: a magic number, a header that is a Python dict, the numbers.

use std::io::Read;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::memory;
use crate::tensor::{Shape, Tensor};

/// What a header says.
#[derive(Debug)]
pub struct Header {
    /// The element type as NumPy writes it: `<f4`.
    descr: String,
    /// Whether the first axis is the innermost in the data.
    fortran: bool,
    /// The sizes.
    pub shape: Vec<usize>,
}

/// How an element is stored.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    letter: u8,
    size: usize,
    big_endian: bool,
}

impl Header {
    /// Reads a header (versions 1 to 3), leaving the reader at the numbers.
    pub fn read(reader: &mut impl Read) -> Result<Self> {
        let mut start = [0; 8];
        reader.read_exact(&mut start).context("no .npy header")?;
        ensure!(start.starts_with(b"\x93NUMPY"), "not in NumPy's .npy form");
        let length = match start[6] {
            1 => {
                let mut n = [0; 2];
                reader.read_exact(&mut n).context("no .npy header")?;
                u32::from(u16::from_le_bytes(n))
            }
            2 | 3 => {
                let mut n = [0; 4];
                reader.read_exact(&mut n).context("no .npy header")?;
                u32::from_le_bytes(n)
            }
            version => bail!("expected .npy version 1, 2 or 3, found {version}"),
        };
        let mut text = Vec::new();
        reader
            .take(u64::from(length))
            .read_to_end(&mut text)
            .context("damaged")?;
        ensure!(
            text.len() == length as usize,
            "the .npy header is truncated"
        );
        let text = String::from_utf8(text).context("the .npy header is not text")?;
        Self::parse(&text)
    }

    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
    fn parse(text: &str) -> Result<Self> {
        let bad = |key: &str| {
            anyhow!(
                "expected {key:?} in the .npy header, found {:?}",
                text.trim()
            )
        };
        let value = |key: &str| -> Result<&str> {
            let quoted = ['\'', '"'].map(|q| format!("{q}{key}{q}"));
            let at = quoted
                .iter()
                .find_map(|k| Some(text.find(k)? + k.len()))
                .ok_or_else(|| bad(key))?;
            let rest = text[at..].trim_start().strip_prefix(':');
            Ok(rest.ok_or_else(|| bad(key))?.trim_start())
        };
        let descr = value("descr")?;
        let descr = match descr.chars().next() {
            Some(quote @ ('\'' | '"')) => descr[1..].split(quote).next().unwrap_or_default(),
            // A list: a record type.
            _ => "a record",
        };
        let order = value("fortran_order")?;
        let fortran = match (order.starts_with("True"), order.starts_with("False")) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err(bad("fortran_order")),
        };
        let shape = value("shape")?
            .strip_prefix('(')
            .and_then(|s| s.split(')').next())
            .ok_or_else(|| bad("shape"))?
            .split(',')
            .map(|n| n.trim().trim_end_matches('L'))
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().map_err(|_| bad("shape")))
            .collect::<Result<Vec<usize>>>()?;
        ensure!(
            shape.len() <= 32,
            "expected at most 32 axes, found {}",
            shape.len()
        );
        Ok(Self {
            descr: descr.to_owned(),
            fortran,
            shape,
        })
    }

    /// How the elements are stored; `None` for text.
    pub fn kind(&self) -> Result<Option<Kind>> {
        let unknown = || {
            anyhow!(
                "expected numbers (float32, float64, integers), found {}",
                self.descr
            )
        };
        let (order, rest) = match self.descr.as_bytes() {
            [order @ (b'<' | b'>' | b'|' | b'='), rest @ ..] => (*order, rest),
            rest => (b'=', rest),
        };
        match rest {
            [b'U' | b'S', ..] => Ok(None),
            [letter @ b'f', size @ (b'4' | b'8')]
            | [letter @ (b'i' | b'u'), size @ (b'1' | b'2' | b'4' | b'8')]
            | [letter @ b'b', size @ b'1'] => Ok(Some(Kind {
                letter: *letter,
                size: usize::from(size - b'0'),
                big_endian: order == b'>' || order == b'=' && cfg!(target_endian = "big"),
            })),
            _ => Err(unknown()),
        }
    }

    /// The number of bytes of the numbers.
    pub fn bytes(&self, kind: Kind) -> Result<usize> {
        // Zero-sized axes count as one, so that the other axes cannot overflow where they are multiplied.
        let mut sizes = self.shape.iter().map(|&n| n.max(1));
        let room = sizes.try_fold(kind.size, usize::checked_mul);
        ensure!(
            room.is_some_and(|n| n <= isize::MAX as usize),
            "shape {:?} is too large",
            self.shape
        );
        Ok(self.shape.iter().product::<usize>() * kind.size)
    }

    /// The array of the right number of bytes, as float32 in C order.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn tensor(&self, kind: Kind, bytes: &[u8]) -> Result<Tensor> {
        let count = bytes.len() / kind.size;
        let what = || format!("an array of shape {:?}", self.shape);
        let reserve = |v: &mut Vec<f32>| memory::reserve(v, count, what, "read a smaller array");
        let mut numbers = Vec::new();
        reserve(&mut numbers)?;
        numbers.extend(bytes.chunks_exact(kind.size).map(|b| kind.number(b)));
        let shape = Shape::from(self.shape.as_slice());
        if !self.fortran || self.shape.len() < 2 {
            return Ok(Tensor {
                shape,
                data: numbers,
            });
        }
        let mut data = Vec::new();
        reserve(&mut data)?;
        from_fortran(&self.shape, &numbers, &mut data);
        Ok(Tensor { shape, data })
    }
}

impl Kind {
    fn number(self, stored: &[u8]) -> f32 {
        let mut b = [0; 8];
        let b8 = &mut b[..stored.len()];
        b8.copy_from_slice(stored);
        if self.big_endian {
            b8.reverse();
        }
        let [b0, b1, b2, b3, ..] = b;
        match (self.letter, self.size) {
            (b'f', 4) => f32::from_le_bytes([b0, b1, b2, b3]),
            (b'f', _) => f64::from_le_bytes(b) as f32,
            (b'i', 1) => f32::from(b0 as i8),
            (b'i', 2) => f32::from(i16::from_le_bytes([b0, b1])),
            (b'i', 4) => i32::from_le_bytes([b0, b1, b2, b3]) as f32,
            (b'i', _) => i64::from_le_bytes(b) as f32,
            // Unsigned numbers and truth values; the bytes past the number are zero.
            _ => u64::from_le_bytes(b) as f32,
        }
    }
}

/// Adds to `data` numbers stored with the first axis innermost, in C order.
fn from_fortran(shape: &[usize], numbers: &[f32], data: &mut Vec<f32>) {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &n in shape {
        strides.push(stride);
        stride *= n;
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..numbers.len() {
        data.push(numbers[at]);
        // The next index in C order: the last axis counts fastest.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
}

/// The header of a float32 array, padded so that the numbers start at a multiple of 64 bytes.
pub fn header(shape: &Shape) -> Vec<u8> {
    let sizes: Vec<String> = shape.dims().iter().map(|n| format!("{n},")).collect();
    let mut dict = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
        match sizes.len() {
            1 => sizes.concat(),
            _ => sizes.join(" ").trim_end_matches(',').to_owned(),
        }
    );
    let padded = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    dict.extend(std::iter::repeat_n(' ', padded - dict.len() - 1));
    dict.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((dict.len() as u16).to_le_bytes());
    header.extend(dict.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_what_numpy_writes() {
        let text =
            |dims: &[usize]| String::from_utf8_lossy(&header(&Shape::from(dims))).into_owned();
        assert!(text(&[2, 3]).contains("'shape': (2, 3), }"));
        assert!(text(&[5]).contains("'shape': (5,), }"));
        assert!(text(&[]).contains("'shape': (), }"));
        for dims in [&[2, 3][..], &[], &[1; 20]] {
            let bytes = header(&Shape::from(dims));
            assert_eq!(bytes.len() % 64, 0);
            let read = Header::read(&mut &bytes[..]).unwrap();
            assert_eq!((read.shape.as_slice(), read.fortran), (dims, false));
        }
    }

    #[test]
    fn fortran_order_in_three_axes() {
        // numpy.arange(24).reshape(2, 3, 4).ravel(order="F") is 0, 12, 4, 16, 8, 20, 1 …
        let shape = [2, 3, 4];
        let mut stored = Vec::new();
        for k in 0..4 {
            for j in 0..3 {
                for i in 0..2 {
                    stored.push((i * 12 + j * 4 + k) as f32);
                }
            }
        }
        let expected: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let mut data = Vec::new();
        from_fortran(&shape, &stored, &mut data);
        assert_eq!(data, expected);
    }
}
