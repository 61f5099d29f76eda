//! How the rate and the density of a phase will go, before it runs.

use super::Solver;
use super::lr_policy::LrPolicy;
use super::mask::Mask;
use super::schedule::acdc::AcDc;
use super::schedule::{Cubic, Schedule};
use super::sparsity::Sparsity;
use anyhow::Result;

/// The course of a phase.
pub struct Forecast {
    policy: LrPolicy,
    course: Course,
}

/// The density over the iterations.
enum Course {
    /// As it is from the start.
    Constant(f64),
    /// The schedule, the weights that it does not prune, and all.
    Cubic(Cubic, usize, usize),
    /// The turns, and the density of the sparse stretches.
    AcDc(AcDc, f64),
}

impl Solver {
    /// The course from where the solver stands, with its masks and schedule in place.
    ///
    /// # Errors
    /// The schedule has rules that do not fit the net.
    pub fn forecast(&self) -> Result<Forecast> {
        let course = match &self.schedule {
            Some(Schedule::Cubic(cubic)) => {
                let (alive, all) = self.held();
                let zeros: usize = cubic.ramps.iter().map(|r| cubic.zeros(r, self.iter)).sum();
                Course::Cubic(cubic.clone(), alive + zeros, all)
            }
            Some(Schedule::AcDc(acdc)) => {
                let masks = self.masks_for(&Sparsity::parse(&acdc.sparsity)?)?;
                let count = |f: fn(&Mask) -> usize| masks.iter().map(|(_, m)| f(m)).sum::<usize>();
                Course::AcDc(acdc.clone(), part(count(Mask::alive), count(Mask::count)))
            }
            Some(Schedule::RigL(_) | Schedule::SrSte(_)) | None => {
                let (alive, all) = self.held();
                Course::Constant(part(alive, all))
            }
        };
        Ok(Forecast {
            policy: self.policy.clone(),
            course,
        })
    }

    /// The prunable weights that no mask or codebook holds at 0, and all of them.
    fn held(&self) -> (usize, usize) {
        let params = self.net.params().iter().enumerate();
        let counts = params
            .filter(|(_, p)| p.prunable)
            .map(|(id, _)| self.alive(id));
        counts.fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1))
    }
}

impl Forecast {
    /// The learning rate of iteration `iter`.
    pub fn rate(&self, iter: u64) -> f32 {
        self.policy.rate(iter)
    }

    /// The part of the prunable weights that is trained at iteration `iter`.
    pub fn density(&self, iter: u64) -> f64 {
        match &self.course {
            Course::Constant(density) => *density,
            Course::Cubic(cubic, rest, all) => {
                let zeros: usize = cubic.ramps.iter().map(|r| cubic.zeros(r, iter)).sum();
                part(rest.saturating_sub(zeros), *all)
            }
            Course::AcDc(acdc, density) => match acdc.is_sparse(iter) {
                true => *density,
                false => 1.0,
            },
        }
    }
}

fn part(alive: usize, all: usize) -> f64 {
    match all {
        0 => 1.0,
        n => alive as f64 / n as f64,
    }
}
