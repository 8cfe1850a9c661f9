//! A server's side of TLS.

use std::path::PathBuf;
use std::sync::Arc;

use inferometer_wire::ClientSettings;

use super::settings;

/// A file of the tests' own certification authority.
pub(crate) fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/tls", name]
        .iter()
        .collect()
}

/// How a server behaves.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Tls {
    Plain,
    WantsClientCertificate,
    BehindProxy,
}

/// The TLS settings of a server.
pub(crate) fn tls_server(kind: Tls) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let chain: Vec<_> = CertificateDer::pem_file_iter(file("server.pem"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let builder = if kind == Tls::WantsClientCertificate {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(file("ca.pem")).unwrap())
            .unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The TLS settings of a server that shows the certificate in `name`, made with `self.key`.
pub(crate) fn self_signed(name: &str) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(file(name)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("self.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// A client that trusts this authority.
pub(crate) fn tls_settings(port: u16) -> ClientSettings {
    let mut settings = settings("vllm", &format!("https://localhost:{port}"));
    settings.tls.ca_file = Some(file("ca.pem"));
    settings
}
