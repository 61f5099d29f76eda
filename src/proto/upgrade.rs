//! temporary
use super::caffe::{NetParameter, SolverParameter};
use super::text::Parsed;
use anyhow::Result;
/// Temporary.
pub fn upgrade_net(_net: &mut NetParameter) -> Result<Vec<String>> {
    Ok(Vec::new())
}
/// Temporary.
pub fn upgrade_parsed(net: &mut Parsed<NetParameter>) -> Result<Vec<String>> {
    upgrade_net(&mut net.message)
}
/// Temporary.
pub fn upgrade_solver(_solver: &mut SolverParameter) -> Result<Vec<String>> {
    Ok(Vec::new())
}
