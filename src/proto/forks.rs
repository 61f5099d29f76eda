//! What forks of Caffe write in their prototxts that BVLC's does not read.
//!
//! Three kinds. Fields that say nothing about numbers (an engine's name, how memory is shared, detection's
//! test scores) are taken out of the text before it is parsed, and told in one line. Blocks of settings
//! inside a layer whose type is a fork's own go too: the type says already that the layer is not known, and
//! a net with such layers can still be described and drawn. All else stays an error, which names the fork.

pub mod types;

use prost_reflect::{FieldDescriptor, Kind as Type, MessageDescriptor};

use super::suggest::{Walk, nearest, value_names};
use super::token::{Kind, Token};
use types::is_known;

/// A field of a fork.
struct Row {
    message: &'static str,
    field: &'static str,
    /// Whose it is.
    fork: &'static str,
    /// Whether it changes numbers, and if it does, the value with which it does not ("" for none).
    changes: Option<&'static str>,
}

const fn plain(message: &'static str, field: &'static str, fork: &'static str) -> Row {
    Row {
        message,
        field,
        fork,
        changes: None,
    }
}

const fn changing(
    message: &'static str,
    field: &'static str,
    fork: &'static str,
    unless: &'static str,
) -> Row {
    Row {
        message,
        field,
        fork,
        changes: Some(unless),
    }
}

const SSD: &str = "the SSD family's Caffe";
const INTEL: &str = "Intel's Caffe";
const NVIDIA: &str = "NVIDIA's Caffe";
const YOLO: &str = "MobileNet-YOLO's Caffe";
const TSN: &str = "the Caffe of temporal segment networks";
const LSTM: &str = "caffe-lstm";
const SEGNET: &str = "SegNet's Caffe";
const PSP: &str = "PSPNet's and other forks' Caffe";

/// Values of forks: the enum, the value, whose it is.
const VALUES: [(&str, &str, &str); 4] = [
    ("NormalizationMode", "PRE_FIXED", "R-FCN's Caffe"),
    ("PoolMethod", "RMS", "a fork"),
    ("SolverType", "SAG", NVIDIA),
    ("EltwiseOp", "DIV", "a fork"),
];

/// Whose an enum's value is, if it is known to be a fork's.
pub(super) fn whose_value(values: &str, word: &str) -> Option<&'static str> {
    let row = VALUES.iter().find(|(e, v, _)| *e == values && *v == word);
    row.map(|(.., whose)| *whose)
}

