//! Nets and solvers as people write them: protobuf's text format, with errors that say `file:line:col`.
//!
//! prost-reflect does the parsing; unknown fields, duplicates and bad numbers are errors, as in Caffe. What
//! this file adds is the place, the probable meaning of a misspelt word, and the line of every layer.

use std::path::Path;

use anyhow::{Result, anyhow};
use miette::Diagnostic;
use prost::{Message, Name};
use prost_reflect::DynamicMessage;

use super::caffe::{NetParameter, SolverParameter};
use super::forks;
use super::strings;
use super::suggest::Walk;
use super::token::{Token, place, tokens};
use crate::files;

/// A message read from text, and where its parts stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<M> {
    /// What the text says.
    pub message: M,
    /// The file's name, as it was given.
    pub file: String,
    /// Where the top-level fields stand.
    pub lines: BlockLines,
}

impl<M> Parsed<M> {
    /// `file:line` of layer `i`, or the file alone if the layer does not stand in it.
    pub fn layer_place(&self, i: usize) -> String {
        self.place(self.lines.layer(i))
    }

    /// `file:line` of the first top-level field `name`, or the file alone.
    pub fn field_place(&self, name: &str) -> String {
        self.place(self.lines.field(name, 0))
    }

    fn place(&self, line: Option<usize>) -> String {
        match line {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.clone(),
        }
    }
}

/// The lines, from 1, on which the top-level fields of a text begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockLines {
    pub(super) layers: Vec<Option<usize>>,
    fields: Vec<(String, usize)>,
    /// For the nets inside a solver, in the order of the text: the field, and where its parts stand.
    pub(super) inner: Vec<(String, BlockLines)>,
    /// What was left out, for one line to the user.
    pub(super) ignored: Option<String>,
}

impl BlockLines {
    /// The lines of layers that are known otherwise, 0 for none.
    pub fn of_layers(lines: impl IntoIterator<Item = usize>) -> Self {
        let layers = lines.into_iter().map(|line| (line > 0).then_some(line));
        Self {
            layers: layers.collect(),
            ..Self::default()
        }
    }

    /// The lines of the net in the `i`th field `name` of a solver.
    pub fn inner(&self, name: &str, i: usize) -> Self {
        let mut same = self.inner.iter().filter(|(field, _)| field == name);
        same.nth(i)
            .map(|(_, lines)| lines.clone())
            .unwrap_or_default()
    }

    fn of(walk: &Walk, line_of: impl Fn(usize) -> usize) -> Self {
        let mut lines = Self::default();
        for (k, &(name, token)) in walk.blocks.iter().enumerate() {
            lines.add(name, line_of(token));
            if name.ends_with("net_param") {
                let mut inner = Self::default();
                for &(_, name, token) in walk.inner.iter().filter(|(net, ..)| *net == k) {
                    inner.add(name, line_of(token));
                }
                lines.inner.push((name.to_owned(), inner));
            }
        }
        lines
    }

    fn add(&mut self, name: &str, line: usize) {
        if matches!(name, "layer" | "layers") {
            self.layers.push(Some(line));
        }
        self.fields.push((name.to_owned(), line));
    }

    /// Line of the `i`th `layer` or `layers` block.
    pub fn layer(&self, i: usize) -> Option<usize> {
        self.layers.get(i).copied().flatten()
    }

    /// Makes room for `count` layers put before the first one; they have no line.
    pub fn insert_front(&mut self, count: usize) {
        self.layers.splice(0..0, std::iter::repeat_n(None, count));
    }

    /// Line of the `i`th occurrence of the top-level field `name`.
    pub fn field(&self, name: &str, i: usize) -> Option<usize> {
        let mut same = self.fields.iter().filter(|(field, _)| field == name);
        same.nth(i).map(|&(_, line)| line)
    }
}

/// A text that does not say a message: prints as `file:line:col: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct TextError {
    /// The file's name, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// Reads a message from its text form; `file` is the name that errors show.
