//! Random numbers that are counted, not streamed: each is a function of the run's seed, of what it is
//! for, and of an index. So a resumed run, another number of threads or another order of work draws
//! the same numbers.

/// What a random number is for; two purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights; the stream is the parameter.
    Filler,
    /// Crops and mirrors; the index is the picture's number in the run.
    Transform,
    /// Dropout and other layers; the stream is the layer.
    Layer,
    /// The order of a shuffled list.
    Shuffle,
    /// Masks drawn by chance; the stream is the parameter.
    Mask,
    /// Labels that are wrong on purpose; the index is the record's number in its database.
    Labels,
}

/// A source of random numbers for one purpose and stream.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: u64,
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input reaches every bit of
/// the output.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The numbers of `purpose` and `stream` in a run with `seed`.
    pub fn new(seed: u64, purpose: Purpose, stream: u64) -> Self {
        Self {
            key: mix(mix(seed ^ mix(purpose as u64 + 1)) ^ stream),
        }
    }

    /// The same purpose further divided, by iteration for instance.
    pub fn branch(self, stream: u64) -> Self {
        Self {
            key: mix(self.key ^ mix(stream)),
        }
    }

    /// 64 random bits.
    pub fn bits(self, index: u64) -> u64 {
        mix(self.key ^ mix(index))
    }

    /// Uniform in [0, 1).
    pub fn unit(self, index: u64) -> f32 {
        (self.bits(index) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Uniform in 0..n (0 for n = 0).
    pub fn below(self, index: u64, n: usize) -> usize {
        ((u128::from(self.bits(index)) * n as u128) >> 64) as usize
    }

    /// Standard normal, by Box and Muller's method (1958).
    pub fn normal(self, index: u64) -> f32 {
        let bits = self.bits(index);
        let u = ((bits >> 32) as f64 + 1.0) / (u64::from(u32::MAX) as f64 + 1.0);
        let v = f64::from(bits as u32) / (u64::from(u32::MAX) as f64 + 1.0);
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let r = Random::new(7, Purpose::Filler, 3);
        let n = 200_000;
        let (mut u, mut m, mut v) = (0.0f64, 0.0f64, 0.0f64);
        for i in 0..n {
            u += f64::from(r.unit(i));
            let x = f64::from(r.normal(i));
            m += x;
            v += x * x;
        }
        let n = n as f64;
        assert!((u / n - 0.5).abs() < 5e-3, "{}", u / n);
        assert!((m / n).abs() < 1e-2, "{}", m / n);
        assert!((v / n - 1.0).abs() < 2e-2, "{}", v / n);
    }

    #[test]
    fn streams_and_purposes_differ() {
        let a = Random::new(1, Purpose::Filler, 0);
        assert_eq!(a.bits(5), Random::new(1, Purpose::Filler, 0).bits(5));
        assert_ne!(a.bits(5), Random::new(1, Purpose::Filler, 1).bits(5));
        assert_ne!(a.bits(5), Random::new(1, Purpose::Layer, 0).bits(5));
        assert_ne!(a.bits(5), Random::new(2, Purpose::Filler, 0).bits(5));
        assert_ne!(a.bits(5), a.branch(0).bits(5));
    }
}
