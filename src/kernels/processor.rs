//! Which kind of processor this is: what a multiplication costs beside a load differs from one to the next, and so
//! does the kernel that is the fastest for a layer.

use super::bf16::Hardware;
use super::simd::{Isa, Set};
use std::sync::OnceLock;

/// Processors whose kernels' costs are told apart ([`Costs`](crate::kernels::convolution::choice::Costs)): by their core and the
/// instruction set that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// AMD's Zen 2 and Zen 3, with AVX2.
    Zen3,
    /// AMD's Zen 4 and Zen 5, with AVX-512.
    Zen4,
    /// Intel's servers from Skylake to Ice Lake, with AVX-512.
    Skylake,
    /// Intel's servers from Sapphire Rapids on, with AVX-512.
    SapphireRapids,
    /// Any other with AVX2.
    Avx2,
    /// Any, in plain Rust.
    Portable,
}

impl Processor {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Zen3,
        Self::Zen4,
        Self::Skylake,
        Self::SapphireRapids,
        Self::Avx2,
        Self::Portable,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zen3 => "Zen 2, Zen 3",
            Self::Zen4 => "Zen 4, Zen 5",
            Self::Skylake => "Skylake-X to Ice Lake",
            Self::SapphireRapids => "Sapphire Rapids and later",
            Self::Avx2 => "others with AVX2",
            Self::Portable => "plain Rust",
        }
    }

    /// This one, as kernels of `isa` run on it.
    pub fn of(isa: Isa) -> Self {
        // Weights are packed in every iteration, and CPUID leaves a virtual machine each time.
        static HERE: OnceLock<Cpu> = OnceLock::new();
        Self::named(isa.set(), HERE.get_or_init(Cpu::here))
    }

    /// That of a core, where kernels use `set`.
    fn named(set: Set, cpu: &Cpu) -> Self {
        match set {
            Set::Portable => Self::Portable,
            Set::Avx2 if cpu.vendor == *b"AuthenticAMD" && matches!(cpu.family, 0x17 | 0x19) => {
                Self::Zen3
            }
            Set::Avx2 => Self::Avx2,
            Set::Avx512 if cpu.vendor == *b"AuthenticAMD" => Self::Zen4,
            // Sapphire Rapids was the first with AMX, and its successors have it.
            Set::Avx512 if cpu.amx => Self::SapphireRapids,
            Set::Avx512 => Self::Skylake,
        }
    }
}

/// What CPUID says of a core.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    vendor: [u8; 12],
    family: u32,
    amx: bool,
}

impl Cpu {
    #[cfg(target_arch = "x86_64")]
    fn here() -> Self {
        let [first, one] = [0, 1].map(std::arch::x86_64::__cpuid);
        let mut vendor = [0; 12];
        for (to, from) in vendor.chunks_mut(4).zip([first.ebx, first.edx, first.ecx]) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        let base = one.eax >> 8 & 15;
        let more = if base == 15 { one.eax >> 20 & 255 } else { 0 };
        Self {
            vendor,
            family: base + more,
            amx: Hardware::here().amx_tile,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn here() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_known_by_vendor_family_and_what_they_have() {
        let amd = |family| Cpu {
            vendor: *b"AuthenticAMD",
            family,
            amx: false,
        };
        let intel = |amx| Cpu {
            vendor: *b"GenuineIntel",
            family: 6,
            amx,
        };
        use Processor::{SapphireRapids, Skylake, Zen3, Zen4};
        for (set, cpu, wanted) in [
            (Set::Avx2, amd(0x17), Zen3),
            (Set::Avx2, amd(0x19), Zen3),
            (Set::Avx2, amd(0x1a), Processor::Avx2),
            (Set::Avx2, intel(true), Processor::Avx2),
            (Set::Avx512, amd(0x19), Zen4),
            (Set::Avx512, amd(0x1a), Zen4),
            (Set::Avx512, intel(false), Skylake),
            (Set::Avx512, intel(true), SapphireRapids),
            (Set::Portable, amd(0x19), Processor::Portable),
        ] {
            assert_eq!(Processor::named(set, &cpu), wanted, "{set:?} {cpu:x?}");
        }
        // Whatever this machine is, it has a row.
        assert!(Processor::ALL.contains(&Processor::of(Isa::best())));
    }
}
