//! The shapes that a net's data layers bring, also where their data are not at hand: a net is described
//! on many machines that do not have its database.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::dims;
use crate::layers::Mode;
use crate::net::graph::{Graph, Node, State, is_source};
use crate::proto::caffe::{DummyDataParameter, LayerParameter, TransformationParameter};
use crate::proto::{self, NetParameter, Parsed, binary, blob};
use crate::tensor::Shape;
use crate::{data, files, models};

/// What the sources of a net bring.
#[derive(Default)]
pub struct Sources {
    /// The shapes of their tops, in order; `None` where one cannot be known.
    pub shapes: Option<Vec<Shape>>,
    /// The same one by one, where each is known.
    pub tops: Vec<Option<Shape>>,
    /// What was assumed, or is missing.
    pub notes: Vec<String>,
}

/// Where shapes can come from beside the data.
pub struct Hints<'a> {
    /// The whole net, also the layers of its other phase.
    pub net: &'a NetParameter,
    /// The folder from which its paths are looked up.
    pub folder: &'a Path,
    /// The deploy form of a built-in net, or of a model in one file.
    pub deploy: Option<Parsed<NetParameter>>,
}

/// The shapes of the tops of the sources of `graph`.
pub fn find(graph: &Graph, hints: &Hints) -> Result<Sources> {
    let mut tops: Vec<Option<Shape>> = Vec::new();
    let mut notes = Vec::new();
    for (i, node) in graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, n)| n.is_source())
    {
        let place = || graph.place(i);
        match of_source(graph, node, hints, &mut notes).with_context(place)? {
            Some(own) => {
                for shape in &own {
                    check(shape).with_context(place)?;
                }
                tops.extend(own.into_iter().map(Some));
            }
            None => tops.extend(node.tops.iter().map(|_| None)),
        }
    }
    let shapes = tops.iter().cloned().collect();
    Ok(Sources {
        shapes,
        tops,
        notes,
    })
}

fn check(shape: &Shape) -> Result<()> {
    ensure!(
        shape.is_at_most(isize::MAX as usize / 4),
        "a blob of {} is too large for this machine's memory",
        dims(shape.dims())
    );
    Ok(())
}

fn of_source(
    graph: &Graph,
    node: &Node,
    hints: &Hints,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<Shape>>> {
    let param = &node.param;
    match param.r#type() {
        "Input" => return models::shapes_of_input(node).map(Some),
        "DummyData" => return dummy(param.dummy_data_param.as_ref(), node.tops.len()).map(Some),
        "MemoryData" => {
            let p = param.memory_data_param.unwrap_or_default();
            let picture = [p.channels(), p.height(), p.width()].map(|d| d as usize);
            return Ok(Some(with_labels(picture, p.batch_size(), node)));
        }
        _ => {}
    }
    let batch = batch(param);
    let missing = if hints.deploy.is_some() && !source(param).starts_with("builtin:") {
        // The sources of a built-in net are only names for the user to replace.
        None
    } else {
        let options = data::Options {
            mode: graph.mode,
            seed: 0,
            source: None,
            resolve: &|name| files::resolve(name, hints.folder),
            skip_bad: data::bad_records::left_out(),
            warn: &|_| {},
        };
        match data::open(param, &options) {
            Ok(source) => return Ok(Some(source.shapes())),
            Err(e) => Some(format!("layer '{}': {e:#}", node.name())),
        }
    };
    let top = param.top.first().map_or("data", String::as_str);
    let guess = guess(param, top, hints);
    match (guess, missing) {
        (Some((picture, how)), missing) => {
            if let Some(missing) = missing {
                notes.push(format!(
                    "{missing}; its pictures are taken as {}, {how}",
                    dims(&picture)
                ));
            }
            Ok(Some(with_labels(picture, batch, node)))
        }
        (None, missing) => {
            let why = missing.unwrap_or_else(|| format!("layer '{}'", node.name()));
            notes.push(format!(
                "{why}; without the data, a crop_size, or a deploy.prototxt beside it, the shapes are unknown"
            ));
            Ok(None)
        }
    }
}

/// A picture, and a label for each further top.
fn with_labels(picture: [usize; 3], batch: u32, node: &Node) -> Vec<Shape> {
    let rows = batch.max(1) as usize;
    let [c, h, w] = picture;
    let mut shapes = vec![Shape::new([rows, c, h, w])];
    shapes.extend(node.tops.iter().skip(1).map(|_| Shape::new([rows])));
    shapes
}

fn source(param: &LayerParameter) -> &str {
    param.data_param.as_ref().map_or("", |p| p.source())
}

fn batch(param: &LayerParameter) -> u32 {
    let data = param.data_param.as_ref().map(|p| p.batch_size());
    let images = param.image_data_param.as_ref().map(|p| p.batch_size());
    let windows = param.window_data_param.as_ref().map(|p| p.batch_size());
    data.or(images).or(windows).unwrap_or(1)
}