const ROWS: &[Row] = &[
    plain("SolverParameter", "eval_type", SSD),
    plain("SolverParameter", "ap_version", SSD),
    plain("SolverParameter", "show_per_class_result", SSD),
    plain("SolverParameter", "test_offset", INTEL),
    plain("SolverParameter", "solver_data_type", NVIDIA),
    plain("SolverParameter", "store_blobs_in_old_format", NVIDIA),
    plain("SolverParameter", "test_and_snapshot_last_epochs", NVIDIA),
    plain("SolverParameter", "richness", TSN),
    changing("SolverParameter", "larc", NVIDIA, "false"),
    changing("SolverParameter", "larc_policy", NVIDIA, ""),
    changing("SolverParameter", "larc_eta", NVIDIA, ""),
    changing("SolverParameter", "larc_turbo", NVIDIA, "false"),
    changing("SolverParameter", "momentum_policy", NVIDIA, "\"fixed\""),
    changing("SolverParameter", "max_momentum", NVIDIA, ""),
    changing("SolverParameter", "momentum_power", NVIDIA, ""),
    changing(
        "SolverParameter",
        "weight_decay_policy",
        NVIDIA,
        "\"fixed\"",
    ),
    changing("SolverParameter", "weight_decay_power", NVIDIA, ""),
    changing("SolverParameter", "max_weight_decay", NVIDIA, ""),
    changing("SolverParameter", "plateau_winsize", INTEL, ""),
    changing("SolverParameter", "local_lr_auto", INTEL, "false"),
    changing("SolverParameter", "local_gw_ratio", INTEL, ""),
    changing("SolverParameter", "disabled_update", INTEL, "false"),
    changing("SolverParameter", "stepearly", LSTM, ""),
    plain("NetParameter", "bn_stats_batch_size", INTEL),
    plain("NetParameter", "compile_net_state", INTEL),
    plain("NetParameter", "eltwise_mem_sharing", NVIDIA),
    plain("NetParameter", "reduce_buckets", NVIDIA),
    plain("NetParameter", "default_conv_algos_override", NVIDIA),
    plain("NetParameter", "default_cudnn_math_override", NVIDIA),
    plain("NetParameter", "default_forward_type", NVIDIA),
    plain("NetParameter", "default_backward_type", NVIDIA),
    plain("NetParameter", "default_forward_math", NVIDIA),
    plain("NetParameter", "default_backward_math", NVIDIA),
    plain("NetParameter", "global_grad_scale", NVIDIA),
    plain("NetParameter", "global_grad_scale_adaptive", NVIDIA),
    plain("NetParameter", "mem_param", TSN),
    plain("LayerParameter", "forward_type", NVIDIA),
    plain("LayerParameter", "backward_type", NVIDIA),
    plain("LayerParameter", "forward_math", NVIDIA),
    plain("LayerParameter", "backward_math", NVIDIA),
    plain("LayerParameter", "cudnn_math_override", NVIDIA),
    plain("LayerParameter", "debug", NVIDIA),
    changing("LayerParameter", "quantization_param", INTEL, ""),
    plain(
        "ConvolutionParameter",
        "cudnn_convolution_algo_seeker",
        NVIDIA,
    ),
    plain("ConvolutionParameter", "conv_algos_override", NVIDIA),
    plain("ConvolutionParameter", "cudnn_math_override", NVIDIA),
    changing("ConvolutionParameter", "relu", INTEL, "false"),
    plain("BatchNormParameter", "stats_batch_size", INTEL),
    changing("BatchNormParameter", "use_weight_bias", INTEL, ""),
    changing("BatchNormParameter", "bias_term", INTEL, ""),
    changing("BatchNormParameter", "filler", INTEL, ""),
    changing("BatchNormParameter", "bias_filler", NVIDIA, ""),
    changing("BatchNormParameter", "scale_filler", NVIDIA, ""),
    changing("BatchNormParameter", "scale_bias", NVIDIA, "false"),
    changing("BatchNormParameter", "relu", INTEL, "false"),
    plain("DataParameter", "threads", NVIDIA),
    plain("DataParameter", "parser_threads", NVIDIA),
    plain("DataParameter", "cache", NVIDIA),
    plain("DataParameter", "precache", NVIDIA),
    changing("DataParameter", "side", YOLO, ""),
    plain("ImageDataParameter", "threads", NVIDIA),
    plain("ImageDataParameter", "cache", NVIDIA),
    plain("ImageDataParameter", "precache", NVIDIA),
    changing("ImageDataParameter", "short_side", NVIDIA, "0"),
    changing("ImageDataParameter", "dataset_share_per_node", NVIDIA, "1"),
    changing("ImageDataParameter", "min_height", INTEL, "0"),
    changing("ImageDataParameter", "min_width", INTEL, "0"),
    plain("TransformationParameter", "use_gpu_transform", NVIDIA),
    plain("TransformationParameter", "random_seed", NVIDIA),
    plain("TransformationParameter", "display", NVIDIA),
    plain("TransformationParameter", "forward_packing", NVIDIA),
    plain("TransformationParameter", "debug_params", YOLO),
    changing(
        "TransformationParameter",
        "img_rand_resize_lower",
        NVIDIA,
        "0",
    ),
    changing(
        "TransformationParameter",
        "img_rand_resize_upper",
        NVIDIA,
        "0",
    ),
    changing(
        "TransformationParameter",
        "rand_resize_ratio_lower",
        NVIDIA,
        "0",
    ),
    changing(
        "TransformationParameter",
        "rand_resize_ratio_upper",
        NVIDIA,
        "0",
    ),
    changing(
        "TransformationParameter",
        "vertical_stretch_lower",
        NVIDIA,
        "1",
    ),
    changing(
        "TransformationParameter",
        "vertical_stretch_upper",
        NVIDIA,
        "1",
    ),
    changing(
        "TransformationParameter",
        "horizontal_stretch_lower",
        NVIDIA,
        "1",
    ),
    changing(
        "TransformationParameter",
        "horizontal_stretch_upper",
        NVIDIA,
        "1",
    ),
    changing("TransformationParameter", "random_resize_param", INTEL, ""),
    changing(
        "TransformationParameter",
        "random_aspect_ratio_param",
        INTEL,
        "",
    ),
    changing("TransformationParameter", "bgr2rgb", INTEL, "false"),
    changing("TransformationParameter", "flow", INTEL, "false"),
    changing("TransformationParameter", "pad", INTEL, "0"),
    changing(
        "TransformationParameter",
        "enable_classf_aug",
        YOLO,
        "false",
    ),
    changing("TransformationParameter", "cvt_bgr2rgb", YOLO, "false"),
    changing("TransformationParameter", "fix_crop", TSN, "false"),
    changing("TransformationParameter", "multi_scale", TSN, "false"),
    changing("TransformationParameter", "is_flow", TSN, "false"),
    plain("TransformationParameter", "interpolation_algo_down", NVIDIA),
    plain("TransformationParameter", "interpolation_algo_up", NVIDIA),
    plain("TransformationParameter", "allow_upscale", NVIDIA),
    changing("PoolingParameter", "avg_include_pad", INTEL, "true"),
    changing("ResizeParameter", "center_object", SSD, "false"),
    changing("ResizeParameter", "max_angle", SSD, "0"),
    changing("ResizeParameter", "fill_bg", SSD, "false"),
    changing("ResizeParameter", "multiscale", YOLO, "false"),
    changing("DropoutParameter", "scale_train", PSP, "true"),
    changing("DropoutParameter", "sample_weights_test", SEGNET, "false"),
    changing("LossParameter", "weight_by_label_freqs", SEGNET, "false"),
    changing("LossParameter", "class_weighting", SEGNET, ""),
];

