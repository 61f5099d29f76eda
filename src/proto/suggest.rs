//! Follows the tokens of a prototxt through the schema: finds where top-level blocks begin, what
//! prost-reflect lets pass, and, for a mistake, the message it lies in and what was probably meant.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind as Type, MessageDescriptor};

use super::forks;
use super::token::{Kind, Token};

/// A message that is open at some token.
#[derive(Clone)]
struct Open {
    /// None inside a field that the schema does not know.
    message: Option<MessageDescriptor>,
    /// Index of the token that opened it, none for the file itself.
    opened_by: Option<usize>,
    /// Fields that must still come.
    required: Vec<String>,
}

/// Where the walk stands before a token.
pub(super) struct Walk<'a> {
    text: &'a str,
    tokens: &'a [Token],
    open: Vec<Open>,
    field: Option<FieldDescriptor>,
    next: usize,
    /// The top-level fields that have begun: name and token.
    pub blocks: Vec<(&'a str, usize)>,
    /// Of the nets inside a solver: the block that is the net, and the name and token of the net's field.
    pub inner: Vec<(usize, &'a str, usize)>,
}

impl<'a> Walk<'a> {
    /// A walk that stands before the first token of a message of type `root`.
    pub fn new(text: &'a str, tokens: &'a [Token], root: MessageDescriptor) -> Self {
        let mut walk = Walk {
            text,
            tokens,
            open: Vec::new(),
            field: None,
            next: 0,
            blocks: Vec::new(),
            inner: Vec::new(),
        };
        walk.enter(Some(root), None);
        walk
    }

    fn enter(&mut self, message: Option<MessageDescriptor>, opened_by: Option<usize>) {
        let required = message.iter().flat_map(MessageDescriptor::fields);
        let required = required.filter(|f| f.cardinality() == prost_reflect::Cardinality::Required);
        let required = required.map(|f| f.name().to_owned()).collect();
        self.open.push(Open {
            message,
            opened_by,
            required,
        });
    }

    fn kind(&self, index: usize) -> Option<Kind> {
        self.tokens.get(index).map(|t| t.kind)
    }

    fn slice(&self, index: usize) -> &'a str {
        self.tokens
            .get(index)
            .map_or("", |t| &self.text[t.span.clone()])
    }

    fn message(&self) -> Option<&MessageDescriptor> {
        self.open.last().and_then(|o| o.message.as_ref())
    }

    /// Whether the token names a field, going by what follows it.
    fn names_field(&self, index: usize) -> bool {
        self.kind(index) == Some(Kind::Word)
            && self.kind(index.wrapping_sub(1)) != Some(Kind::Mark(':'))
            && matches!(self.kind(index + 1), Some(Kind::Mark(':' | '{' | '<')))
    }

    /// Index of the token before which the walk stands.
    pub fn index(&self) -> usize {
        self.next
    }

    /// The field whose name is the next token, if the message around it is known.
    pub fn field_here(&self) -> Option<forks::Here<'_>> {
        let index = self.next;
        let message = self.message().filter(|_| self.names_field(index))?;
        let name = self.slice(index);
        Some(forks::Here {
            message,
            field: message.get_field_by_name(name),
            name,
            index,
            opened_by: self.open.last().and_then(|o| o.opened_by),
        })
    }

    /// Takes one token; an error (token, message) is something that prost-reflect lets pass and Caffe does not.
    pub fn step(&mut self) -> Result<(), (usize, String)> {
        let index = self.next;
        self.next += 1;
        let Some(kind) = self.kind(index) else {
            return Ok(());
        };
        match kind {
            Kind::Word if self.names_field(index) => {
                let name = self.slice(index);
                self.field = self.message().and_then(|m| m.get_field_by_name(name));
                if let Some(open) = self.open.last_mut() {
                    open.required.retain(|r| r != name);
                }
                let list = self.kind(index + 1) == Some(Kind::Mark(':'))
                    && self.kind(index + 2) == Some(Kind::Mark('['));
                if self.open.len() == 1 && !list {
                    self.blocks.push((name, index));
                }
                let in_net = self.message().is_some_and(|m| m.name() == "NetParameter");
                if self.open.len() == 2
                    && in_net
                    && let Some(net) = self.blocks.len().checked_sub(1)
                {
                    self.inner.push((net, name, index));
                }
            }
            Kind::Number => {
                if let Some(Type::Enum(values)) = self.field.as_ref().map(FieldDescriptor::kind) {
                    self.check_enum_number(index, &values)?;
                }
            }
            Kind::Mark('{' | '<') => {
                let listed = matches!(
                    self.kind(index.wrapping_sub(1)),
                    Some(Kind::Mark('[' | ','))
                );
                if self.open.len() == 1
                    && listed
                    && let Some(field) = &self.field
                    && let Some(name) = self.list_name(index, field.name())
                {
                    self.blocks.push((name, index));
                }
                let inner = self.field.take().map(|f| f.kind());
                let inner = inner.and_then(|k| k.as_message().cloned());
                self.enter(inner, Some(index));
            }
            Kind::Mark('}' | '>') if self.open.len() > 1 => {
                let closed = self.open.pop();
                self.field = closed.as_ref().and_then(|o| self.reopened(o.opened_by));
                if let Some(Open {
                    message: Some(message),
                    required,
                    opened_by,
                }) = closed
                    && let Some(missing) = required.first()
                {
                    let text = format!("{} needs `{missing}`", message.name());
                    return Err((opened_by.unwrap_or(index), text));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// In a list of messages the field goes on after each of them.
    fn reopened(&self, opened_by: Option<usize>) -> Option<FieldDescriptor> {
        let opened_by = opened_by?;
        let mut back = opened_by.checked_sub(1)?;
        if !matches!(self.kind(back), Some(Kind::Mark('[' | ','))) {
            return None;
        }
        let mut depth = 0usize;
        while back > 0 {
            match self.kind(back) {
                Some(Kind::Mark('}' | '>')) => depth += 1,
                Some(Kind::Mark('{' | '<')) => depth = depth.checked_sub(1)?,
                Some(Kind::Mark('[')) if depth == 0 => {
                    let name = self.slice(back.checked_sub(2)?);
                    return self.message().and_then(|m| m.get_field_by_name(name));
                }
                _ => {}
            }
            back -= 1;
        }
        None
    }

    fn list_name(&self, index: usize, name: &str) -> Option<&'a str> {
        (0..index)
            .rev()
            .map(|i| self.slice(i))
            .find(|&word| word == name)
    }

    fn check_enum_number(
        &self,
        index: usize,
        values: &EnumDescriptor,
    ) -> Result<(), (usize, String)> {
        let digits = self.slice(index);
        let negative = self.kind(index.wrapping_sub(1)) == Some(Kind::Mark('-'));
        match digits.parse::<i32>() {
            Ok(n) if values.get_value(if negative { -n } else { n }).is_none() => {
                let sign = if negative { "-" } else { "" };
                let all = value_names(values).join(", ");
                Err((
                    index,
                    format!(
                        "{} has no value {sign}{digits}; it has {all}",
                        short(values.full_name())
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Walks to the end, for a text that prost-reflect has taken.
    pub fn finish(&mut self) -> Result<(), (usize, String)> {
        while self.next < self.tokens.len() {
            self.step()?;
        }
        match self.open.first() {
            Some(Open {
                message: Some(message),
                required,
                ..
            }) if !required.is_empty() => {
                let last = self.tokens.len().saturating_sub(1);
                Err((last, format!("{} needs `{}`", message.name(), required[0])))
            }
            _ => Ok(()),
        }
    }

    /// Walks up to the byte `offset`, where prost-reflect stopped with `message`; the place to show and what
    /// to say there.
    pub fn explain(&mut self, offset: Option<usize>, message: &str) -> (usize, String) {
        let until = offset.unwrap_or(self.text.len());
        while self
            .tokens
            .get(self.next)
            .is_some_and(|t| t.span.start < until)
        {
            // What this would tell comes after the mistake that stopped the parser.
            let _ = self.step();
        }
        let index = self.next;
        let Some(offset) = offset else {
            let end = self.tokens.last().map_or(0, |t| t.span.end);
            return (end, format!("{message}{}", self.unclosed()));
        };
        let word = self.slice(index);
        if self.kind(index) == Some(Kind::Word) {
            if self.names_field(index) {
                if let Some(message) = self.message()
                    && message.get_field_by_name(word).is_none()
                {
                    return (offset, self.unknown_field(message, word));
                }
            } else if let Some(Type::Enum(values)) = self.field.as_ref().map(FieldDescriptor::kind)
                && values.get_value_by_name(word).is_none()
            {
                return (offset, unknown_value(&values, word));
            }
        }
        if self.kind(index) == Some(Kind::Text)
            && let Some(field) = &self.field
            && let Type::Enum(values) = field.kind()
        {
            return (offset, quoted_value(field.name(), &values, word));
        }
        // Deeper in an own value, prost-reflect's span covers it all and the walk stands at its first token.
        if message.ends_with("is already set") {
            let name = index
                .checked_sub(2)
                .filter(|_| self.kind(index.wrapping_sub(1)) == Some(Kind::Mark(':')));
            let name = name.or(index.checked_sub(1));
            if let Some(token) = name.and_then(|n| self.tokens.get(n)) {
                let text = format!(
                    "`{}` is given twice, but it takes one value",
                    &self.text[token.span.clone()]
                );
                return (token.span.start, text);
            }
        }
        let message = message.replace('\'', "`");
        match &self.field {
            Some(field)
                if self.kind(index.wrapping_sub(1)) == Some(Kind::Mark(':'))
                    || self.kind(index.wrapping_sub(1)) == Some(Kind::Mark('-')) =>
            {
                (offset, format!("`{}`: {message}", field.name()))
            }
            _ => (offset, message),
        }
    }

    fn unknown_field(&self, message: &MessageDescriptor, word: &str) -> String {
        if let Some(other) = self.other_file(message, word) {
            return other;
        }
        if let Some(refusal) = forks::refusal(message.name(), word) {
            return refusal;
        }
        let said = format!("{} has no field `{word}`", message.name());
        let names: Vec<_> = message.fields().map(|f| f.name().to_owned()).collect();
        if let Some(near) = nearest(word, &names) {
            return format!("{said}; did you mean `{near}`?");
        }
        // A field of an outer message: the brace before it is probably missing.
        let outer = self.open.iter().rev().skip(1);
        if outer
            .flat_map(|o| &o.message)
            .any(|m| m.get_field_by_name(word).is_some())
        {
            return format!("{said}{}", self.unclosed());
        }
        let inside: Vec<_> = message
            .fields()
            .filter(|f| matches!(f.kind(), Type::Message(m) if m.get_field_by_name(word).is_some()))
            .map(|f| format!("`{}`", f.name()))
            .collect();
        match inside.as_slice() {
            [] => said,
            some if some.len() <= 4 => format!("{said}; it belongs inside {}", some.join(" or ")),
            _ => format!("{said}; it belongs inside one of its *_param blocks"),
        }
    }

    /// What is to be said if this text is a solver where a net is expected, or a net for a solver.
    fn other_file(&self, message: &MessageDescriptor, word: &str) -> Option<String> {
        if self.open.len() != 1 {
            return None;
        }
        let (this, expected, hint) = match message.name() {
            "NetParameter" => (
                "SolverParameter",
                "a net",
                "this is a solver, whose field `net` names its net; `dsd train --solver` takes solvers",
            ),
            "SolverParameter" => (
                "NetParameter",
                "a solver",
                "this is a net, which a solver names with `net: \"FILE\"`; --model takes nets",
            ),
            _ => return None,
        };
        let other = message
            .parent_pool()
            .get_message_by_name(&format!("caffe.{this}"))?;
        other.get_field_by_name(word)?;
        Some(format!("expected {expected}, found `{word}`: {hint}"))
    }

    fn unclosed(&self) -> String {
        let Some(token) = self.open.last().and_then(|o| o.opened_by) else {
            return String::new();
        };
        let (line, _) = super::token::place(self.text, self.tokens[token].span.start);
        format!("; is the block that opens on line {line} closed?")
    }
}

pub(super) fn value_names(values: &EnumDescriptor) -> Vec<String> {
    values.values().map(|v| v.name().to_owned()).collect()
}

/// A full name without the package.
fn short(full_name: &str) -> &str {
    full_name.strip_prefix("caffe.").unwrap_or(full_name)
}

/// A string where one of an enum's words is expected.
fn quoted_value(field: &str, values: &EnumDescriptor, word: &str) -> String {
    let bare = word.trim_matches(['"', '\'']);
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let names = value_names(values);
    if values.name() == "LayerType" {
        let old = names.iter().find(|n| plain(n) == plain(bare));
        let old = old.map_or(String::new(), |old| format!("`type: {old}`, or "));
        return format!(
            "`{field}`: `layers` is Caffe's old form, whose types are words without quotes, but {word} is today's; \
             write {old}`layer {{ ... type: {word} }}` for every layer"
        );
    }
    let said = format!(
        "`{field}` takes a word without quotes: {}",
        names.join(", ")
    );
    match nearest(bare, &names) {
        Some(near) => format!("`{field}` takes a word without quotes: write `{field}: {near}`"),
        None => said,
    }
}

fn unknown_value(values: &EnumDescriptor, word: &str) -> String {
    let said = format!("{} has no value `{word}`", short(values.full_name()));
    if let Some(whose) = forks::whose_value(values.name(), word) {
        return format!("{said}: it is a value of {whose}, a fork, and not supported");
    }
    let names = value_names(values);
    match nearest(word, &names) {
        Some(near) => format!("{said}; did you mean `{near}`?"),
        None if names.len() <= 8 => format!("{said}; it has {}", names.join(", ")),
        None => said,
    }
}

/// The candidate that `word` most resembles, if any does.
pub(super) fn nearest<'c>(word: &str, candidates: &'c [String]) -> Option<&'c str> {
    let word = word.to_lowercase();
    let scored = candidates
        .iter()
        .map(|c| (strsim::damerau_levenshtein(&word, &c.to_lowercase()), c));
    let (distance, best) = scored.min_by_key(|&(distance, _)| distance)?;
    (distance <= (word.chars().count() / 3).max(1)).then_some(best)
}
