//! AMX: products of bfloat16 tiles on processors that have them.
//!
//! A tile is 16 rows of 64 bytes. A product adds A·B to sixteen by sixteen sums in float32: a row of A is 32 numbers in a
//! row, and row i of B is numbers 2i and 2i + 1 of sixteen columns, side by side. Denormal numbers count as 0 and sums
//! are rounded to the nearest, whatever the thread has set, and pairs are added before they come to the sum: the last
//! digits are not those of a loop in float32.
//!
//! Linux grants the registers' state to a process that asks for it, and each thread sets the tiles' shapes for the time
//! of a task ([`Tiles`]).

#![allow(unsafe_code, clippy::missing_safety_doc)]

use super::bf16::Hardware;
use super::simd::{Isa, Set};
use std::sync::OnceLock;

/// Rows of a tile: pixels of A, pairs of elements of B.
pub const ROWS: usize = 16;

/// Elements of a row of A: what one product adds up.
pub const DEPTH: usize = 32;

/// Columns of B and of the sums.
pub const COLUMNS: usize = 16;

/// Elements of a tile of B.
pub const PANEL: usize = DEPTH * COLUMNS;

/// The most tiles of sums that a product fills.
pub const SUMS: usize = 4;

/// Floats of a tile of sums.
pub const TILE: usize = ROWS * COLUMNS;

/// That this process may run AMX's instructions, and those of AVX-512 that its kernels use: only a look at the
/// processor and the kernel's permission make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amx(());

/// What came of asking for AMX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may be used.
    Granted(Amx),
    /// The processor does not have it, or not all that goes with it.
    Missing,
    /// The processor has it and the operating system does not grant it; its error number.
    Refused(i32),
}

impl Amx {
    /// AMX, where the kernels of this process run on AVX-512 and may use it.
    pub fn here() -> Option<Self> {
        match Self::state() {
            State::Granted(amx) if Isa::current().set() == Set::Avx512 => Some(amx),
            _ => None,
        }
    }

    /// Asks for it, once a process.
    pub fn state() -> State {
        static STATE: OnceLock<State> = OnceLock::new();
        *STATE.get_or_init(ask)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ask() -> State {
    use std::arch::x86_64::{__cpuid, _xgetbv};
    /// `ARCH_REQ_XCOMP_PERM` and the number of the tiles' state.
    const REQUEST: [i64; 2] = [0x1023, 18];
    #[target_feature(enable = "xsave")]
    unsafe fn enabled() -> u64 {
        // SAFETY: the caller has seen OSXSAVE.
        unsafe { _xgetbv(0) }
    }
    let hardware = Hardware::here();
    let vectors = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    let saves = __cpuid(1).ecx >> 27 & 1 == 1;
    if !(hardware.has_amx() && hardware.avx512_bf16 && vectors && saves) {
        return State::Missing;
    }
    // SAFETY: OSXSAVE says that the instruction is there.
    if unsafe { enabled() } >> 17 & 3 != 3 {
        return State::Missing;
    }
    // SAFETY: the call only asks for a permission.
    match unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST[0], REQUEST[1]) } {
        0 => State::Granted(Amx(())),
        _ => State::Refused(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn ask() -> State {
    State::Missing
}

/// The tiles of this thread, set to their full size until this is dropped.
pub struct Tiles(());

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Amx, ROWS, SUMS, Tiles};
    use std::arch::asm;

    /// The tiles' shapes as `ldtilecfg` reads them: eight of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Shapes([u8; 64]);

    static SHAPES: Shapes = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut i = 0;
        while i < 8 {
            bytes[16 + 2 * i] = 64;
            bytes[48 + i] = ROWS as u8;
            i += 1;
        }
        Shapes(bytes)
    };

    impl Tiles {
        /// Sets the shapes.
        pub fn new(_: Amx) -> Self {
            // SAFETY: an `Amx` says that the process may use the tiles.
            unsafe { asm!("ldtilecfg [{}]", in(reg) SHAPES.0.as_ptr(), options(nostack)) };
            Self(())
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // Else the tiles' 8 KB would travel with every change of threads.
            // SAFETY: as above.
            unsafe { asm!("tilerelease", options(nostack)) };
        }
    }

