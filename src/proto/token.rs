//! Splits text format into tokens with their places, without judging it: prost-reflect does the parsing,
//! the tokens say where blocks begin and in which message a mistake lies.

use std::ops::Range;

/// What a token is, as far as its place in a message depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A field name or an enum value.
    Word,
    /// Digits, a dot and what belongs to a number; the sign is a mark of its own.
    Number,
    /// A quoted string, quotes included.
    Text,
    /// One character of punctuation, or any other.
    Mark(char),
}

/// A token and the bytes it takes.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Range<usize>,
}

/// All tokens of `text`; comments and white space are left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        let mut end = start + c.len_utf8();
        let mut take_while = |wanted: &dyn Fn(char) -> bool| {
            while let Some((at, c)) = rest.next_if(|&(_, c)| wanted(c)) {
                end = at + c.len_utf8();
            }
        };
        let kind = if c.is_whitespace() {
            continue;
        } else if c == '#' {
            take_while(&|c| c != '\n');
            continue;
        } else if c.is_ascii_alphabetic() || c == '_' {
            take_while(&|c| c.is_ascii_alphanumeric() || c == '_');
            Kind::Word
        } else if c.is_ascii_digit() || c == '.' {
            take_while(&|c| c.is_ascii_alphanumeric() || c == '.');
            // The sign of an exponent belongs to the number.
            let hexadecimal = text[start..end].starts_with("0x");
            if !hexadecimal
                && text[start..end].ends_with(['e', 'E'])
                && let Some((at, _)) = rest.next_if(|&(_, c)| c == '-' || c == '+')
            {
                end = at + 1;
                while let Some((at, c)) = rest.next_if(|&(_, c)| c.is_ascii_alphanumeric()) {
                    end = at + c.len_utf8();
                }
            }
            Kind::Number
        } else if c == '"' || c == '\'' {
            // A string ends at its quote; a broken one at the line's end.
            let mut escaped = false;
            while let Some((at, next)) = rest.next_if(|&(_, next)| next != '\n') {
                end = at + next.len_utf8();
                if !escaped && next == c {
                    break;
                }
                escaped = !escaped && next == '\\';
            }
            Kind::Text
        } else {
            Kind::Mark(c)
        };
        found.push(Token {
            kind,
            span: start..end,
        });
    }
    found
}

/// Line and column of a byte of `text`, both from 1; columns count characters.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).into_iter().map(|t| &text[t.span]).collect()
    }

    #[test]
    fn strings_and_comments_hide_braces() {
        let text = "a: 'x{\\'}' # { \n b { c: \"}\" }";
        assert_eq!(
            words(text),
            ["a", ":", "'x{\\'}'", "b", "{", "c", ":", "\"}\"", "}"]
        );
    }

    #[test]
    fn numbers_keep_their_exponent() {
        assert_eq!(
            words("-1e-4 .5f 1. 0x1e-3"),
            ["-", "1e-4", ".5f", "1.", "0x1e", "-", "3"]
        );
    }

    #[test]
    fn a_place_counts_characters() {
        assert_eq!(place("é\r\nab", 0), (1, 1));
        assert_eq!(place("éa\r\nab", 2), (1, 2));
        assert_eq!(place("é\r\nab", 5), (2, 2));
        assert_eq!(place("é\r\nab", 99), (2, 3));
    }
}
