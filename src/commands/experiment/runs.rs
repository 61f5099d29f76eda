//! The runs of an experiment in its folder: what each is started with, and what there is of it.

use crate::commands::results::{Results, Row, Score, Section, metric};
use crate::commands::run_folder::{Record, RunFolder};
use crate::experiment::{self, Experiment, Node};
use crate::files;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// How often a run is saved: this is what a kill at the worst moment costs.
const SNAPSHOT_MINUTES: &str = "2";

/// An experiment, its runs and their folder.
pub struct Runs<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its runs, each after the one that it starts from.
    pub nodes: Vec<Node>,
    out: PathBuf,
}

impl<'a> Runs<'a> {
    /// The runs under `out`; the flows of those that have none are written.
    ///
    /// # Errors
    /// A run that is there was made with other settings, or the folder cannot be written.
    pub fn open(experiment: &'a Experiment, out: &Path) -> Result<Self> {
        let nodes = experiment::nodes(experiment);
        let runs = Self {
            experiment,
            nodes,
            out: out.to_path_buf(),
        };
        for node in &runs.nodes {
            runs.write_flow(node)?;
        }
        Ok(runs)
    }

    /// The folder of a run.
    pub fn folder(&self, node: &Node) -> PathBuf {
        self.out.join(node.folder(self.experiment))
    }

    /// The flow of a run, beside its folder.
    fn flow(&self, node: &Node) -> PathBuf {
        let mut path = self.folder(node).into_os_string();
        path.push(".toml");
        path.into()
    }

    fn write_flow(&self, node: &Node) -> Result<()> {
        let path = self.flow(node);
        let length = self.experiment.groups[node.group].length;
        let text = node.phase.flow_text(length)?;
        if path.exists() {
            if files::read_text(&path)? == text {
                return Ok(());
            }
            if self.folder(node).exists() {
                bail!(
                    "{}: this run was made with other settings than [phase.{}] has now; give another --out, or move the \
                     run away",
                    path.display(),
                    node.phase.name
                );
            }
        }
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
        }
        files::write_atomic(&path, |w| Ok(w.write_all(text.as_bytes())?))
    }

    /// The record of a run that has ended.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn done(&self, node: &Node) -> Result<Option<Record>> {
        let kind = node.phase.table.get("kind").and_then(toml::Value::as_str);
        let record = RunFolder::new(self.folder(node)).read(kind.unwrap_or_default())?;
        let wanted = node.iterations(self.experiment);
        Ok(record.filter(|r| r.done && r.iterations >= wanted.min(r.max_iter.unwrap_or(wanted))))
    }

    /// How many have ended.
    pub fn count_done(&self) -> usize {
        let done = |n: &&Node| matches!(self.done(n), Ok(Some(_)));
        self.nodes.iter().filter(done).count()
    }

    /// The arguments of `dsd` for a run with so many threads. The run that it starts from has ended.
    ///
    /// # Errors
    /// That run has no weights.
    pub fn arguments(&self, node: &Node, threads: usize) -> Result<Vec<String>> {
        let shown = |path: &Path| path.display().to_string();
        let mut arguments = vec![
            "train".to_string(),
            "--flow".to_string(),
            shown(&self.flow(node)),
            "--out".to_string(),
            shown(&self.folder(node)),
            "--resume".to_string(),
            format!("--seed={}", node.seed),
            format!("--threads={threads}"),
            format!("--snapshot_minutes={SNAPSHOT_MINUTES}"),
        ];
        let weights = match node.parent {
            Some(parent) => {
                let parent = &self.nodes[parent];
                let record = self.done(parent)?;
                let record = record
                    .with_context(|| format!("{} has not ended", shown(&self.folder(parent))))?;
                vec![
                    self.folder(parent)
                        .join(&record.phase)
                        .join(&record.weights),
                ]
            }
            None => self.experiment.weights.clone(),
        };
        if !weights.is_empty() {
            let weights: Vec<String> = weights.iter().map(|w| shown(w)).collect();
            arguments.push(format!("--weights={}", weights.join(",")));
        }
        let stage = &self.experiment.groups[node.group].stage;
        if !stage.is_empty() {
            arguments.push(format!("--stage={}", stage.join(",")));
        }
        if let Some(keep) = self.experiment.keep {
            arguments.push(format!("--keep={keep}"));
        }
        if let Some(source) = &self.experiment.source {
            arguments.push(format!("--source={}", shown(source)));
        }
        Ok(arguments)
    }

    /// What they came to, as far as they have ended.
    ///
    /// # Errors
    /// A record cannot be read, or the metric is none that the nets have.
    pub fn results(&self) -> Result<Results> {
        let experiment = self.experiment;
        let records: Vec<Option<Record>> = self
            .nodes
            .iter()
            .map(|n| self.done(n))
            .collect::<Result<_>>()?;
        let metric = metric(experiment.metric.as_deref(), records.iter().flatten())?;
        let score = |node: &Node, record: &Record| {
            let mut earlier = 0.0;
            let mut parent = node.parent;
            while let Some(p) = parent {
                earlier += records[p].as_ref().map_or(0.0, |r| r.seconds);
                parent = self.nodes[p].parent;
            }
            Score::of(record, node.seed, &metric, earlier, node.folder(experiment))
        };
        let scores = |group: usize, arm: usize| -> Vec<Score> {
            let nodes = self.nodes.iter().zip(&records);
            let own = nodes.filter(|(n, _)| n.group == group && n.ends.contains(&arm));
            own.filter_map(|(n, r)| score(n, r.as_ref()?)).collect()
        };
        let section = |(g, group): (usize, &experiment::Group)| {
            let arms = experiment.arms.iter().enumerate();
            let rows = arms.filter(|(_, arm)| group.has(arm)).map(|(a, arm)| Row {
                name: arm.name.clone(),
                title: arm.title.clone(),
                scores: scores(g, a),
            });
            Section {
                name: group.name.clone(),
                title: group.title.clone(),
                rows: rows.collect(),
            }
        };
        Ok(Results {
            title: experiment.title.clone(),
            control: experiment.control.clone(),
            sections: experiment.groups.iter().enumerate().map(section).collect(),
            seconds: records.iter().flatten().map(|r| r.seconds).sum(),
            metric,
        })
    }
}
