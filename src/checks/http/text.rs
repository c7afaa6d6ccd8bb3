//! The text of a body: what is left of it without its content coding and its charset, as UTF-8.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

/// The characters that windows-1252 has where Latin-1 has none to see. Browsers take either for the other.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', //
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Reads the text of a body with these fields. The error of `decode` says what it is in that we cannot read; that of a read
/// is `InvalidInput` where the body is not what its fields say.
pub(super) fn decode<'a>(body: impl Read + 'a, fields: &HeaderMap) -> Result<Box<dyn Read + 'a>, String> {
    let mut body: Box<dyn Read + 'a> = Box::new(body);
    for coding in codings(fields).iter().rev() {
        body = match coding.as_str() {
            "identity" | "" => body,
            "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(BufReader::new(body))),
            "deflate" => Box::new(Deflated::Unknown(Some(BufReader::new(body)))),
            other => return Err(format!("it is encoded as {other:?}, which cannot be read here")),
        };
    }
    let charset = Charset::of(fields)?;
    Ok(Box::new(Utf8 { body: BufReader::new(body), charset, begun: false, text: io::Cursor::default() }))
}

/// What the text was packed in, the last one last. That it comes in chunks at the end is known where it is read.
fn codings(fields: &HeaderMap) -> Vec<String> {
    let listed = |name| {
        let values = fields.get_all(name).into_iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
        values.flat_map(|value| value.split(',').map(|coding| coding.trim().to_owned()).collect::<Vec<_>>()).collect()
    };
    let (content, mut transfer): (Vec<String>, Vec<String>) =
        (listed(header::CONTENT_ENCODING), listed(header::TRANSFER_ENCODING));
    transfer.pop_if(|last| last == "chunked");
    [content, transfer].concat()
}

/// `deflate` has a header (RFC 1950), except from servers that took its name literally.
enum Deflated<R: BufRead> {
    Unknown(Option<R>),
    Zlib(ZlibDecoder<R>),
    Raw(DeflateDecoder<R>),
}

impl<R: BufRead> Read for Deflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Deflated::Unknown(body) = self
            && let Some(mut body) = body.take()
        {
            let has_header = body.fill_buf()?.first().is_some_and(|first| first & 0x0F == 8);
            *self = if has_header {
                Deflated::Zlib(ZlibDecoder::new(body))
            } else {
                Deflated::Raw(DeflateDecoder::new(body))
            };
        }
        match self {
            Deflated::Unknown(_) => Ok(0),
            Deflated::Zlib(decoder) => decoder.read(buffer),
            Deflated::Raw(decoder) => decoder.read(buffer),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Utf8,
    Latin1,
    Utf16 { big: bool },
}

impl Charset {
    fn of(fields: &HeaderMap) -> Result<Charset, String> {
        let kind = fields.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let mut parameters = kind.split(';').filter_map(|parameter| parameter.split_once('='));
        let charset = parameters.find(|(name, _)| name.trim() == "charset");
        match charset.map_or("utf-8", |(_, charset)| charset.trim().trim_matches('"')) {
            "utf-8" | "utf8" | "us-ascii" | "ascii" | "" => Ok(Charset::Utf8),
            "iso-8859-1" | "latin1" | "iso8859-1" | "windows-1252" | "cp1252" => Ok(Charset::Latin1),
            "utf-16" | "utf-16le" => Ok(Charset::Utf16 { big: false }),
            "utf-16be" => Ok(Charset::Utf16 { big: true }),
            other => Err(format!("it is in the charset {other:?}, which cannot be read here")),
        }
    }

    /// What a text begins with may say what it is in, and is not a part of it.
    fn marked(beginning: &[u8]) -> Option<(Charset, usize)> {
        match beginning {
            [0xEF, 0xBB, 0xBF, ..] => Some((Charset::Utf8, 3)),
            [0xFE, 0xFF, ..] => Some((Charset::Utf16 { big: true }, 2)),
            [0xFF, 0xFE, ..] => Some((Charset::Utf16 { big: false }, 2)),
            _ => None,
        }
    }
}

/// A text as UTF-8. What is not well-formed UTF-8 in one that claims to be it stays as it is.
struct Utf8<R> {
    body: BufReader<R>,
    charset: Charset,
    begun: bool,
    /// What was converted and not read yet.
    text: io::Cursor<Vec<u8>>,
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            self.begun = true;
            self.begin()?;
        }
        let count = self.text.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if self.charset == Charset::Utf8 {
            return self.body.read(buffer);
        }
        let text = self.convert()?;
        self.text = io::Cursor::new(text.into_bytes());
        self.text.read(buffer)
    }
}

