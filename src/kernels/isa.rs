//! Which instruction sets the kernels know, and which of them this processor has.

use anyhow::{Result, bail};
use std::ffi::OsStr;
use std::sync::OnceLock;

/// What [`Isa::choose`] has said.
static CHOSEN: OnceLock<Isa> = OnceLock::new();

/// An instruction set that the kernels know, whether this processor has it or not. A set includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Plain Rust.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
}

impl Set {
    /// All of them, the plainest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The word for it in `DSD_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// An instruction set that this processor has. Only a look at the processor makes one, so that who holds one
/// may run its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

impl Isa {
    /// Plain Rust, which runs everywhere.
    pub const PORTABLE: Self = Self(Set::Portable);

    /// The best set that this processor has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Self(Set::Avx512);
            }
            if avx2 {
                return Self(Set::Avx2);
            }
        }
        Self::PORTABLE
    }

    /// `set`, if this processor has it.
    pub fn of(set: Set) -> Option<Self> {
        (set <= Self::best().0).then_some(Self(set))
    }

    /// Every set that this processor has, the plainest first: what a test of a kernel goes through.
    pub fn all() -> impl Iterator<Item = Self> {
        Set::ALL.into_iter().filter_map(Self::of)
    }

    /// The choice of this process: [`choose`](Self::choose)'s, else the best.
    pub fn current() -> Self {
        *CHOSEN.get_or_init(|| {
            // The tests of this library run in a program that has no `main` to choose.
            #[cfg(test)]
            if let Some(name) = std::env::var_os("DSD_ISA") {
                return Self::asked(&name).unwrap();
            }
            Self::best()
        })
    }

    /// Makes this the choice of the process, before anything is computed; whoever comes later changes nothing.
    pub fn choose(self) {
        CHOSEN.get_or_init(|| self);
    }

    /// The set of that name, a value of `DSD_ISA`.
    ///
    /// # Errors
    /// There is no such set, or the processor does not have it.
    pub fn asked(name: &OsStr) -> Result<Self> {
        let Some(set) = Set::ALL.into_iter().find(|set| name == set.name()) else {
            bail!(
                "DSD_ISA is '{}'; it can be portable, avx2 or avx512",
                name.to_string_lossy()
            );
        };
        let Some(isa) = Self::of(set) else {
            bail!(
                "DSD_ISA asks for {}, which this processor does not have; the best here is {}",
                set.name(),
                Self::best().name()
            );
        };
        Ok(isa)
    }

    /// Which set it is.
    pub fn set(self) -> Set {
        self.0
    }

    /// The word for it in `DSD_ISA`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_the_sets_up_to_its_best() {
        let all: Vec<Isa> = Isa::all().collect();
        assert_eq!(all.first(), Some(&Isa::PORTABLE));
        assert_eq!(all.last(), Some(&Isa::best()));
        for set in Set::ALL {
            let there = all.iter().any(|isa| isa.set() == set);
            assert_eq!(Isa::of(set).is_some(), there, "{set:?}");
        }
        assert!(all.contains(&Isa::current()));
    }
}
