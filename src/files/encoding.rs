//! Texts, names and paths that are not UTF-8: GBK comments, Latin-1 labels, whatever bytes a path has.
//!
//! Protobuf's C++ library and the file systems of Unix take names for bytes; Rust's strings are UTF-8. A byte that is
//! not UTF-8 becomes a character of its own here ([`escaped`]), of a range that no text uses (U+10FE80 to U+10FEFF),
//! and the byte again where it leaves the program ([`bytes`], [`path`]). So names of nets and weights that were written
//! in the same way still match, and a path opens the file that it means.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::PathBuf;

/// The character of byte 0.
const FIRST: u32 = 0x10_FE00;

/// How these characters begin in UTF-8.
const LEAD: u8 = 0xf4;

/// Where a file that should be text has a byte that no text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText {
    /// The byte's offset.
    pub at: usize,
    /// The byte.
    pub byte: u8,
}

/// The character that stands for a byte from 0x80 on.
fn character(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character stands for.
fn byte(c: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(c).checked_sub(FIRST)?).ok()?;
    (byte >= 0x80).then_some(byte)
}

/// Bytes as a string: UTF-8 as it is, every other byte as a character that stands for it.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|&b| character(b)));
    }
    text
}

/// Whether a string has characters that stand for bytes.
pub fn has_bytes(text: &str) -> bool {
    text.as_bytes().contains(&LEAD) && text.chars().any(|c| byte(c).is_some())
}

/// The bytes that [`escaped`] was given.
pub fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !has_bytes(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte(c) {
            Some(byte) => out.push(byte),
            None => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Cow::Owned(out)
}

/// The same for what must be UTF-8, as JSON is: the replacement character for every other byte.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !has_bytes(text) {
        return Cow::Borrowed(text);
    }
    let shown = |c| byte(c).map_or(c, |_| char::REPLACEMENT_CHARACTER);
    Cow::Owned(text.chars().map(shown).collect())
}

/// The path that a name from a text means.
pub fn path(name: &str) -> PathBuf {
    #[cfg(unix)]
    if has_bytes(name) {
        use std::os::unix::ffi::OsStringExt;
        return std::ffi::OsString::from_vec(bytes(name).into_owned()).into();
    }
    PathBuf::from(name)
}

/// A path, or a part of one, as a name.
pub fn name(path: impl AsRef<OsStr>) -> String {
    escaped(path.as_ref().as_encoded_bytes())
}

/// The text in a file: UTF-8 with or without a byte order mark, UTF-16, or any encoding that has ASCII's
/// characters. Lines that end as on old Macs (CR alone) get line breaks.
///
/// # Errors
/// The bytes are no text.
pub fn text(bytes: Vec<u8>) -> Result<String, NotText> {
    if let Some(text) = utf16(&bytes) {
        return check(text.as_bytes()).map(|()| lines(text));
    }
    check(&bytes)?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => escaped(e.as_bytes()),
    };
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    Ok(lines(text))
}

/// UTF-16 with its mark, or without one where the first two characters are ASCII's.
fn utf16(bytes: &[u8]) -> Option<String> {
    let (little, body) = match bytes {
        [0xff, 0xfe, body @ ..] => (true, body),
        [0xfe, 0xff, body @ ..] => (false, body),
        [a, 0, b, 0, ..] if *a > 0 && *b > 0 => (true, bytes),
        [0, a, 0, b, ..] if *a > 0 && *b > 0 => (false, bytes),
        _ => return None,
    };
    let unit = |pair: &[u8; 2]| match little {
        true => u16::from_le_bytes(*pair),
        false => u16::from_be_bytes(*pair),
    };
    let (pairs, rest) = body.as_chunks::<2>();
    let mut text: String = char::decode_utf16(pairs.iter().map(unit))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    Some(text)
}

/// No text has a NUL, and none begins with what control characters weights and pictures begin with.
fn check(bytes: &[u8]) -> Result<(), NotText> {
    let odd = |b: u8| matches!(b, 1..=6 | 14..=25 | 28..=31);
    let head = &bytes[..bytes.len().min(512)];
    let nul = bytes.iter().position(|&b| b == 0);
    let at = head.iter().position(|&b| odd(b)).into_iter().chain(nul);
    match at.min() {
        Some(at) => Err(NotText {
            at,
            byte: bytes[at],
        }),
        None => Ok(()),
    }
}

