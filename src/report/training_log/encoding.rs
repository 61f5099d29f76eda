//! The text of a log, whatever the shell that wrote it: UTF-8, or UTF-16 as Windows' PowerShell redirects.

/// The text of a log's bytes. UTF-16 is known by its byte order mark, or by the zero bytes of its ASCII; what
/// is no character becomes U+FFFD, for a log's names and numbers are ASCII.
pub fn text(bytes: &[u8]) -> String {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return String::from_utf8_lossy(rest).into_owned();
    }
    let pairs = |bytes: &[u8], word: fn([u8; 2]) -> u16| {
        let words = bytes.chunks_exact(2).map(|pair| word([pair[0], pair[1]]));
        char::decode_utf16(words)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => return pairs(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return pairs(rest, u16::from_be_bytes),
        _ => {}
    }
    let start = &bytes[..bytes.len().min(4096) & !1];
    let zeros = |at: usize| {
        start
            .iter()
            .skip(at)
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    let most = start.len() / 2 * 3 / 4;
    if start.len() >= 4 && zeros(1) > most && zeros(0) == 0 {
        return pairs(bytes, u16::from_le_bytes);
    }
    if start.len() >= 4 && zeros(0) > most && zeros(1) == 0 {
        return pairs(bytes, u16::from_be_bytes);
    }
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_of_a_log_is_read() {
        let wanted = "I1122 Solving é\r\nIteration 1";
        let little: Vec<u8> = wanted.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = wanted.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let mark = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        for bytes in [
            wanted.as_bytes().to_vec(),
            mark(b"\xef\xbb\xbf", wanted.as_bytes()),
            mark(b"\xff\xfe", &little),
            mark(b"\xfe\xff", &big),
            little,
            big,
        ] {
            assert_eq!(text(&bytes), wanted, "{bytes:?}");
        }
        assert_eq!(text(b"\xff\xfea"), "");
        assert_eq!(text(b""), "");
        assert_eq!(text(b"a\xe9b"), "a\u{fffd}b");
    }
}
