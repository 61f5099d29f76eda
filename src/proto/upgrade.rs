//! Converts nets and solvers of older Caffe generations to today's form, with the rules of Caffe's own
//! upgrade tools: V0 (`layers { layer { … } }`, 2013), V1 (`layers { type: CONVOLUTION }`, 2014), nets with
//! `input` fields, data settings from before `transform_param`, three-parameter BatchNorm, and solvers with
//! an enum for their type.

mod forks;
mod v0;
mod v1;

use anyhow::{Context, Result, bail};

use super::caffe::solver_parameter::SolverType;
use super::caffe::{BlobShape, InputParameter, LayerParameter, NetParameter, SolverParameter};
use super::text::Parsed;

/// Converts a net of any generation to today's form. The strings tell, for the log, what was converted; none
/// if nothing was.
///
/// # Errors
/// A net that mixes `layer` with `layers`, that has an unknown layer type, or whose `input` fields do not
/// agree with their shapes.
pub fn upgrade_net(net: &mut NetParameter) -> Result<Vec<String>> {
    Ok(convert(net)?.notes)
}

/// Converts a net that was read from text; the lines of its layers stay right, and errors name the file.
pub fn upgrade_parsed(net: &mut Parsed<NetParameter>) -> Result<Vec<String>> {
    let converted = convert(&mut net.message).with_context(|| net.file.clone())?;
    let old = std::mem::take(&mut net.lines.layers);
    let input = net.lines.field("input", 0);
    net.lines.layers = converted
        .origins
        .iter()
        .map(|origin| match origin {
            Some(i) => old.get(*i).copied().flatten(),
            None => input,
        })
        .collect();
    Ok(converted.notes)
}

/// Converts a solver that was read from text; the lines of the layers of its inline nets stay right.
pub fn upgrade_parsed_solver(solver: &mut Parsed<SolverParameter>) -> Result<Vec<String>> {
    let (file, message) = (solver.file.clone(), &mut solver.message);
    let mut inner = Vec::new();
    for (field, nets) in [
        (
            "net_param",
            message.net_param.iter_mut().collect::<Vec<_>>(),
        ),
        (
            "train_net_param",
            message.train_net_param.iter_mut().collect(),
        ),
        (
            "test_net_param",
            message.test_net_param.iter_mut().collect(),
        ),
    ] {
        for (i, net) in nets.into_iter().enumerate() {
            let mut parsed = Parsed {
                message: std::mem::take(net),
                file: file.clone(),
                lines: solver.lines.inner(field, i),
            };
            let notes = upgrade_parsed(&mut parsed)?;
            *net = parsed.message;
            inner.push((field.to_owned(), parsed.lines, notes));
        }
    }
    let mut notes = upgrade_solver(message).with_context(|| file)?;
    for (field, lines, own) in inner {
        match solver.lines.inner.iter().position(|(f, _)| *f == field) {
            // The nets of a field stand in the order of the text: the first goes to the end.
            Some(at) => {
                solver.lines.inner.remove(at);
                solver.lines.inner.push((field, lines));
            }
            None => solver.lines.inner.push((field, lines)),
        }
        notes.extend(own);
    }
    Ok(notes)
}

/// What a conversion leaves besides the net.
#[derive(Debug, Default)]
pub struct Converted {
    /// What was converted, for the log; nothing if nothing was.
    pub notes: Vec<String>,
    /// How many settings were dropped because their layer's type does not have them.
    pub dropped: usize,
    /// For each layer, its index before the conversion; none for the layer made of `input` fields.
    origins: Vec<Option<usize>>,
}

/// As [`upgrade_net`], and tells what had to be dropped.
pub fn convert(net: &mut NetParameter) -> Result<Converted> {
    let mut done = Converted {
        notes: Vec::new(),
        dropped: 0,
        origins: (0..net.layer.len().max(net.layers.len()))
            .map(Some)
            .collect(),
    };
    if !net.layers.is_empty() && !net.layer.is_empty() {
        bail!(
            "the net has both `layer` and `layers` blocks; write all of them as today's \
             `layer {{ type: \"…\" }}`"
        );
    }
    if net.layers.iter().any(|l| l.layer.is_some()) {
        done.origins = v0::convert(net, &mut done.notes)?;
        // The first note tells of the conversion itself.
        done.dropped = done.notes.len().saturating_sub(1);
    }
    if !net.layers.is_empty() {
        v1::move_transforms(net, &mut done.notes);
        v1::convert(net, &mut done.notes)?;
    }
    if !net.input.is_empty() && convert_input(net, &mut done.notes)? {
        done.origins.insert(0, None);
    }
    freeze_batch_norm(net, &mut done.notes);
    forks::round_modes(net, &mut done.notes)?;
    forks::types(net, &mut done.notes);
    Ok(done)
}

