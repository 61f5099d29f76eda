//! Pictures, which are in the page itself.

use super::escape::escaped;

/// A picture with what is said of it.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// See [`data_uri`].
    pub uri: String,
    /// What is to be seen, in words.
    pub alt: String,
    /// Below it, the first line.
    pub title: String,
    /// Below it, the second.
    pub note: String,
}

impl Picture {
    pub(super) fn html(&self) -> String {
        format!(
            "<li><img src=\"{}\" alt=\"{}\"><b>{}</b><small>{}</small></li>",
            escaped(&self.uri),
            escaped(&self.alt),
            escaped(&self.title),
            escaped(&self.note)
        )
    }
}

/// The address of a file that is in the address itself. `kind` is its media type (`image/png`).
pub fn data_uri(kind: &str, bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = format!("data:{kind};base64,");
    for three in bytes.chunks(3) {
        let byte = |k: usize| u32::from(three.get(k).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for k in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * k)) as usize & 63];
            out.push(if k <= three.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_base_64() {
        // The vectors of RFC 4648.
        for (text, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(
                data_uri("a/b", text.as_bytes()),
                format!("data:a/b;base64,{coded}")
            );
        }
    }
}
