//! The runs of an experiment: a phase of one seed after the phases before it, shared by the arms that begin alike.

use super::{Experiment, PhasePlan};
use std::path::{Path, PathBuf};

/// One phase to train, of one group and seed.
#[derive(Clone, Debug)]
pub struct Node {
    /// The group's number.
    pub group: usize,
    /// The seed.
    pub seed: u64,
    /// The phase.
    pub phase: PhasePlan,
    /// The names of this phase and those before it.
    pub path: Vec<String>,
    /// The node that it starts from, by its number; none starts from nothing.
    pub parent: Option<usize>,
    /// The arms that end here, by their numbers.
    pub ends: Vec<usize>,
}

impl Node {
    /// The run's folder under the experiment's; beside it is its flow, with `.toml` behind.
    pub fn folder(&self, experiment: &Experiment) -> PathBuf {
        let group = &experiment.groups[self.group].name;
        let seed = format!("seed{}", self.seed);
        Path::new("runs")
            .join(group)
            .join(seed)
            .join(self.path.join("+"))
    }

    /// Its length in iterations.
    pub fn iterations(&self, experiment: &Experiment) -> u64 {
        self.phase.iterations(experiment.groups[self.group].length)
    }
}

/// All runs, each after the one that it starts from. The arms with the most seeds come first, in all groups, for they are
/// what the experiment is about; of them seed by seed, so that the first pairs are whole early.
pub fn nodes(experiment: &Experiment) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut counts: Vec<u64> = experiment.arms.iter().map(|a| a.seeds).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts.dedup();
    for count in counts {
        let arms = experiment.arms.iter().enumerate();
        let arms: Vec<_> = arms.filter(|(_, a)| a.seeds == count).collect();
        for (g, group) in experiment.groups.iter().enumerate() {
            for nth in 0..count {
                let seed = experiment.first_seed.saturating_add(nth);
                for (a, arm) in &arms {
                    if group.has(arm) && nth < group.seeds(arm) {
                        add(&mut nodes, (g, seed, *a), &arm.phases);
                    }
                }
            }
        }
    }
    nodes
}

/// Adds what of an arm's phases is not there yet.
fn add(nodes: &mut Vec<Node>, (group, seed, arm): (usize, u64, usize), phases: &[PhasePlan]) {
    let mut parent = None;
    let mut path = Vec::new();
    for phase in phases {
        path.push(phase.name.clone());
        let same = |n: &Node| n.group == group && n.seed == seed && n.path == path;
        let here = nodes.iter().position(same).unwrap_or_else(|| {
            nodes.push(Node {
                group,
                seed,
                phase: phase.clone(),
                path: path.clone(),
                parent,
                ends: Vec::new(),
            });
            nodes.len() - 1
        });
        parent = Some(here);
    }
    if let Some(last) = parent {
        nodes[last].ends.push(arm);
    }
}
