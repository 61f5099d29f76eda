//! Notices a loss that stays at chance, which is what most broken runs look like.

use crate::layers::Mode;
use crate::net::Net;
use crate::report::number::G;
use crate::warn;

/// Counts the iterations in a row at which the loss was that of guessing.
#[derive(Clone, Debug)]
pub struct ChanceWatch {
    chance: Option<f32>,
    classes: usize,
    streak: u64,
    limit: u64,
    said: bool,
}

impl ChanceWatch {
    /// Watches the loss of `net` if it is a single SoftmaxWithLoss: guessing among C classes costs
    /// ln C.
    pub fn new(net: &Net, max_iter: u64) -> Self {
        let graph = net.graph();
        let losses: Vec<_> = graph
            .nodes
            .iter()
            .filter(|n| n.param.r#type().ends_with("Loss"))
            .collect();
        let mut classes = 0;
        if let [node] = losses[..]
            && node.param.r#type() == "SoftmaxWithLoss"
            && graph.mode == Mode::Train
        {
            let shape = net.shape(node.bottoms[0]);
            let axis = node.param.softmax_param.as_ref().map_or(1, |p| p.axis());
            classes = shape.axis(axis).map_or(0, |a| shape.dim(a));
        }
        Self {
            chance: (classes > 1).then(|| (classes as f32).ln()),
            classes,
            streak: 0,
            limit: (max_iter / 5).clamp(50, 1000),
            said: false,
        }
    }

    /// Sees the loss of iteration `iter`; warns once.
    pub fn see(&mut self, iter: u64, loss: f32) {
        let Some(chance) = self.chance else { return };
        if (loss - chance).abs() > 0.03 * chance {
            self.streak = 0;
            return;
        }
        self.streak += 1;
        if self.streak >= self.limit && !self.said {
            self.said = true;
            warn!(
                "Iteration {iter}: for {} iterations the loss has stayed at {} = ln({}), that of guessing. Usual \
                 causes: a learning rate too large (units die) or too small, labels that do not fit the pictures \
                 or are shuffled apart from them, data without mean subtraction, weights that start at 0",
                self.streak,
                G(chance),
                self.classes
            );
        }
    }
}
