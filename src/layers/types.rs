//! What is said of a layer type that is not there: a slip of the pen, or a layer of a fork of Caffe.

use crate::proto::forks::types::{CAFFE_TYPES, FORK_TYPES};

/// The layers of forks that people bring most and that are not here, and whose they are.
const FORKS: [(&str, &str); 16] = [
    (
        "SSD and its family",
        "AnnotatedData PriorBox MultiBoxLoss DetectionOutput DetectionEvaluate VideoData",
    ),
    (
        "Fast and Faster R-CNN and R-FCN",
        "PSROIPooling SmoothL1LossOHEM BoxAnnotatorOHEM SoftmaxWithLossOHEM ROIAlign Proposal",
    ),
    (
        "SegNet, ENet and PSPNet",
        "BN Upsample DenseImageData Interp SegAccuracy SpatialDropout",
    ),
    (
        "YOLO",
        "Reorg YoloV3Detection Yolov3DetectionOutput YoloDetectionOutput Yolov3 RegionLoss RegionOutput EvalDetection",
    ),
    ("SphereFace", "MarginInnerProduct"),
    ("centre loss", "CenterLoss"),
    ("caffe-lstm", "Lstm"),
    ("FlowNet", "Correlation FlowWarp Resample L1Loss"),
    ("DetectNet", "DetectNetTransformation"),
    ("Dynamic Network Surgery", "CConvolution CInnerProduct"),
    ("C3D", "Convolution3D Pooling3D Deconvolution3D"),
    ("OpenPose", "CPMData ImResize Nms"),
    ("hypercolumns and HED", "ImageLabelmapData"),
    ("temporal segment networks", "SegConsensus BatchRenorm"),
    ("quantized nets", "Quantization QuantizedConvolution"),
    ("triplet losses", "TripletLoss TripletSelect"),
];

fn fork_of(kind: &str) -> Option<&'static str> {
    let has = |types: &str| types.split(' ').any(|t| t == kind);
    let row = FORKS.iter().find(|(_, types)| has(types));
    row.map(|(whose, _)| *whose)
}

/// The type of Caffe's that an unknown one was probably meant to be.
pub fn meant(kind: &str) -> Option<&'static str> {
    if kind == "SoftmaxLoss" {
        return Some("SoftmaxWithLoss");
    }
    if fork_of(kind).is_some() || kind.is_empty() {
        return None;
    }
    let word = kind.to_lowercase();
    let distance = |t: &str| strsim::damerau_levenshtein(&word, &t.to_lowercase());
    let types = CAFFE_TYPES
        .iter()
        .chain(&FORK_TYPES)
        .filter(|t| !t.is_empty());
    let (distance, near) = types.map(|t| (distance(t), *t)).min()?;
    (distance <= (word.chars().count() / 4).max(1)).then_some(near)
}

/// The sentence for an unknown type.
pub fn unknown(kind: &str) -> String {
    let said = format!("unknown layer type '{kind}'");
    match (fork_of(kind), meant(kind)) {
        (Some(whose), _) => {
            format!("{said}: a fork's layer ({whose}), which BVLC Caffe and dsd do not have")
        }
        (None, Some(near)) => format!("{said}; did you mean '{near}'?"),
        (None, None) => format!("{said}: a fork's layer, which BVLC Caffe and dsd do not have"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_told_from_forks() {
        for (kind, said) in [
            ("Relu", "unknown layer type 'Relu'; did you mean 'ReLU'?"),
            (
                "Convolutoin",
                "unknown layer type 'Convolutoin'; did you mean 'Convolution'?",
            ),
            (
                "Softmaxwithloss",
                "unknown layer type 'Softmaxwithloss'; did you mean 'SoftmaxWithLoss'?",
            ),
            (
                "SoftmaxLoss",
                "unknown layer type 'SoftmaxLoss'; did you mean 'SoftmaxWithLoss'?",
            ),
        ] {
            assert_eq!(unknown(kind), said);
        }
        for kind in ["BN", "Upsample", "PSROIPooling", "Lstm", "MyOwnLayer"] {
            let said = unknown(kind);
            assert!(
                said.contains("a fork's layer") && !said.contains("did you mean"),
                "{said}"
            );
        }
    }
}
