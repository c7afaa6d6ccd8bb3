//! What LDAP writes in BER (X.690, as RFC 4511 restricts it): elements with a tag of one byte and a length that is told.

use std::io::{self, Read};

/// Tags that are not of a protocol.
pub(in crate::checks) const BOOLEAN: u8 = 0x01;
pub(in crate::checks) const INTEGER: u8 = 0x02;
pub(in crate::checks) const OCTETS: u8 = 0x04;
pub(in crate::checks) const ENUMERATED: u8 = 0x0a;
pub(in crate::checks) const SEQUENCE: u8 = 0x30;

/// An element with this content.
pub(in crate::checks) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    match u8::try_from(length) {
        Ok(length) if length < 0x80 => [&[tag, length], content].concat(),
        _ => [&[tag, 0x84][..], &(length as u32).to_be_bytes(), content].concat(),
    }
}

/// A number, which may not be negative.
pub(in crate::checks) fn number(tag: u8, number: u32) -> Vec<u8> {
    let bytes = u64::from(number).to_be_bytes();
    // In as few bytes as leave the sign alone.
    let first = bytes.windows(2).position(|pair| pair[0] != 0 || pair[1] >= 0x80).unwrap_or(bytes.len() - 1);
    element(tag, &bytes[first..])
}

/// Reads one element, and nothing of what follows.
///
/// # Errors
///
/// `InvalidData` when it is not what was expected, or has more than this many bytes.
pub(in crate::checks) fn read(stream: &mut impl Read, expected: u8, most: usize) -> io::Result<Vec<u8>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    if byte != [expected] {
        return Err(wrong("it does not begin as a message does"));
    }
    stream.read_exact(&mut byte)?;
    let length = match byte[0] {
        short @ 0..=0x7f => usize::from(short),
        long @ 0x81..=0x84 => {
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes[4 - usize::from(long - 0x80)..])?;
            u32::from_be_bytes(bytes) as usize
        }
        _ => return Err(wrong("a message has no length")),
    };
    if length > most {
        return Err(wrong("a message is longer than any that was asked for"));
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content)?;
    Ok(content)
}

/// What is left of the elements within an element.
pub(in crate::checks) struct Elements<'a>(pub(in crate::checks) &'a [u8]);

impl<'a> Elements<'a> {
    /// The next one, whatever it is: its tag and its content.
    pub(in crate::checks) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = *self.0.first()?;
        let mut rest = &self.0[1..];
        let (&first, after) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (bytes, _) = after.split_at_checked(usize::from(first - 0x80))?;
                bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        rest = if first < 0x80 { after } else { &after[usize::from(first - 0x80)..] };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next one, if it has this tag.
    pub(in crate::checks) fn one(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.any().filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }

    /// The next one, if it is a number that is not negative.
    pub(in crate::checks) fn number(&mut self, tag: u8) -> Option<u32> {
        match self.one(tag)? {
            bytes @ [0..=0x7f, ..] if bytes.len() <= 4 => {
                Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_as_few_bytes_as_can_be() {
        for (given, written) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (0x7fff_ffff, &[2, 4, 0x7f, 0xff, 0xff, 0xff]),
            (0x8000_0000, &[2, 5, 0, 0x80, 0, 0, 0]),
        ] {
            assert_eq!(number(INTEGER, given), written);
        }
    }

    #[test]
    fn what_is_written_is_read_to_its_end_and_no_further() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let written = [element(SEQUENCE, &content), b"TLS".to_vec()].concat();
            let mut rest = written.as_slice();
            assert_eq!(read(&mut rest, SEQUENCE, 70_000).expect("it is there"), content);
            assert_eq!(rest, b"TLS");
            let mut elements = Elements(&written);
            assert_eq!(elements.one(SEQUENCE), Some(content.as_slice()));
            assert_eq!(elements.0, b"TLS");
        }
        for (said, kind) in [
            (&b"HTTP/1.1"[..], io::ErrorKind::InvalidData),
            (b"\x30\x80\0\0", io::ErrorKind::InvalidData),
            (b"\x30\x85\0\0\0\0\x01\0", io::ErrorKind::InvalidData),
            (b"\x30\x84\xff\xff\xff\xff", io::ErrorKind::InvalidData),
            (b"\x30\x05abc", io::ErrorKind::UnexpectedEof),
            (b"\x30", io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(read(&mut &*said, SEQUENCE, 1000).expect_err("it is wrong").kind(), kind, "{said:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_looked_at(bytes: Vec<u8>) {
            let mut elements = Elements(&bytes);
            while elements.any().is_some() {}
            let _ = Elements(&bytes).number(INTEGER);
        }
    }
}