/// Turns the `input` fields into an Input layer at the head of the net; whether there is one now. Inputs
/// without any shape come from old weights files and are dropped.
fn convert_input(net: &mut NetParameter, notes: &mut Vec<String>) -> Result<bool> {
    let tops = std::mem::take(&mut net.input);
    let shapes = std::mem::take(&mut net.input_shape);
    let dims = std::mem::take(&mut net.input_dim);
    if shapes.is_empty() && dims.is_empty() {
        notes.push("dropped `input` fields that have no shape".to_owned());
        return Ok(false);
    }
    let shape = if shapes.is_empty() {
        if dims.len() != 4 * tops.len() {
            bail!(
                "{} `input` fields need {} `input_dim` values (four each), but there are {}",
                tops.len(),
                4 * tops.len(),
                dims.len()
            );
        }
        let four = dims.chunks_exact(4);
        four.map(|dim| BlobShape {
            dim: dim.iter().map(|&d| i64::from(d)).collect(),
        })
        .collect()
    } else {
        if shapes.len() != tops.len() {
            bail!(
                "{} `input` fields need as many `input_shape` blocks, but there are {}",
                tops.len(),
                shapes.len()
            );
        }
        shapes
    };
    notes.push(format!(
        "converted the `input` fields ({}) to an Input layer",
        tops.join(", ")
    ));
    net.layer.insert(
        0,
        LayerParameter {
            name: Some("input".to_owned()),
            r#type: Some("Input".to_owned()),
            top: tops,
            input_param: Some(InputParameter { shape }),
            ..LayerParameter::default()
        },
    );
    Ok(true)
}

/// BatchNorm's three blobs are running sums that no solver may touch; older files left that to the user.
fn freeze_batch_norm(net: &mut NetParameter, notes: &mut Vec<String>) {
    for layer in &mut net.layer {
        if layer.r#type() != "BatchNorm" || layer.param.len() != 3 {
            continue;
        }
        if layer
            .param
            .iter()
            .any(|p| p.lr_mult != Some(0.0) || p.decay_mult != Some(0.0))
        {
            notes.push(format!(
                "layer `{}`: set BatchNorm's three lr_mult and decay_mult to 0",
                layer.name()
            ));
        }
        for param in &mut layer.param {
            param.lr_mult = Some(0.0);
            param.decay_mult = Some(0.0);
        }
    }
}

/// Converts a solver: `solver_type: SGD` becomes `type: "SGD"`, and nets written inside it are converted too.
/// The strings tell, for the log, what was converted.
///
/// # Errors
/// A solver with both kinds of type, or an inner net that cannot be converted.
pub fn upgrade_solver(solver: &mut SolverParameter) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if let Some(number) = solver.solver_type {
        if let Some(name) = &solver.r#type {
            bail!(
                "the solver has both `type: \"{name}\"` and the old `solver_type`; keep one of them"
            );
        }
        let name = match SolverType::try_from(number) {
            Ok(SolverType::Sgd) => "SGD",
            Ok(SolverType::Nesterov) => "Nesterov",
            Ok(SolverType::Adagrad) => "AdaGrad",
            Ok(SolverType::Rmsprop) => "RMSProp",
            Ok(SolverType::Adadelta) => "AdaDelta",
            Ok(SolverType::Adam) => "Adam",
            Err(_) => bail!("there is no solver_type {number}"),
        };
        solver.solver_type = None;
        solver.r#type = Some(name.to_owned());
        notes.push(format!("converted solver_type to type: \"{name}\""));
    }
    let inner = solver
        .net_param
        .iter_mut()
        .chain(solver.train_net_param.iter_mut());
    for net in inner.chain(&mut solver.test_net_param) {
        notes.extend(upgrade_net(net)?);
    }
    Ok(notes)
}

#[cfg(test)]
mod tests;
