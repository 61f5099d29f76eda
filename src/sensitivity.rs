//! How much each layer's weights matter: the test net's outputs with one layer alone pruned to several
//! densities (Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks",
//! figure 6), and the sparsities that follow from it.
//!
//! [`layers`] says what can be pruned, [`score`] runs the net on it, [`points`] holds what came out and
//! [`record`] its file; [`suggest`] chooses densities on the [`curve`]s, [`plot`] draws them.

pub mod curve;
pub mod layers;
pub mod plot;
pub mod points;
pub mod record;
pub mod score;
pub mod subject;
pub mod suggest;
