//! Small servers on loopback for the tests of http, https and cert. Each thread ends with its last connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Serves one connection for each answer, and passes on the heads of the requests.
pub(in crate::checks) fn http(ip: &str, answers: Vec<String>) -> (SocketAddr, Receiver<String>) {
    serve(ip, answers, Ok)
}

/// An HTTP answer with this status line and body.
pub(in crate::checks) fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn serve<S: Read + Write>(
    ip: &str,
    answers: Vec<String>,
    wrap: impl Fn(TcpStream) -> io::Result<S> + Send + 'static,
) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind((ip, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (heads, received) = channel();
    thread::spawn(move || {
        for answer in answers {
            // A client may refuse our certificate and leave.
            let talk = listener.accept().and_then(|(client, _)| {
                let mut client = wrap(client)?;
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
                    head.push(byte[0]);
                }
                let _ = heads.send(String::from_utf8_lossy(&head).into_owned());
                client.write_all(answer.as_bytes())?;
                client.flush()?;
                client.read(&mut byte)
            });
            drop(talk);
        }
    });
    (address, received)
}

/// Certificates, and servers that show them.
#[cfg(feature = "tls")]
pub(in crate::checks) mod tls {
    use super::*;
    use std::sync::Arc;
    use std::time::SystemTime;

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
        PublicKeyData,
    };
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ALL_VERSIONS, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
    use tempfile::NamedTempFile;
    use time::{Duration, OffsetDateTime};

    /// A certificate authority whose own certificate is in a file.
    pub(in crate::checks) struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pub(in crate::checks) file: NamedTempFile,
    }

    impl Authority {
        pub(in crate::checks) fn new() -> Authority {
            Authority::valid(-1, 3650)
        }

        /// One whose own certificate is valid between two days, counted from now.
        pub(in crate::checks) fn valid(from: i64, until: i64) -> Authority {
            let key = KeyPair::generate().expect("a key");
            let mut params = params(from, until);
            params.subject_alt_names.clear();
            params.distinguished_name = DistinguishedName::new();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, "Test authority");
            let mut file = NamedTempFile::new().expect("a file for the test");
            let pem = params.self_signed(&key).expect("it can sign").pem();
            file.write_all(pem.as_bytes()).expect("the file is ours");
            Authority { issuer: Issuer::new(params, key), file }
        }

        /// Its own certificate.
        pub(in crate::checks) fn own(&self) -> CertificateDer<'static> {
            CertificateDer::from_pem_file(self.path()).expect("it was written")
        }

        pub(in crate::checks) fn path(&self) -> &str {
            self.file.path().to_str().expect("a plain path")
        }

        /// The configuration of a server that is `localhost`, 127.0.0.1 and ::1 between two days, counted from now.
        pub(in crate::checks) fn certify(&self, from: i64, until: i64) -> Arc<ServerConfig> {
            let key = KeyPair::generate().expect("a key");
            server(self.certificate(from, until, &key), &key, ALL_VERSIONS)
        }

        /// A certificate for such a server with this key.
        pub(in crate::checks) fn certificate(
            &self,
            from: i64,
            until: i64,
            key: &impl PublicKeyData,
        ) -> CertificateDer<'static> {
            let certificate = params(from, until).signed_by(key, &self.issuer);
            certificate.expect("the authority can sign").der().clone()
        }

        /// One with an extension that nobody knows, and that has to be understood.
        pub(in crate::checks) fn with_critical_extension(&self) -> CertificateDer<'static> {
            let mut params = params(-1, 100);
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
            let certificate = params.signed_by(&KeyPair::generate().expect("a key"), &self.issuer);
            certificate.expect("the authority can sign").der().clone()
        }
    }

    pub(in crate::checks) fn params(from: i64, until: i64) -> CertificateParams {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("they are names");
        let now = OffsetDateTime::from(SystemTime::now());
        params.not_before = now + Duration::days(from);
        params.not_after = now + Duration::days(until) + Duration::hours(1);
        params.distinguished_name.push(DnType::CommonName, "shop");
        params
    }

    /// A server that shows this certificate, and signs with this key, which may be that of another one.
    pub(in crate::checks) fn server(
        certificate: CertificateDer<'static>,
        key: &KeyPair,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let provider = super::super::tls::provider();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let key = provider.key_provider.load_private_key(key).expect("the provider knows the algorithm");
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider has them")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        Arc::new(config)
    }

    /// [`super::http`] with TLS.
    pub(in crate::checks) fn https(
        ip: &str,
        config: Arc<ServerConfig>,
        answers: Vec<String>,
    ) -> (SocketAddr, Receiver<String>) {
        serve(ip, answers, move |client| {
            let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            Ok(StreamOwned::new(connection, client))
        })
    }
}
