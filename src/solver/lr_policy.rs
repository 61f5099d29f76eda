//! The learning rate as a function of the iteration, by Caffe's `lr_policy`.

use crate::proto::SolverParameter;
use anyhow::{Result, bail};

/// A learning rate policy with its numbers, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct LrPolicy {
    base: f32,
    kind: Kind,
    rise: Option<Rise>,
    /// The rate never falls below it.
    least: f32,
    /// The iteration of the policy with which the phase begins.
    from: u64,
}

/// How the rate begins, in two forks of Caffe.
#[derive(Clone, Debug, PartialEq)]
struct Rise {
    iterations: u64,
    start: f32,
    /// NVIDIA's `rampup_interval`: with the square of the iteration. Intel's `warmup_iter`: linearly.
    square: bool,
}

impl Rise {
    fn new(solver: &SolverParameter) -> Result<Option<Self>> {
        let count = |name: &str, n: i32| match u64::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) => bail!("{name} must not be negative, but is {n}"),
        };
        let linear = count("warmup_iter", solver.warmup_iter())?;
        let square = count("rampup_interval", solver.rampup_interval())?;
        Ok(match (linear, square) {
            (0, 0) => None,
            (iterations, 0) => Some(Self {
                iterations,
                start: solver.warmup_start_lr(),
                square: false,
            }),
            (0, iterations) => Some(Self {
                iterations,
                start: solver.rampup_lr(),
                square: true,
            }),
            _ => bail!(
                "the solver has warmup_iter (of Intel's Caffe) and rampup_interval (of NVIDIA's); keep one"
            ),
        })
    }

    /// The rate of an iteration before the last of these, on the way to `base`.
    fn rate(&self, iter: u64, base: f32) -> f32 {
        let (i, n) = (iter as f32, self.iterations as f32);
        if self.square {
            let part = i / n;
            self.start + (base - self.start) * part * part
        } else {
            (i * base + (n - i) * self.start) / n
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Fixed,
    Step {
        gamma: f32,
        size: u64,
    },
    Exp {
        gamma: f32,
    },
    Inv {
        gamma: f32,
        power: f32,
    },
    MultiStep {
        gamma: f32,
        values: Vec<u64>,
    },
    Poly {
        power: f32,
        max_iter: u64,
    },
    /// Rates, and the last iteration of each.
    MultiFixed {
        stages: Vec<(f32, u64)>,
    },
    Sigmoid {
        gamma: f32,
        step: u64,
    },
}

impl LrPolicy {
    /// The policy that `solver` names.
    ///
    /// # Errors
    /// An unknown policy, or one whose numbers are missing or out of range.
    pub fn new(solver: &SolverParameter) -> Result<Self> {
        let name = solver.lr_policy();
        let gamma = || match solver.gamma() {
            g if g >= 0.0 => Ok(g),
            g => bail!("lr_policy \"{name}\" needs gamma >= 0, not {g}"),
        };
        let stepsize = || match solver.stepsize() {
            s if s > 0 => Ok(s as u64),
            s => bail!("lr_policy \"{name}\" needs stepsize > 0, not {s}"),
        };
        let kind = match name {
            "fixed" => Kind::Fixed,
            "step" => Kind::Step {
                gamma: gamma()?,
                size: stepsize()?,
            },
            "exp" => Kind::Exp { gamma: gamma()? },
            "inv" => Kind::Inv {
                gamma: gamma()?,
                power: solver.power(),
            },
            "multistep" => {
                let values = solver.stepvalue.iter().map(|&v| v.max(0) as u64).collect();
                Kind::MultiStep {
                    gamma: gamma()?,
                    values,
                }
            }
            "poly" => Kind::Poly {
                power: solver.power(),
                max_iter: solver.max_iter().max(0) as u64,
            },
            "sigmoid" => Kind::Sigmoid {
                gamma: gamma()?,
                step: stepsize()?,
            },
            "multifixed" => Kind::MultiFixed {
                stages: stages(solver)?,
            },
            "plateau" => bail!(
                "lr_policy \"plateau\" is that of forks of Caffe (Intel's, NVIDIA's), which lower the rate when the \
                 loss stands still; it is not supported: \"multistep\" lowers it at iterations of your choice"
            ),
            "stepearly" => bail!(
                "lr_policy \"stepearly\" is that of a fork of Caffe (caffe-lstm) and not supported; \"multistep\" \
                 lowers the rate at iterations of your choice"
            ),
            "" => bail!("the solver has no lr_policy; \"fixed\" keeps base_lr throughout"),
            other => bail!(
                "unknown lr_policy \"{other}\"; Caffe has fixed, step, exp, inv, multistep, poly and sigmoid"
            ),
        };
        let stages = !solver.stagelr.is_empty() || !solver.stageiter.is_empty();
        if stages && !matches!(kind, Kind::MultiFixed { .. }) {
            bail!("stagelr and stageiter belong to lr_policy \"multifixed\", not to \"{name}\"");
        }
        Ok(Self {
            base: solver.base_lr(),
            kind,
            rise: Rise::new(solver)?,
            least: solver.min_lr(),
            from: 0,
        })
    }

    /// The same policy from its iteration `from` on.
    pub fn rewound(mut self, from: u64) -> Self {
        self.from = from;
        self
    }

    /// The rate of iteration `iter`, computed in float32 as Caffe does.
    pub fn rate(&self, iter: u64) -> f32 {
        let iter = iter.saturating_add(self.from);
        let rate = match &self.rise {
            Some(rise) if iter < rise.iterations => return rise.rate(iter, self.base),
            _ => self.of_policy(iter),
        };
        if self.least > 0.0 {
            rate.max(self.least)
        } else {
            rate
        }
    }

    fn of_policy(&self, iter: u64) -> f32 {
        let power = |gamma: f32, n: u64| f64::from(gamma).powf(n as f64);
        let base = f64::from(self.base);
        match &self.kind {
            Kind::Fixed => self.base,
            Kind::Step { gamma, .. } | Kind::MultiStep { gamma, .. } => {
                (base * power(*gamma, self.steps(iter))) as f32
            }
            Kind::Exp { gamma } => (base * power(*gamma, iter)) as f32,
            Kind::Inv { gamma, power } => self.base * (1.0 + gamma * iter as f32).powf(-power),
            Kind::Poly { power, max_iter } => {
                (self.base - self.least)
                    * (1.0 - iter as f32 / (*max_iter).max(1) as f32)
                        .max(0.0)
                        .powf(*power)
                    + self.least
            }
            Kind::MultiFixed { stages } => {
                let stage = stages.iter().find(|(_, last)| iter <= *last);
                stage.or(stages.last()).map_or(self.base, |(rate, _)| *rate)
            }
            Kind::Sigmoid { gamma, step } => {
                self.base * (1.0 / (1.0 + (-gamma * (iter as f32 - *step as f32)).exp()))
            }
        }
    }

    /// Caffe's `current_step` at iteration `iter`: how many steps of the rate lie behind.
    pub fn step(&self, iter: u64) -> u64 {
        self.steps(iter.saturating_add(self.from))
    }

    /// The same at an iteration of the policy itself.
    fn steps(&self, iter: u64) -> u64 {
        match &self.kind {
            Kind::Step { size, .. } => iter / size,
            // Caffe looks at one value an iteration, in the order given.
            Kind::MultiStep { values, .. } => {
                values.iter().take_while(|&&v| iter >= v).count() as u64
            }
            _ => 0,
        }
    }

    /// The new [`LrPolicy::step`], if a `multistep` policy comes to it at iteration `iter`: Caffe logs it.
    pub fn stepped(&self, iter: u64) -> Option<u64> {
        let Kind::MultiStep { .. } = &self.kind else {
            return None;
        };
        let before = match iter.checked_sub(1) {
            Some(last) => self.step(last),
            // Of a policy that goes on, the steps before the phase are no news.
            None if self.from > 0 => self.step(0),
            None => 0,
        };
        Some(self.step(iter)).filter(|now| *now > before)
    }
}

/// The rates and last iterations of "multifixed".
fn stages(solver: &SolverParameter) -> Result<Vec<(f32, u64)>> {
    let (rates, ends) = (&solver.stagelr, &solver.stageiter);
    if rates.is_empty() || rates.len() != ends.len() {
        bail!(
            "lr_policy \"multifixed\" needs as many stagelr as stageiter, at least one; found {} and {}",
            rates.len(),
            ends.len()
        );
    }
    let pairs = rates.iter().zip(ends);
    Ok(pairs.map(|(&r, &end)| (r, end.max(0) as u64)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_as_the_forks_have_it() {
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-7, "{a} {b}");
        let mut s = solver("multistep");
        s.warmup_iter = Some(4);
        s.warmup_start_lr = Some(0.02);
        let policy = LrPolicy::new(&s).unwrap();
        for (i, rate) in [(0, 0.02), (1, 0.04), (3, 0.08), (4, 0.1), (5, 0.05)] {
            near(policy.rate(i), rate);
        }
        s.rampup_interval = Some(4);
        assert!(
            LrPolicy::new(&s)
                .unwrap_err()
                .to_string()
                .contains("keep one")
        );
        s.warmup_iter = None;
        let policy = LrPolicy::new(&s).unwrap();
        for (i, rate) in [(0, 0.0), (2, 0.025), (4, 0.1)] {
            near(policy.rate(i), rate);
        }
        let mut s = solver("poly");
        s.min_lr = Some(0.02);
        let policy = LrPolicy::new(&s).unwrap();
        near(policy.rate(50), 0.04);
        near(policy.rate(100), 0.02);
        s.lr_policy = Some("exp".into());
        near(LrPolicy::new(&s).unwrap().rate(90), 0.02);
    }

    #[test]
    fn multifixed_has_a_rate_a_stage() {
        let mut s = solver("multifixed");
        assert!(LrPolicy::new(&s).is_err());
        s.stagelr = vec![0.3, 0.2, 0.1];
        s.stageiter = vec![10, 20, 30];
        let policy = LrPolicy::new(&s).unwrap();
        for (i, rate) in [(0, 0.3), (10, 0.3), (11, 0.2), (30, 0.1), (99, 0.1)] {
            assert_eq!(policy.rate(i), rate, "{i}");
        }
        s.lr_policy = Some("fixed".into());
        assert!(
            LrPolicy::new(&s)
                .unwrap_err()
                .to_string()
                .contains("multifixed")
        );
    }

    fn solver(policy: &str) -> SolverParameter {
        SolverParameter {
            base_lr: Some(0.1),
            lr_policy: Some(policy.into()),
            gamma: Some(0.5),
            power: Some(2.0),
            stepsize: Some(10),
            stepvalue: vec![5, 20],
            max_iter: Some(100),
            ..Default::default()
        }
    }

    #[test]
    fn each_policy_follows_its_formula() {
        let rate = |p: &str, i| LrPolicy::new(&solver(p)).unwrap().rate(i);
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-7, "{a} {b}");
        near(rate("fixed", 50), 0.1);
        near(rate("step", 9), 0.1);
        near(rate("step", 25), 0.025);
        near(rate("exp", 3), 0.0125);
        near(rate("inv", 4), 0.1 / 9.0);
        near(rate("multistep", 4), 0.1);
        near(rate("multistep", 5), 0.05);
        near(rate("multistep", 20), 0.025);
        near(rate("poly", 50), 0.025);
        near(rate("sigmoid", 10), 0.05);
    }

    #[test]
    fn a_rewound_policy_has_the_rates_from_there_on() {
        for name in ["step", "multistep", "poly", "inv"] {
            let whole = LrPolicy::new(&solver(name)).unwrap();
            let rest = whole.clone().rewound(15);
            for i in 0..80 {
                assert_eq!(rest.rate(i), whole.rate(15 + i), "{name} {i}");
                assert_eq!(rest.step(i), whole.step(15 + i), "{name} {i}");
            }
            // A step that lies before the phase is not told in it.
            let told = |p: &LrPolicy| (0..80).filter_map(|i| Some((i, p.stepped(i)?))).collect();
            let told: Vec<_> = told(&rest);
            assert_eq!(
                told,
                if name == "multistep" {
                    vec![(5, 2)]
                } else {
                    vec![]
                }
            );
        }
    }

    #[test]
    fn a_step_of_multistep_is_told_once() {
        let policy = LrPolicy::new(&solver("multistep")).unwrap();
        let told: Vec<_> = (0..30)
            .filter_map(|i| Some((i, policy.stepped(i)?)))
            .collect();
        assert_eq!(told, [(5, 1), (20, 2)]);
        let policy = LrPolicy::new(&solver("step")).unwrap();
        assert!((0..30).all(|i| policy.stepped(i).is_none()));
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut s = solver("step");
        s.stepsize = None;
        assert!(
            LrPolicy::new(&s)
                .unwrap_err()
                .to_string()
                .contains("stepsize")
        );
        assert!(
            LrPolicy::new(&solver("stepp"))
                .unwrap_err()
                .to_string()
                .contains("stepp")
        );
    }
}
