//! Certificates and keys in PEM (RFC 7468), as the tools that people have write it.

use std::borrow::Cow;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ber::{Elements, SEQUENCE};

/// Other names for a certificate: of OpenSSL, which may add to one what it is trusted for, and of its first versions.
const ALIASES: [&str; 2] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"];

/// All certificates in a text; what else is in it is passed over.
pub(in crate::checks) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut text = text(bytes);
    for alias in ALIASES.iter().filter(|alias| text.contains(*alias)).collect::<Vec<_>>() {
        text = text.replace(&format!(" {alias}-----"), " CERTIFICATE-----").into();
    }
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).map(|read| read.map(alone));
    all.collect::<Result<_, _>>().map_err(|error| match error {
        pem::Error::MissingSectionEnd { .. } => "a block in it has no end: it may be cut off".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a block in it does not begin with -----BEGIN …-----".to_owned(),
        pem::Error::Base64Decode(why) => format!("a block in it is not base64: {why}"),
        error => error.to_string(),
    })
}

/// The first key in a text. The error says what is wrong without a word of it.
pub(in crate::checks) fn key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    let text = text(bytes);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("its key is encrypted, and nobody is here to type the password: decrypt it with `openssl pkey`");
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| "there is no PEM key in it")
}

/// Without the mark with which some editors begin.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}

/// A certificate without what follows it.
fn alone(certificate: CertificateDer<'static>) -> CertificateDer<'static> {
    let mut elements = Elements(&certificate);
    match elements.one(SEQUENCE).map(|_| certificate.len() - elements.0.len()) {
        Some(end) if end < certificate.len() => CertificateDer::from(certificate[..end].to_vec()),
        Some(_) | None => certificate,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::tls::Authority;
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    fn block(label: &str, der: &[u8]) -> String {
        let encoded = BASE64_STANDARD.encode(der);
        let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn certificates_are_read_as_tools_write_them() {
        let certificate = Authority::new().own();
        let plain = block("CERTIFICATE", &certificate);
        // What it is trusted for.
        let more = [&certificate[..], b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"].concat();
        for (text, count) in [
            (plain.clone(), 1),
            (format!("\u{feff}{plain}"), 1),
            (format!("Certificate:\n    Data:\n        Version: 3 (0x2)\n{plain}"), 1),
            (format!("subject=CN = größer\n{plain}trailing"), 1),
            (plain.replace('\n', "\r\n"), 1),
            (format!("{plain}\n# the next one\n\n{plain}{plain}"), 3),
            (block("TRUSTED CERTIFICATE", &more), 1),
            (block("X509 CERTIFICATE", &certificate), 1),
            (format!("{}{plain}", block("PRIVATE KEY", b"not looked at")), 1),
            (String::new(), 0),
        ] {
            let read = certificates(text.as_bytes()).expect("it can be read");
            assert!(read.len() == count && read.iter().all(|read| *read == certificate), "{text}");
        }
        let latin = [&b"subject=CN = gr\xf6\xdfer\n"[..], plain.as_bytes()].concat();
        assert_eq!(certificates(&latin).expect("it can be read"), [certificate]);
        for (text, told) in [
            (plain.replace('M', "!").as_bytes(), "is not base64"),
            (&plain.as_bytes()[..200], "it may be cut off"),
            (plain.replace("CERTIFICATE--", "CERTIFICATE").as_bytes(), "does not begin"),
        ] {
            assert!(certificates(text).is_err_and(|why| why.contains(told)), "{told}");
        }
    }

    #[test]
    fn keys_are_read_in_each_form_and_an_encrypted_one_is_called_so() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let text = block(label, b"a key");
            assert_eq!(key(text.as_bytes()).map(|key| key.secret_der().to_vec()), Ok(b"a key".to_vec()), "{label}");
            let text = format!("\u{feff}Bag Attributes\r\n{}", text.replace('\n', "\r\n"));
            assert!(key(text.as_bytes()).is_ok());
        }
        let curve = format!("{}{}", block("EC PARAMETERS", b"a curve"), block("EC PRIVATE KEY", b"a key"));
        assert!(key(curve.as_bytes()).is_ok());
        let old = block("RSA PRIVATE KEY", b"x").replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n", 1);
        for text in [block("ENCRYPTED PRIVATE KEY", b"x"), old] {
            assert!(key(text.as_bytes()).is_err_and(|why| why.contains("its key is encrypted")), "{text}");
        }
        for text in [block("OPENSSH PRIVATE KEY", b"x"), block("CERTIFICATE", b"x"), String::new()] {
            assert_eq!(key(text.as_bytes()), Err("there is no PEM key in it"));
        }
    }
}
