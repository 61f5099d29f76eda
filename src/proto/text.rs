//! Nets and solvers as people write them: protobuf's text format, with errors that say `file:line:col`.
//!
//! prost-reflect does the parsing; unknown fields, duplicates and bad numbers are errors, as in Caffe. What
//! this file adds is the place, the probable meaning of a misspelt word, and the line of every layer.

use std::path::Path;

use anyhow::Result;
use miette::Diagnostic;
use prost::{Message, Name};
use prost_reflect::DynamicMessage;

use super::caffe::{NetParameter, SolverParameter};
use super::suggest::Walk;
use super::token::{place, tokens};
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
}

impl BlockLines {
    /// Line of the `i`th `layer` or `layers` block.
    pub fn layer(&self, i: usize) -> Option<usize> {
        self.layers.get(i).copied().flatten()
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
    let tokens = tokens(text);
    let mut walk = Walk::new(text, &tokens, root.clone());
    let dynamic = DynamicMessage::parse_text_format(root, text).map_err(|e| {
        let span = e.labels().and_then(|mut labels| labels.next());
        let (offset, message) = walk.explain(span.map(|s| s.offset()), &e.to_string());
        error(offset, message)
    })?;
    walk.finish().map_err(|(token, message)| {
        error(tokens.get(token).map_or(0, |t| t.span.start), message)
    })?;
    let message = dynamic
        .transcode_to()
        .map_err(|e| error(0, e.to_string()))?;

    let mut lines = BlockLines::default();
    for &(name, token) in &walk.blocks {
        let (line, _) = place(text, tokens[token].span.start);
        if matches!(name, "layer" | "layers") {
            lines.layers.push(Some(line));
        }
        lines.fields.push((name.to_owned(), line));
    }
    Ok(Parsed {
        message,
        file: file.to_owned(),
        lines,
    })
}

/// Reads a net's text as it stands, in whatever generation.
pub fn read_net(path: &Path) -> Result<Parsed<NetParameter>> {
    Ok(parse(
        &files::read_text(path)?,
        &path.display().to_string(),
    )?)
}

/// Reads a solver's text as it stands.
pub fn read_solver(path: &Path) -> Result<Parsed<SolverParameter>> {
    Ok(parse(
        &files::read_text(path)?,
        &path.display().to_string(),
    )?)
}