    /// Defines a product of one shape: `start` clears or loads the sums, `step` multiplies.
    macro_rules! product {
        ($name:ident, [$($sum:literal),*], $step:expr) => {
            #[inline(always)]
            unsafe fn $name(
                a: &[*const u16; SUMS],
                a_step: usize,
                offsets: &[usize],
                b: [*const u16; 2],
                sums: *mut f32,
                fresh: bool,
            ) {
                // SAFETY: as the caller of `product` says.
                unsafe {
                    asm!(
                        "test {fresh}, {fresh}",
                        "jz 3f",
                        $(concat!("tilezero tmm", $sum),)*
                        "jmp 2f",
                        "3:",
                        $(concat!("tileloadd tmm", $sum, ", [{sums} + {line}*1 + 1024*", $sum, "]"),)*
                        "2:",
                        "mov {o}, [{offsets}]",
                        $step,
                        "add {offsets}, 8",
                        "add {b0}, 1024",
                        "add {b1}, 1024",
                        "dec {n}",
                        "jnz 2b",
                        $(concat!("tilestored [{sums} + {line}*1 + 1024*", $sum, "], tmm", $sum),)*
                        fresh = in(reg) u64::from(fresh),
                        a = in(reg) a.as_ptr(),
                        offsets = inout(reg) offsets.as_ptr() => _,
                        n = inout(reg) offsets.len() => _,
                        b0 = inout(reg) b[0] => _,
                        b1 = inout(reg) b[1] => _,
                        pixel = in(reg) a_step,
                        line = in(reg) 64usize,
                        sums = in(reg) sums,
                        o = out(reg) _,
                        t = out(reg) _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            }
        };
    }

    /// The next tile of A, number `$i`, to a register.
    macro_rules! rows {
        ($i:literal, $to:literal) => {
            concat!(
                "mov {t}, [{a} + 8*",
                $i,
                "]\nadd {t}, {o}\ntileloadd tmm",
                $to,
                ", [{t} + {pixel}*1]\n"
            )
        };
    }

    /// A tile of B to a register.
    macro_rules! panel {
        ($i:literal, $to:literal) => {
            concat!("tileloadd tmm", $to, ", [{b", $i, "} + {line}*1]\n")
        };
    }

    macro_rules! dot {
        ($sum:literal, $a:literal, $b:literal) => {
            concat!("tdpbf16ps tmm", $sum, ", tmm", $a, ", tmm", $b, "\n")
        };
    }

    // Loads and products take turns: four loads at once would leave the multiplier waiting.
    product!(
        two_by_two,
        [0, 1, 2, 3],
        concat!(
            rows!(0, 4),
            panel!(0, 6),
            dot!(0, 4, 6),
            panel!(1, 7),
            dot!(1, 4, 7),
            rows!(1, 5),
            dot!(2, 5, 6),
            dot!(3, 5, 7)
        )
    );
    product!(
        one_by_two,
        [0, 1],
        concat!(
            rows!(0, 4),
            panel!(0, 6),
            dot!(0, 4, 6),
            panel!(1, 7),
            dot!(1, 4, 7)
        )
    );
    product!(
        four_by_one,
        [0, 1, 2, 3],
        concat!(
            panel!(0, 6),
            rows!(0, 4),
            dot!(0, 4, 6),
            rows!(1, 5),
            dot!(1, 5, 6),
            rows!(2, 4),
            dot!(2, 4, 6),
            rows!(3, 5),
            dot!(3, 5, 6)
        )
    );
    product!(
        two_by_one,
        [0, 1],
        concat!(
            panel!(0, 6),
            rows!(0, 4),
            dot!(0, 4, 6),
            rows!(1, 5),
            dot!(1, 5, 6)
        )
    );
    product!(
        one_by_one,
        [0],
        concat!(panel!(0, 6), rows!(0, 4), dot!(0, 4, 6))
    );

    impl Tiles {
        /// sums\[r\]\[c\] ← Σ over `offsets` of A's tile r · B's tile c, for `shape` tiles of A and B (at most four of A with
        /// one of B, two with two); added to what is there unless `fresh`. Row i of A's tile r is the 32 numbers at
        /// `a[r]` + i·`a_step` + offset, both in bytes; B's tiles of one column follow each other.
        ///
        /// # Safety
        /// All that is there to be read and written, and no offset is missing.
        #[inline(always)]
        pub unsafe fn product(
            &self,
            shape: [usize; 2],
            a: &[*const u16; SUMS],
            a_step: usize,
            offsets: &[usize],
            b: [*const u16; 2],
            sums: *mut f32,
            fresh: bool,
        ) {
            debug_assert!(!offsets.is_empty());
            // SAFETY: as the caller says.
            unsafe {
                match shape {
                    [2, 2] => two_by_two(a, a_step, offsets, b, sums, fresh),
                    [1, 2] => one_by_two(a, a_step, offsets, b, sums, fresh),
                    [4, 1] => four_by_one(a, a_step, offsets, b, sums, fresh),
                    [2, 1] => two_by_one(a, a_step, offsets, b, sums, fresh),
                    [1, 1] => one_by_one(a, a_step, offsets, b, sums, fresh),
                    [r, c] => unreachable!("tiles of {r} by {c}"),
                }
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Tiles {
    /// Nobody has an [`Amx`] here.
    pub fn new(_: Amx) -> Self {
        Self(())
    }

    /// See above.
    pub unsafe fn product(
        &self,
        _: [usize; 2],
        _: &[*const u16; SUMS],
        _: usize,
        _: &[usize],
        _: [*const u16; 2],
        _: *mut f32,
        _: bool,
    ) {
        unreachable!("no AMX")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{bf16::nearest, noise};

    fn halves(x: &[f32]) -> Vec<u16> {
        x.iter()
            .map(|v| (nearest(*v).to_bits() >> 16) as u16)
            .collect()
    }

    fn value(half: u16) -> f32 {
        f32::from_bits(u32::from(half) << 16)
    }

    #[test]
    fn products_of_every_shape() {
        let Some(amx) = Amx::here() else {
            eprintln!("skipped: no AMX here");
            return;
        };
        let steps = 3;
        let (a, b) = (noise(1, 4 * 16 * 96 + 64), noise(2, 2 * steps * PANEL));
        let (a, b) = (halves(&a), halves(&b));
        let offsets = [0, 64, 128];
        for shape in [[2, 2], [1, 2], [4, 1], [2, 1], [1, 1]] {
            let tiles = Tiles::new(amx);
            let mut sums = [7.0f32; SUMS * TILE];
            let starts = [0, 1, 2, 3].map(|r| a[r * 16 * 96..].as_ptr());
            let panels = [0, 1].map(|c| b[c * steps * PANEL..].as_ptr());
            for fresh in [true, false] {
                // SAFETY: four tiles of 16 rows of 96 numbers, two panels of three steps, four tiles of sums.
                unsafe {
                    tiles.product(
                        shape,
                        &starts,
                        192,
                        &offsets,
                        panels,
                        sums.as_mut_ptr(),
                        fresh,
                    );
                }
            }
            drop(tiles);
            for r in 0..shape[0] {
                for c in 0..shape[1] {
                    for i in 0..256 {
                        let (row, column) = (i / 16, i % 16);
                        let mut want = 0.0f64;
                        for k in 0..96 {
                            let x = value(a[(r * 16 + row) * 96 + k]);
                            let y = value(b[c * steps * PANEL + k / 2 * 32 + column * 2 + k % 2]);
                            want += 2.0 * f64::from(x) * f64::from(y);
                        }
                        let got = f64::from(sums[(r * shape[1] + c) * TILE + i]);
                        assert!(
                            (got - want).abs() < 1e-4 * want.abs().max(1.0),
                            "{shape:?} {r} {c} {i}: {got} {want}"
                        );
                    }
                }
            }
        }
    }
}