impl<R: Read> Utf8<R> {
    /// Takes off the mark, which may come in parts.
    fn begin(&mut self) -> io::Result<()> {
        let mut beginning = Vec::new();
        self.body.by_ref().take(4).read_to_end(&mut beginning)?;
        // The first is also the mark of UTF-16, and a character that no text begins with.
        if [[0xFF, 0xFE, 0, 0], [0, 0, 0xFE, 0xFF]].iter().any(|mark| beginning == mark) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is in UTF-32, which cannot be read here"));
        }
        let rest = match Charset::marked(&beginning) {
            Some((charset, mark)) => {
                self.charset = charset;
                beginning.split_off(mark)
            }
            None => beginning,
        };
        self.text = match self.charset {
            Charset::Utf8 => io::Cursor::new(rest),
            Charset::Latin1 => io::Cursor::new(latin1(&rest).into_bytes()),
            Charset::Utf16 { big } => {
                let mut units = rest;
                self.body.by_ref().take(units.len() as u64 % 2).read_to_end(&mut units)?;
                io::Cursor::new(self.utf16(units, big)?.into_bytes())
            }
        };
        Ok(())
    }

    fn convert(&mut self) -> io::Result<String> {
        let mut part = Vec::new();
        self.body.by_ref().take(8 * 1024).read_to_end(&mut part)?;
        match self.charset {
            Charset::Utf16 { big } => self.utf16(part, big),
            Charset::Utf8 | Charset::Latin1 => Ok(latin1(&part)),
        }
    }

    fn utf16(&mut self, mut bytes: Vec<u8>, big: bool) -> io::Result<String> {
        let unit = |pair: &[u8]| {
            if big { u16::from_be_bytes([pair[0], pair[1]]) } else { u16::from_le_bytes([pair[0], pair[1]]) }
        };
        // The second half of a character may still be to come.
        if bytes.chunks_exact(2).last().is_some_and(|last| (0xD800..0xDC00).contains(&unit(last))) {
            self.body.by_ref().take(2).read_to_end(&mut bytes)?;
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "it is not in UTF-16, as it says");
        if !bytes.len().is_multiple_of(2) {
            return Err(wrong());
        }
        char::decode_utf16(bytes.chunks_exact(2).map(unit)).collect::<Result<_, _>>().map_err(|_| wrong())
    }
}

/// Whether a text that comes in parts is one in UTF-8, as far as can be seen.
#[derive(Default)]
pub(super) struct Utf8Check {
    /// What it begins with.
    beginning: Vec<u8>,
    /// The beginning of a character whose rest has not come yet.
    cut: Vec<u8>,
    is_malformed: bool,
}

impl Utf8Check {
    pub(super) fn feed(&mut self, part: &[u8]) {
        self.beginning.extend(part.iter().take(2 - self.beginning.len()));
        if self.is_malformed {
            return;
        }
        self.cut.extend_from_slice(part);
        match str::from_utf8(&self.cut) {
            Ok(_) => self.cut.clear(),
            Err(error) => {
                self.is_malformed = error.error_len().is_some();
                self.cut.drain(..error.valid_up_to());
            }
        }
    }

