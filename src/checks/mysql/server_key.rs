//! The public key of a server, with which a password is told to it alone where there is no TLS.
//!
//! It is given in a file, and never asked for: whoever stands between us and the server would give us his own.

use std::path::{Path, PathBuf};

use mysql_common::crypto::rsa::{GetRandom, Pkcs1OaepPadding, PublicKey};
use num_bigint::BigUint;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use crate::checks::support::ber::{Elements, INTEGER, SEQUENCE};
use crate::checks::{Opt, Options, Value};
use crate::os::filesystem;

/// The row of the option.
pub(super) const OPTION: Opt = Opt::new(
    "server_public_key",
    Value::Path,
    "The file with the public key of the server, which is told the password by it where there is no TLS",
);

/// Where it is; it is read for each run, as it may be renewed.
#[derive(Debug)]
pub(super) struct ServerKey(PathBuf);

impl ServerKey {
    /// Takes the option.
    pub(super) fn take(options: &mut Options) -> Result<Option<ServerKey>, String> {
        options.parse(OPTION.name(), |path| read(Path::new(path)).map(|_| ServerKey(path.into())))
    }

    /// The password for this server, and this session, alone.
    pub(super) fn encrypt(&self, password: &str, nonce: &[u8]) -> Result<Vec<u8>, String> {
        let key = read(&self.0).map_err(|why| format!("{}: {why}", OPTION.name()))?;
        let password = [password.as_bytes(), b"\0"].concat();
        let mixed: Vec<_> = password.iter().zip(nonce.iter().cycle()).map(|(byte, other)| byte ^ other).collect();
        key.encrypt_block(&mixed, Pkcs1OaepPadding::new(GetRandom))
            .map_err(|_| format!("{}: {}: it is too short for this password", OPTION.name(), self.0.display()))
    }
}

/// The key in a file. mysql_common reads them too, and panics at what is none.
fn read(path: &Path) -> Result<PublicKey, String> {
    let wrong = |why: &str| format!("{}: {why}", path.display());
    let bytes = filesystem::read_bytes(path).map_err(|error| wrong(&error.to_string()))?;
    let key = SubjectPublicKeyInfoDer::from_pem_slice(&bytes).ok().and_then(|key| rsa(&key));
    key.ok_or_else(|| wrong("there is no public key of RSA in PEM in it, with 1024 to 8192 bits"))
}

/// Such a key (RFC 8017, appendix A.1.1) that is neither too short to be safe nor so long that it takes our time.
fn rsa(key: &[u8]) -> Option<PublicKey> {
    const BIT_STRING: u8 = 0x03;
    let mut outer = Elements(key);
    let mut info = Elements(outer.one(SEQUENCE)?);
    info.one(SEQUENCE)?;
    let [0, key @ ..] = info.one(BIT_STRING)? else { return None };
    let mut whole = Elements(key);
    let mut numbers = Elements(whole.one(SEQUENCE)?);
    let [0, modulus @ ..] = numbers.one(INTEGER)? else { return None };
    let exponent = numbers.one(INTEGER)?;
    let is_alone = [outer.0, info.0, whole.0, numbers.0].iter().all(|rest| rest.is_empty());
    let is_fit = (128..=1024).contains(&modulus.len()) && modulus[0] >= 0x80 && (1..=4).contains(&exponent.len());
    let [modulus, exponent] = [modulus, exponent].map(BigUint::from_bytes_be);
    (is_alone && is_fit).then(|| PublicKey::new(modulus, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    /// With a modulus of this many bytes.
    fn key(bytes: usize) -> Vec<u8> {
        use crate::checks::support::ber::element;
        let numbers = [element(INTEGER, &[&[0][..], &vec![0xa5; bytes]].concat()), element(INTEGER, &[1, 0, 1])];
        let bits = element(0x03, &[&[0][..], &element(SEQUENCE, &numbers.concat())].concat());
        let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\0";
        element(SEQUENCE, &[&algorithm[..], &bits].concat())
    }

    fn file(der: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        let text = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der));
        std::fs::write(file.path(), text).expect("there is room");
        file
    }

    #[test]
    fn a_key_encrypts_a_password_that_is_not_too_long_for_it() {
        let file = file(&key(128));
        let key = ServerKey(file.path().into());
        let encrypted = key.encrypt("secret", b"abcdefghijklmnopqrst").expect("it can");
        assert_eq!(encrypted.len(), 128);
        assert!(key.encrypt(&"x".repeat(200), b"abcdefghijklmnopqrst").is_err_and(|why| why.contains("too short")));
    }

    #[test]
    fn what_is_not_such_a_key_is_refused() {
        assert!([128, 256, 1024].iter().all(|bytes| read(file(&key(*bytes)).path()).is_ok()));
        for bytes in [0, 64, 127, 1025] {
            assert!(read(file(&key(bytes)).path()).is_err(), "{bytes}");
        }
        assert!(read(Path::new("/no/such/key")).is_err_and(|why| why.contains("No such file")));
        assert!(read(Path::new("/etc/hostname")).is_err_and(|why| why.contains("no public key of RSA")));
    }

    proptest! {
        #[test]
        fn a_damaged_key_is_refused_or_used(place: prop::sample::Index, byte: u8) {
            let mut der = key(128);
            let at = place.index(der.len());
            der[at] = byte;
            let file = file(&der);
            let _ = ServerKey(file.path().into()).encrypt("secret", b"abcdefghijklmnopqrst");
        }
    }
}
