//! What goes wrong inside the quotes of a prototxt, and files that are no text at all.

use super::token::{Kind, Token};

/// The first mistake in a string: its byte and what to say there.
pub(super) fn mistake(text: &str, tokens: &[Token]) -> Option<(usize, String)> {
    let strings = tokens.iter().filter(|t| t.kind == Kind::Text);
    strings.into_iter().find_map(|token| {
        let start = token.span.start;
        of_string(&text[token.span.clone()]).map(|(at, message)| (start + at, message))
    })
}

fn of_string(string: &str) -> Option<(usize, String)> {
    let quote = string.chars().next()?;
    let inner = &string[1..];
    let windows = matches!(inner.as_bytes(), [drive, b':', b'\\', next, ..]
        if drive.is_ascii_alphabetic() && *next != b'\\');
    if windows
        || matches!(inner.as_bytes(), [b'\\', b'\\', a, ..] if a.is_ascii_alphanumeric())
            && unc(inner)
    {
        return Some((
            0,
            "a backslash begins an escape (\\n, \\\") in prototxt; write the path with / or \\\\ instead of \\".to_owned(),
        ));
    }
    let mut rest = inner.char_indices();
    while let Some((at, c)) = rest.next() {
        if c == quote {
            return None;
        }
        if c == '\\' {
            match rest.next() {
                Some((_, e)) if known_escape(e) => {}
                Some((_, e)) => {
                    return Some((
                        1 + at,
                        format!(
                            "\\{e} is no escape of prototxt; write \\\\ for a backslash, and paths with /"
                        ),
                    ));
                }
                None => break,
            }
        }
    }
    Some((
        0,
        format!(
            "the string that begins here is not closed: expected a {quote} before the end of the line"
        ),
    ))
}

/// Whether a string is a path of a Windows server, `\\server\share`, with single backslashes behind.
fn unc(inner: &str) -> bool {
    let behind = &inner[2..];
    let doubled = behind.matches("\\\\").count() * 2;
    behind.matches('\\').count() > doubled
}

fn known_escape(c: char) -> bool {
    matches!(
        c,
        'a' | 'b'
            | 'f'
            | 'n'
            | 'r'
            | 't'
            | 'v'
            | '\\'
            | '\''
            | '"'
            | '?'
            | 'x'
            | 'X'
            | 'u'
            | 'U'
            | '0'..='7'
    )
}

/// What a file is that cannot be a prototxt, going by its bytes.
pub(super) fn no_text(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(4096)];
    let utf16 = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    // A tab, new lines, a form feed, and what old editors put at the end.
    let control = |b: &u8| *b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1a);
    if utf16 || !head.iter().any(control) {
        return None;
    }
    Some(if head.starts_with(b"PK\x03\x04") {
        "an archive (.npz weights?)"
    } else if head.starts_with(b"\x89HDF\r\n\x1a\n") {
        "an HDF5 file (weights or a solver state?)"
    } else {
        "binary data (weights such as a .caffemodel, a solver state or a mean?); weights are given with --weights"
    })
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    fn said(text: &str) -> Option<(usize, String)> {
        mistake(text, &tokens(text))
    }

    #[test]
    fn good_strings_are_left_alone() {
        for text in [
            r#"a: "C:/Users" b: 'x"y' c: "\"" d: "\\\\server\\share" e: "\101\x41" f: "C:\\a""#,
            "# \" not a string\na: 'b'",
            "",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }

    #[test]
    fn an_open_string_a_windows_path_and_a_wrong_escape_are_told() {
        for (text, at, part) in [
            ("name: \"n\nlayer { }", 6, "is not closed: expected a \""),
            ("name: 'n", 6, "is not closed: expected a '"),
            (r#"a: "C:\Users\me""#, 3, "write the path with / or \\\\"),
            (r#"a: "C:\new\train""#, 3, "write the path with / or \\\\"),
            (r#"a: "data\images""#, 8, "\\i is no escape of prototxt"),
        ] {
            let (found, message) = said(text).expect(text);
            assert_eq!(found, at, "{text}: {message}");
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn binary_files_are_told_from_texts() {
        assert_eq!(no_text(b"name: \"a\"\r\n\tlayer { }\x1a"), None);
        assert_eq!(no_text(b"\xff\xfen\0"), None);
        assert!(no_text(b"\x0a\x04abcd\xa2\x06\x00").is_some_and(|s| s.contains("--weights")));
        assert!(no_text(b"PK\x03\x04\0\0").is_some_and(|s| s.contains(".npz")));
    }
}
