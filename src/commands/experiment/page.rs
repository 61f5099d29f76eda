//! The page of an experiment: what came out, drawn, and how the runs went.

use super::runs::Runs;
use crate::commands::results::Results;
use crate::commands::run_folder::METRICS;
use crate::experiment::Node;
use crate::files;
use crate::page::{Band, Curves, Page, Series, Table};
use crate::report::course::Course;
use anyhow::Result;
use std::path::Path;

/// The page's name in the experiment's folder.
const NAME: &str = "report.html";

/// Writes the page.
///
/// # Errors
/// The folder cannot be written.
pub fn write(runs: &Runs, results: &Results, command: &str, out: &Path) -> Result<()> {
    let mut page = Page::new(&results.title);
    page.lead(&format!(
        "{} runs of {} arms, compared by {}. The control is {}: differences are of runs of one seed.",
        runs.nodes.len(),
        runs.experiment.arms.len(),
        results.metric,
        results.control
    ));
    for (g, section) in results.sections.iter().enumerate() {
        page.section(&section.heading().unwrap_or_else(|| "Results".to_string()));
        page.forest(&results.forest(section));
        page.table(&Table::of(
            &format!(
                "Mean ± standard deviation over seeds; against {}: mean difference ± standard error",
                results.control
            ),
            &results.table(section),
        ));
        for sentence in results.sentences(section) {
            page.text(&sentence);
        }
        curves(&mut page, runs, g);
    }
    page.section("To repeat it");
    page.text(&format!(
        "dsd {}; {}",
        env!("CARGO_PKG_VERSION"),
        results.time()
    ));
    page.code(command);
    let html = page.finish();
    files::write_atomic(&out.join(NAME), |w| Ok(w.write_all(html.as_bytes())?))
}

/// The training loss of each arm's first seed, over all its phases.
fn curves(page: &mut Page, runs: &Runs, group: usize) {
    let experiment = runs.experiment;
    let mut loss = Curves::new("Training loss, first seed", "iteration", "loss");
    let mut density = Curves::new("Density, first seed", "iteration", "density").range(0.0, 1.0);
    let mut bands: Vec<Band> = Vec::new();
    for (a, arm) in experiment.arms.iter().enumerate() {
        let own =
            |n: &&Node| n.group == group && n.seed == experiment.first_seed && n.ends.contains(&a);
        let Some(last) = runs.nodes.iter().find(own) else {
            continue;
        };
        let (mut losses, mut densities, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut from = 0;
        for node in way_to(&runs.nodes, last) {
            let name = node.path.last().cloned().unwrap_or_default();
            starts.push(Band {
                from: from as f64,
                name,
            });
            // A run that has not begun has no course.
            let course = Course::read(&runs.folder(node).join(METRICS)).unwrap_or_default();
            for row in course.parts.iter().flat_map(|p| &p.train) {
                let x = (from + row.iteration) as f64;
                losses.push((x, row.loss));
                densities.push((x, row.density));
            }
            from += node.iterations(experiment);
        }
        if arm.phases.len() > bands.len() {
            bands = starts;
        }
        loss = loss.series(Series::new(arm.name.clone(), losses));
        density = density.series(Series::new(arm.name.clone(), densities));
    }
    for curves in [loss.log(), density] {
        if !curves.is_empty() {
            page.curves(&curves.bands(bands.clone()));
        }
    }
}

/// The runs that lead to one, and itself.
fn way_to<'a>(nodes: &'a [Node], last: &'a Node) -> Vec<&'a Node> {
    let mut way = vec![last];
    let mut parent = last.parent;
    while let Some(p) = parent {
        way.insert(0, &nodes[p]);
        parent = nodes[p].parent;
    }
    way
}
