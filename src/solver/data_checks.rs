//! What is looked at once, when a run begins: do the nets fit their data's classes and sizes?

use super::test::TestNet;
use crate::data::about::{self, About};
use crate::net::Net;
use crate::warn;
use anyhow::{Result, bail};

/// Says where a test counts samples twice, and where a net has more outputs than the data have classes.
///
/// # Errors
/// Training and test data have other classes, or a net has fewer outputs than its data have classes.
pub fn check(net: &Net, train: &[About], tests: &[TestNet]) -> Result<()> {
    check_outputs(net, train)?;
    for test in tests {
        about::same_classes(train, test.about())?;
        check_outputs(test.net(), test.about())?;
        for about in test.about() {
            if let Some(text) = about::wraps(about, test.iterations()) {
                warn!("{text}");
            }
        }
    }
    Ok(())
}

/// Compares the outputs that a loss or accuracy reads with the classes that its labels have.
fn check_outputs(net: &Net, data: &[About]) -> Result<()> {
    let graph = net.graph();
    for about in data.iter().filter(|a| !a.classes.is_empty()) {
        let source = graph
            .nodes
            .iter()
            .find(|n| n.is_source() && n.name() == about.layer);
        let Some(&label) = source.and_then(|n| n.tops.get(1)) else {
            continue;
        };
        for node in graph
            .nodes
            .iter()
            .filter(|n| n.bottoms.get(1) == Some(&label))
        {
            let axis = match node.param.r#type() {
                "SoftmaxWithLoss" => node.param.softmax_param.unwrap_or_default().axis(),
                "Accuracy" => node.param.accuracy_param.unwrap_or_default().axis(),
                "HingeLoss" | "MultinomialLogisticLoss" | "InfogainLoss" => 1,
                _ => continue,
            };
            let shape = net.shape(node.bottoms[0]);
            let Some(axis) = shape.axis(axis) else {
                continue;
            };
            let (outputs, classes) = (shape.dim(axis), about.classes.len());
            if outputs < classes {
                bail!(
                    "{}: layer '{}' reads {outputs} outputs, but {} has {classes} classes, the last '{}'; num_output \
                     of the layer that makes '{}' should be {classes}",
                    graph.file,
                    node.name(),
                    about.source,
                    about.classes[classes - 1],
                    graph.values[node.bottoms[0]].name
                );
            }
            if outputs > classes {
                warn!(
                    "Layer {} reads {outputs} outputs, but {} has only {classes} classes; is num_output meant to be \
                     {classes}?",
                    node.name(),
                    about.source
                );
            }
        }
    }
    Ok(())
}