fn lines(text: String) -> String {
    match text.contains('\r') && !text.contains('\n') {
        true => text.replace('\r', "\n"),
        false => text,
    }
}

/// A prototxt in which strings spell bytes that are not UTF-8 in octal or hexadecimal (`\315\370`, as protobuf's
/// printer does): these as the characters that stand for them.
pub fn spelt(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    let source = text.as_bytes();
    while let Some(skip) = source[at..].iter().position(|&b| b == b'\\') {
        at += skip;
        let start = at;
        let mut run = Vec::new();
        while let Some((byte, length)) = spelt_byte(&source[at..]) {
            run.push(byte);
            at += length;
        }
        if run.is_empty() {
            // Another escape, or one of ASCII: what follows the backslash belongs to it.
            at = (at + 2).min(source.len());
        } else if std::str::from_utf8(&run).is_err() {
            out.push_str(&text[copied..start]);
            out.push_str(&escaped(&run));
            copied = at;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The byte from 0x80 on that an escape at the begin spells, and the escape's length.
fn spelt_byte(text: &[u8]) -> Option<(u8, usize)> {
    let (digits, radix, head) = match text {
        [b'\\', b'x' | b'X', ..] => (2, 16, 2),
        [b'\\', ..] => (3, 8, 1),
        _ => return None,
    };
    let count = text[head..]
        .iter()
        .take(digits)
        .take_while(|b| char::from(**b).is_digit(radix))
        .count();
    let word = std::str::from_utf8(&text[head..head + count]).ok()?;
    let value = u8::from_str_radix(word, radix).ok()?;
    (value >= 0x80).then_some((value, head + count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(*bytes(&escaped(&all)), all[..]);
        assert_eq!(escaped("é層".as_bytes()), "é層");
        let mixed = b"\xcd\xf8 \xc3\xa9 \xff";
        assert_eq!(*bytes(&escaped(mixed)), mixed[..]);
        assert_eq!(shown(&escaped(b"a\xff")), "a\u{fffd}");
        assert!(!has_bytes("plain \u{10ffff}"));
        assert_eq!(name(path(&escaped(mixed))), escaped(mixed));
    }

    #[test]
    fn texts_of_every_encoding_are_read() {
        let wanted = "name: \"é\"\nx: 1\n";
        let utf16 = |mark: &[u8], little: bool| -> Vec<u8> {
            let units = wanted.encode_utf16();
            let pair = |u: u16| {
                if little {
                    u.to_le_bytes()
                } else {
                    u.to_be_bytes()
                }
            };
            [mark, &units.flat_map(pair).collect::<Vec<u8>>()].concat()
        };
        for bytes in [
            wanted.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", wanted.as_bytes()].concat(),
            utf16(b"\xff\xfe", true),
            utf16(b"\xfe\xff", false),
            utf16(b"", true),
            utf16(b"", false),
            wanted.replace('\n', "\r").into_bytes(),
        ] {
            assert_eq!(text(bytes.clone()).unwrap(), wanted, "{bytes:?}");
        }
        assert_eq!(text(b"a\r\nb\rc\r\n".to_vec()).unwrap(), "a\r\nb\rc\r\n");
        assert_eq!(
            text(b"# \xcd\xf8\n".to_vec()).unwrap(),
            escaped(b"# \xcd\xf8\n")
        );
        assert_eq!(text(Vec::new()).unwrap(), "");
    }

    #[test]
    fn what_is_no_text_is_told() {
        assert_eq!(
            text(b"\x0a\x04tiny".to_vec()),
            Err(NotText { at: 1, byte: 4 })
        );
        assert_eq!(text(b"ab\0c".to_vec()), Err(NotText { at: 2, byte: 0 }));
        assert!(text(b"\x1b[0mI1122 log".to_vec()).is_ok());
    }

    #[test]
    fn spelt_bytes_are_read() {
        assert_eq!(
            spelt(r"'\303\251 \\315 \n\101\x41'"),
            r"'\303\251 \\315 \n\101\x41'"
        );
        let odd = escaped(b"\xcd\xf8");
        assert_eq!(
            spelt(r"'a\315\370b' '\xcd\xf8'"),
            format!("'a{odd}b' '{odd}'")
        );
        for broken in ["\\", "\\x", "'\\3", "\\400"] {
            spelt(broken);
        }
    }
}