fn row(message: &str, field: &str) -> Option<&'static Row> {
    ROWS.iter()
        .find(|r| r.message == message && r.field == field)
}

/// What is to be said of a field that is known to be a fork's and is not read.
pub(super) fn refusal(message: &str, field: &str) -> Option<String> {
    let row = row(message, field)?;
    Some(format!(
        "`{field}` is a field of {}, a fork; it changes numbers, and dsd does not support it: take it out or \
         write the net as Caffe's own does it",
        row.fork
    ))
}

/// A text without what can be ignored in it, every remaining character in its place.
pub(super) struct Softened {
    pub text: String,
    /// What went, for one line to the user; what belongs to layers of forks is not told.
    pub note: Option<String>,
}

/// Takes out of `text` what forks write and what changes nothing here; none if there is nothing.
pub(super) fn soften(text: &str, tokens: &[Token], root: &MessageDescriptor) -> Option<Softened> {
    let mut walk = Walk::new(text, tokens, root.clone());
    let mut bytes = text.as_bytes().to_vec();
    let (mut changed, mut told) = (false, Vec::<String>::new());
    while walk.index() < tokens.len() {
        let index = walk.index();
        if let Some(cut) = walk.field_here().and_then(|f| f.cut(text, tokens)) {
            for token in &tokens[index..cut.end] {
                bytes[token.span.clone()].fill(b' ');
            }
            changed = true;
            told.extend(cut.told.filter(|t| !told.contains(t)));
        }
        // Mistakes are the parser's to tell.
        let _ = walk.step();
    }
    let note = (!told.is_empty()).then(|| {
        format!(
            "ignored what forks of Caffe write and what changes no numbers here: {}",
            told.join(", ")
        )
    });
    // Whole tokens went, so what is left is text.
    let text = String::from_utf8(bytes).ok().filter(|_| changed)?;
    Some(Softened { text, note })
}

/// A field name at which a walk stands.
pub(super) struct Here<'a> {
    pub message: &'a MessageDescriptor,
    pub field: Option<FieldDescriptor>,
    pub name: &'a str,
    /// Its token.
    pub index: usize,
    /// The token that opened its message, none for the file.
    pub opened_by: Option<usize>,
}