pub fn parse<M>(text: &str, file: &str) -> Result<Parsed<M>, TextError>
where
    M: Message + Name + Default,
{
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = &*files::encoding::spelt(text);
    let error = |offset: usize, message: String| {
        let (line, column) = place(text, offset);
        TextError {
            file: file.to_owned(),
            line,
            column,
            message,
        }
    };
    let Some(root) = super::descriptors().get_message_by_name(&M::full_name()) else {
        return Err(error(0, format!("{} is not in the schema", M::full_name())));
    };
    let mut found = tokens(text);
    if let Some((offset, message)) = strings::mistake(text, &found) {
        return Err(error(offset, message));
    }
    let softened = forks::soften(text, &found, &root);
    let (text, ignored) = match &softened {
        Some(soft) => (soft.text.as_str(), soft.note.clone()),
        None => (text, None),
    };
    if softened.is_some() {
        found = tokens(text);
    }
    let tokens = found;
    let mut walk = Walk::new(text, &tokens, root.clone());
    let dynamic = DynamicMessage::parse_text_format(root, text).map_err(|e| {
        let span = e.labels().and_then(|mut labels| labels.next());
        let (offset, message) = walk.explain(span.map(|s| s.offset()), &e.to_string());
        match open_block(text, &tokens, offset) {
            Some(brace) => error(
                brace,
                "the block that begins here is not closed: expected a }".to_owned(),
            ),
            None => error(offset, message),
        }
    })?;
    walk.finish().map_err(|(token, message)| {
        error(tokens.get(token).map_or(0, |t| t.span.start), message)
    })?;
    let message = dynamic
        .transcode_to()
        .map_err(|e| error(0, e.to_string()))?;

    let mut lines = BlockLines::of(&walk, |token| place(text, tokens[token].span.start).0);
    lines.ignored = ignored;
    Ok(Parsed {
        message,
        file: file.to_owned(),
        lines,
    })
}

/// The brace of the block that belongs to the name at `offset`, if nothing closes it: what is wrong with such a
/// name is not told before the block is whole.
fn open_block(text: &str, tokens: &[Token], offset: usize) -> Option<usize> {
    let mut open = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match &text[token.span.clone()] {
            "{" | "<" => open.push(i),
            "}" | ">" => drop(open.pop()),
            _ => {}
        }
    }
    let brace = *open.last()?;
    let mut before = tokens[..brace].iter().rev();
    let name = before.find(|t| &text[t.span.clone()] != ":")?;
    (name.span.start == offset).then(|| tokens[brace].span.start)
}

/// Reads a net's text as it stands, in whatever generation.
pub fn read_net(path: &Path) -> Result<Parsed<NetParameter>> {
    read(path, "a net (prototxt)")
}

/// Reads a solver's text as it stands.
pub fn read_solver(path: &Path) -> Result<Parsed<SolverParameter>> {
    read(path, "a solver (prototxt)")
}

fn read<M: Message + Name + Default>(path: &Path, expected: &str) -> Result<Parsed<M>> {
    let text = files::read_text(path).map_err(|e| {
        let head = files::head(path, 1 << 16).unwrap_or_default();
        match strings::no_text(&head) {
            Some(found) => anyhow!("{e}: expected {expected}, found {found}"),
            None => e,
        }
    });
    Ok(parse(&text?, &path.display().to_string())?)
}

/// What a file is that holds a net or a solver as text; none if it is no prototxt.
pub fn prototxt(bytes: &[u8]) -> Option<&'static str> {
    let text = &files::encoding::text(bytes.to_vec()).ok()?[..];
    let has =
        |fields: Vec<String>, names: &[&str]| fields.iter().any(|f| names.contains(&f.as_str()));
    if has(
        top_fields::<SolverParameter>(text),
        &[
            "net",
            "train_net",
            "base_lr",
            "max_iter",
            "lr_policy",
            "net_param",
        ],
    ) {
        return Some("a solver (prototxt)");
    }
    let net = has(
        top_fields::<NetParameter>(text),
        &["layer", "layers", "input"],
    );
    net.then_some("a net (prototxt)")
}