    /// Why nobody can tell what is in it, if so.
    pub(super) fn objection(&self) -> Option<&'static str> {
        match self.beginning[..] {
            [0, _] | [_, 0] => Some("it seems to be in UTF-16, and does not say so"),
            _ if self.is_malformed || !self.cut.is_empty() => Some("it is not in UTF-8, and names no other charset"),
            _ => None,
        }
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            0x80..=0x9F => WINDOWS[usize::from(byte - 0x80)],
            byte => char::from(*byte),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};

    fn text(fields: &[(&'static str, &'static str)], body: &[u8]) -> io::Result<String> {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.parse().expect("it is a name"), value.parse().expect("it is a value")));
        let mut decoded =
            decode(body, &fields.collect()).map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why))?;
        let mut text = String::new();
        decoded.read_to_string(&mut text).map(|_| text)
    }

    fn packed(mut encoder: impl Read) -> Vec<u8> {
        let mut packed = Vec::new();
        encoder.read_to_end(&mut packed).expect("it can be packed");
        packed
    }

    const LEVEL: Compression = Compression::new(6);

    #[test]
    fn content_codings_are_taken_off() {
        let plain = b"ERROR: no database";
        let gzip = packed(GzEncoder::new(&plain[..], LEVEL));
        for (coding, body) in [
            ("gzip", gzip.clone()),
            ("X-GZIP", gzip.clone()),
            ("gzip, gzip", packed(GzEncoder::new(&gzip[..], LEVEL))),
            ("deflate", packed(ZlibEncoder::new(&plain[..], LEVEL))),
            ("deflate", packed(DeflateEncoder::new(&plain[..], LEVEL))),
            ("identity", plain.to_vec()),
        ] {
            assert_eq!(text(&[("content-encoding", coding)], &body).expect(coding).as_bytes(), plain, "{coding}");
        }
    }

    #[test]
    fn what_a_server_packs_for_the_way_is_unpacked_too() {
        let plain = b"ERROR: no database";
        let gzip = packed(GzEncoder::new(&plain[..], LEVEL));
        let twice = packed(ZlibEncoder::new(&gzip[..], LEVEL));
        for (fields, body) in [
            (&[("transfer-encoding", "gzip, chunked")][..], &gzip),
            (&[("transfer-encoding", "gzip")], &gzip),
            (&[("content-encoding", "gzip"), ("transfer-encoding", "Deflate, Chunked")], &twice),
            (&[("content-encoding", "gzip"), ("transfer-encoding", "chunked")], &gzip),
        ] {
            assert_eq!(text(fields, body).expect("it is readable").as_bytes(), plain, "{fields:?}");
        }
    }

    #[test]
    fn charsets_become_utf_8() {
        let utf16: Vec<u8> = "\u{feff}größe 🚑".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "größe 🚑".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let long: Vec<u8> = "🚑".repeat(20_000).encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (kind, body, expected) in [
            ("text/plain", "größe".as_bytes(), "größe"),
            ("application/json; charset=utf-8", b"\xEF\xBB\xBF{}", "{}"),
            ("text/plain; charset=ISO-8859-1", b"Gr\xF6\xDFe \x80", "Größe €"),
            ("text/plain; charset=\"utf-16\"", &utf16, "größe 🚑"),
            ("text/plain", &utf16, "größe 🚑"),
            ("text/plain; charset=utf-16be", &big, "größe 🚑"),
            ("text/plain; charset=utf-16le", &long, &"🚑".repeat(20_000)),
            ("text/plain; charset=utf-16", b"", ""),
        ] {
            assert_eq!(text(&[("content-type", kind)], body).expect(kind), expected, "{kind}");
        }
    }

    #[test]
    fn a_text_is_seen_to_be_in_utf_8_in_whatever_parts_it_comes() {
        for (text, is_good) in [
            ("größe 🚑".as_bytes(), true),
            (b"", true),
            (b"x", true),
            (b"Gr\xF6\xDFe", false),
            (b"cut \xF0\x9F", false),
            (b"{\0}\0", false),
            (b"\0{\0}", false),
        ] {
            for size in 1..=8 {
                let mut seen = Utf8Check::default();
                text.chunks(size).for_each(|part| seen.feed(part));
                assert_eq!(seen.objection().is_none(), is_good, "{text:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_not_taken_for_text() {
        for (field, body, kind) in [
            (("content-encoding", "br"), &b"x"[..], io::ErrorKind::Unsupported),
            (("transfer-encoding", "compress, chunked"), b"x", io::ErrorKind::Unsupported),
            (("transfer-encoding", "chunked, gzip, identity, chunked"), b"x", io::ErrorKind::Unsupported),
            (("content-encoding", "gzip"), b"plain text, not packed", io::ErrorKind::InvalidInput),
            (("content-encoding", "deflate"), b"\x78\x9c\xff\xff\xff\xff", io::ErrorKind::InvalidInput),
            (("content-type", "text/plain; charset=koi8-r"), b"x", io::ErrorKind::Unsupported),
            (("content-type", "text/plain; charset=utf-16le"), b"x\0\0\xDC", io::ErrorKind::InvalidInput),
            (("content-type", "text/plain; charset=utf-16le"), b"x\0y", io::ErrorKind::InvalidInput),
            (("content-type", "text/plain"), b"\xFF\xFE\0\0x\0\0\0", io::ErrorKind::InvalidInput),
            (("content-type", "text/plain"), b"\0\0\xFE\xFF\0\0\0x", io::ErrorKind::InvalidInput),
        ] {
            let error = text(&[field], body).expect_err(field.1);
            assert_eq!(error.kind(), kind, "{field:?}: {error}");
        }
    }
}