/// Channels, height and width of the pictures of a layer whose data are not there, and how they are known.
fn guess(param: &LayerParameter, top: &str, hints: &Hints) -> Option<([usize; 3], String)> {
    if let Some(picture) = hints.deploy.as_ref().and_then(|net| input(net, top)) {
        return Some((picture, "as in the deploy net".into()));
    }
    let transform = param.transform_param.clone().unwrap_or_default();
    let crop = crop(param);
    let (channels, said) = channels(param, &transform);
    let channels_said = if said {
        ""
    } else {
        ", with 3 channels assumed"
    };
    if let Some(([c, h, w], file)) = mean(&transform, hints.folder) {
        let picture = if crop > 0 { [c, crop, crop] } else { [c, h, w] };
        return Some((picture, format!("from the mean file {file}")));
    }
    if crop > 0 {
        let how = format!("from crop_size{channels_said}");
        return Some(([channels, crop, crop], how));
    }
    let size = transform.resize_param.first();
    if let Some(p) = size.filter(|p| p.height() > 0 && p.width() > 0) {
        let picture = [channels, p.height() as usize, p.width() as usize];
        return Some((picture, format!("from resize_param{channels_said}")));
    }
    if let Some(p) = &param.image_data_param
        && p.new_height() > 0
        && p.new_width() > 0
    {
        let picture = [channels, p.new_height() as usize, p.new_width() as usize];
        return Some((
            picture,
            format!("from new_height and new_width{channels_said}"),
        ));
    }
    let twin =
        |l: &&LayerParameter| is_source(l.r#type()) && l.top.first().is_some_and(|t| t == top);
    let twins = hints.net.layer.iter().filter(twin);
    if let Some(crop) = twins.map(self::crop).find(|&c| c > 0) {
        let how = format!("from the crop_size of the other phase{channels_said}");
        return Some(([channels, crop, crop], how));
    }
    let beside = hints.folder.join("deploy.prototxt");
    let (deploy, _) = proto::load_net(&beside).ok()?;
    Some((input(&deploy, top)?, format!("as in {}", beside.display())))
}

fn crop(param: &LayerParameter) -> usize {
    let own = param.transform_param.as_ref().map_or(0, |p| p.crop_size());
    let windows = param
        .window_data_param
        .as_ref()
        .map_or(0, |p| p.crop_size());
    own.max(windows) as usize
}

/// The number of channels, and whether the layer says it.
fn channels(param: &LayerParameter, transform: &TransformationParameter) -> (usize, bool) {
    let gray = param
        .image_data_param
        .as_ref()
        .is_some_and(|p| !p.is_color());
    match transform.mean_value.len() {
        n if n > 1 => (n, true),
        _ if transform.force_gray() || gray => (1, true),
        _ => (
            3,
            transform.force_color() || param.image_data_param.is_some(),
        ),
    }
}

/// The shape of the layer's mean file, if it can be read.
fn mean(transform: &TransformationParameter, folder: &Path) -> Option<([usize; 3], String)> {
    let file = files::resolve(transform.mean_file.as_ref()?, folder);
    match blob::shape(&binary::read_blob(&file).ok()?).ok()?[..] {
        [1, c, h, w] | [c, h, w] => Some(([c, h, w], file.display().to_string())),
        _ => None,
    }
}

/// What the Input layers of `net` say of the blob `top`.
fn input(net: &Parsed<NetParameter>, top: &str) -> Option<[usize; 3]> {
    let graph = Graph::new(net, &State::new(Mode::Test)).ok()?;
    let value = graph.value(top)?;
    let node = graph.nodes.iter().find(|n| n.tops.contains(&value))?;
    let k = node.tops.iter().position(|&t| t == value)?;
    match models::shapes_of_input(node).ok()?.get(k)?.dims() {
        &[_, c, h, w] => Some([c, h, w]),
        _ => None,
    }
}

/// What a DummyData layer says: whole shapes, or the four old sizes; one for all tops or one for each.
fn dummy(param: Option<&DummyDataParameter>, tops: usize) -> Result<Vec<Shape>> {
    let p = param.cloned().unwrap_or_default();
    let place = |n: usize, k: usize| match n {
        1 => Some(0),
        n if n == tops => Some(k),
        _ => None,
    };
    let shape = |k: usize| {
        if !p.shape.is_empty() {
            let dims = &p.shape[place(p.shape.len(), k)?].dim;
            let sizes: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
            return sizes.map(Shape::new);
        }
        let four = [&p.num, &p.channels, &p.height, &p.width];
        let sizes: Option<Vec<usize>> = four
            .into_iter()
            .map(|sizes| Some(sizes[place(sizes.len(), k)?] as usize))
            .collect();
        sizes.map(Shape::new)
    };
    match (0..tops).map(shape).collect() {
        Some(shapes) => Ok(shapes),
        None => bail!("give dummy_data_param one shape, or one for each of the {tops} tops"),
    }
}