/// Tokens to leave out.
struct Cut {
    /// Behind the last of them.
    end: usize,
    told: Option<String>,
}

impl Here<'_> {
    /// What of this field is to be left out.
    fn cut(&self, text: &str, tokens: &[Token]) -> Option<Cut> {
        let end = value_end(tokens, self.index)?;
        let value = || {
            let tokens = tokens.get(self.index + 2..end).unwrap_or_default();
            let words = tokens.iter().map(|t| &text[t.span.clone()]);
            words.collect::<Vec<_>>().concat()
        };
        let told = |what: String| {
            Some(Cut {
                end,
                told: Some(what),
            })
        };
        match &self.field {
            // The name of an engine that this Caffe does not have.
            Some(field) if self.name == "engine" => match field.kind() {
                Type::Enum(values) if tokens.get(self.index + 2)?.kind == Kind::Word => {
                    let (names, value) = (value_names(&values), value());
                    let known = names.contains(&value) || nearest(&value, &names).is_some();
                    (!known).then(|| told(format!("engine: {value}"))).flatten()
                }
                _ => None,
            },
            // Several GPUs.
            Some(_) if self.name == "device_id" => {
                let list = value().starts_with('[');
                list.then(|| told("device_id: [...]".to_owned())).flatten()
            }
            Some(_) => None,
            None if self.name == "engine" => told(format!("engine: {}", value())),
            None => match row(self.message.name(), self.name) {
                Some(row) if row.changes.is_none_or(|v| !v.is_empty() && v == value()) => {
                    told(format!("{} ({})", row.field, row.fork))
                }
                Some(_) => None,
                None => (self.is_block(tokens) && self.in_layer_of_a_fork(text, tokens))
                    .then_some(Cut { end, told: None }),
            },
        }
    }

    fn is_block(&self, tokens: &[Token]) -> bool {
        let mark = |i: usize| tokens.get(i).map(|t| t.kind);
        let next = mark(self.index + 1);
        let next = match next {
            Some(Kind::Mark(':')) => mark(self.index + 2),
            other => other,
        };
        matches!(next, Some(Kind::Mark('{' | '<')))
    }

    fn in_layer_of_a_fork(&self, text: &str, tokens: &[Token]) -> bool {
        let layer = self.message.name() == "LayerParameter";
        let kind = self.opened_by.and_then(|open| type_of(text, tokens, open));
        layer && kind.is_some_and(|kind| !is_known(kind))
    }
}

/// The type of the layer whose block token `open` opens.
fn type_of<'t>(text: &'t str, tokens: &[Token], open: usize) -> Option<&'t str> {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Mark('{' | '<') => depth += 1,
            Kind::Mark('}' | '>') => depth -= 1,
            Kind::Word if depth == 1 && &text[token.span.clone()] == "type" => {
                let value = tokens.get(i + 2).filter(|t| t.kind == Kind::Text)?;
                let value = &text[value.span.clone()];
                return Some(value.trim_matches(['"', '\'']));
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    None
}

/// The token behind the value of the field named by token `index`; none if the value is not whole.
fn value_end(tokens: &[Token], index: usize) -> Option<usize> {
    let mut at = index + 1;
    if tokens.get(at)?.kind == Kind::Mark(':') {
        at += 1;
    }
    let end = match tokens.get(at)?.kind {
        Kind::Mark('{' | '<' | '[') => {
            let mut depth = 0usize;
            let close = tokens[at..].iter().position(|t| {
                match t.kind {
                    Kind::Mark('{' | '<' | '[') => depth += 1,
                    Kind::Mark('}' | '>' | ']') => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0
            });
            at + close? + 1
        }
        Kind::Mark('-') => at + 2,
        // Strings that stand side by side are one.
        Kind::Text => {
            at + tokens[at..]
                .iter()
                .take_while(|t| t.kind == Kind::Text)
                .count()
        }
        Kind::Word | Kind::Number => at + 1,
        Kind::Mark(_) => return None,
    };
    let separator = matches!(tokens.get(end).map(|t| t.kind), Some(Kind::Mark(',' | ';')));
    Some(end.min(tokens.len()) + usize::from(separator))
}

#[cfg(test)]
mod tests;