/// The names of the top-level fields of a text, in order, whatever else is wrong with it.
pub fn top_fields<M: Message + Name>(text: &str) -> Vec<String> {
    let Some(root) = super::descriptors().get_message_by_name(&M::full_name()) else {
        return Vec::new();
    };
    let tokens = tokens(text);
    let mut walk = Walk::new(text, &tokens, root);
    while walk.index() < tokens.len() {
        let _ = walk.step();
    }
    walk.blocks.iter().map(|(n, _)| (*n).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{SolverParameter, print};

    fn net(text: &str) -> NetParameter {
        match parse::<NetParameter>(text, "n") {
            Ok(parsed) => parsed.message,
            Err(e) => panic!("{text}: {e}"),
        }
    }

    fn solver(text: &str) -> SolverParameter {
        match parse::<SolverParameter>(text, "s") {
            Ok(parsed) => parsed.message,
            Err(e) => panic!("{text}: {e}"),
        }
    }

    fn error(text: &str) -> String {
        parse::<NetParameter>(text, "n")
            .expect_err(text)
            .to_string()
    }

    #[test]
    fn numbers_come_in_all_of_protobufs_spellings() {
        for (text, value) in [
            ("1e-4", 1e-4),
            ("1E+2", 100.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("1.0f", 1.0),
            ("1f", 1.0),
            ("-.5", -0.5),
            ("- 2", -2.0),
            ("3", 3.0),
            ("inf", f32::INFINITY),
            ("-inf", f32::NEG_INFINITY),
        ] {
            assert_eq!(
                solver(&format!("base_lr: {text}")).base_lr,
                Some(value),
                "{text}"
            );
        }
        assert_eq!(solver("iter_size: 0x10").iter_size, Some(16));
        assert_eq!(solver("iter_size: 010").iter_size, Some(8));
    }

    #[test]
    fn truth_comes_in_six_spellings() {
        for (text, value) in [
            ("true", true),
            ("True", true),
            ("t", true),
            ("1", true),
            ("false", false),
            ("False", false),
            ("f", false),
            ("0", false),
        ] {
            assert_eq!(
                net(&format!("force_backward: {text}")).force_backward,
                Some(value),
                "{text}"
            );
        }
    }

    #[test]
    fn blocks_lists_and_separators_are_free_in_form() {
        let plain = net("layer { name: 'a' top: 'x' top: 'y' } layer { name: 'b' }");
        for text in [
            "layer: { name: 'a' top: 'x' top: 'y' } layer: { name: 'b' }",
            "layer < name: 'a', top: 'x'; top: \"y\"; > layer<name:'b'>",
            "layer: [ { name: 'a' top: ['x', 'y'] }, { name: 'b' } ]",
            "\u{feff}layer {\r\n name: 'a' # { not a block\r\n top: 'x' top: 'y' }\r\nlayer { name: 'b' }\r\n",
            "layer { name: \"\" 'a' top: '\\170' top: 'y' } layer { name: 'b' }",
        ] {
            assert_eq!(net(text), plain, "{text}");
        }
        assert_eq!(net(""), NetParameter::default());
        assert_eq!(net("# nothing"), NetParameter::default());
    }

    #[test]
    fn an_enum_may_be_given_by_its_number() {
        assert_eq!(net("state { phase: 0 }"), net("state { phase: TRAIN }"));
        assert_eq!(
            error("state {\n  phase: 7 }"),
            "n:2:10: Phase has no value 7; it has TRAIN, TEST"
        );
    }

    #[test]
    fn a_misspelt_field_is_named_with_its_place() {
        assert_eq!(
            error("layer {\n  name: 'é' convolution_param { kernel_sze: 3 } }"),
            "n:2:33: ConvolutionParameter has no field `kernel_sze`; did you mean `kernel_size`?"
        );
        assert_eq!(
            error("layer { kernel_size: 3 }"),
            "n:1:9: LayerParameter has no field `kernel_size`; it belongs inside `convolution_param` or `pooling_param`"
        );
        assert_eq!(error("zzz: 3"), "n:1:1: NetParameter has no field `zzz`");
    }

    #[test]
    fn a_misspelt_value_is_named_with_its_place() {
        assert_eq!(
            error("layer { pooling_param { pool: MXA } }"),
            "n:1:31: PoolingParameter.PoolMethod has no value `MXA`; did you mean `MAX`?"
        );
        assert_eq!(
            error("layer { pooling_param { pool: median } }"),
            "n:1:31: PoolingParameter.PoolMethod has no value `median`; it has MAX, AVE, STOCHASTIC"
        );
    }

    #[test]
    fn a_missing_brace_is_suspected() {
        let text = "layer {\n  convolution_param {\n    num_output: 3\n}\nlayer { name: 'b' }\n";
        assert_eq!(
            error(text),
            "n:5:1: LayerParameter has no field `layer`; is the block that opens on line 1 closed?"
        );
        let open = error("layer {\n name: 'a'\n");
        assert!(
            open.starts_with("n:2:11: ") && open.ends_with("opens on line 1 closed?"),
            "{open}"
        );
    }

    #[test]
    fn duplicates_bad_numbers_and_missing_values_are_errors() {
        assert_eq!(
            error("name: 'a'\nname: 'b'"),
            "n:2:1: `name` is given twice, but it takes one value"
        );
        assert_eq!(
            error("layer { relu_param { } \n relu_param { } }"),
            "n:2:2: `relu_param` is given twice, but it takes one value"
        );
        let number = error("layer { convolution_param {\n num_output: 1.5 } }");
        assert!(
            number.starts_with("n:2:14: `num_output`: expected an integer"),
            "{number}"
        );
        let negative = error("layer { convolution_param { num_output: -1 } }");
        assert!(negative.starts_with("n:1:41: `num_output`: "), "{negative}");
        assert!(error("layer { name: }").starts_with("n:1:15: "));
        assert!(error("name: \"a\n").starts_with("n:1:"));
        assert!(error("@").starts_with("n:1:1: "));
        assert_eq!(
            error("layer {\n clip_param { min: 1 } }"),
            "n:2:13: ClipParameter needs `max`"
        );
    }

    #[test]
    fn every_layer_knows_its_line() {
        let text = "name: 'layer {' # layer {\nlayer {\n include { phase: TEST }\n}\n\nlayer: [ {\n name: 'x' },\n { } ]\nlayer { }";
        let parsed = parse::<NetParameter>(text, "dir/n.prototxt").unwrap();
        let lines: Vec<_> = (0..5).map(|i| parsed.lines.layer(i)).collect();
        assert_eq!(lines, [Some(2), Some(6), Some(8), Some(9), None]);
        assert_eq!(parsed.message.layer.len(), 4);
        assert_eq!(parsed.layer_place(1), "dir/n.prototxt:6");
        assert_eq!(parsed.layer_place(9), "dir/n.prototxt");
        assert_eq!(parsed.field_place("name"), "dir/n.prototxt:1");
    }

    #[test]
    fn broken_texts_are_errors_and_never_panics() {
        let text = "layer { name: \"a\\n\" pooling_param < pool: MAX > top: ['x', 'y'] loss_weight: -1e-4 }";
        for cut in 0..text.len() {
            let _ = parse::<NetParameter>(&text[..cut], "n");
            for odd in [
                "{", "}", "\"", "é", "[", ":", "-", "0x", "1e", "\0", "<", "\\",
            ] {
                let _ =
                    parse::<NetParameter>(&format!("{}{odd}{}", &text[..cut], &text[cut..]), "n");
            }
        }
    }

    #[test]
    fn a_file_that_is_missing_or_not_text_is_named() {
        let missing = read_net(Path::new("no/such.prototxt"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            missing,
            "cannot read no/such.prototxt: No such file or directory"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"name: \0").unwrap();
        let binary = read_net(file.path()).unwrap_err().to_string();
        assert!(binary.contains("not a text file (byte 6"), "{binary}");
    }

    #[test]
    fn what_is_printed_reads_back() {
        let text = "name: \"a\\\"b\\\\\\n\\001\u{e9}\"\nlayer {\n  top: \"x\"\n  top: \"y\"\n  loss_weight: 0.1\n  \
                    loss_weight: -1e-05\n  loss_weight: 1e+06\n  loss_weight: 123456\n  loss_weight: 1234567\n  \
                    loss_weight: 0.00012\n  loss_weight: inf\n  pooling_param {\n    pool: AVE\n  }\n}\n";
        let message = net(text);
        assert_eq!(print(&message), text);
    }
}
