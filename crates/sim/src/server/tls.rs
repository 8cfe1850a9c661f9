//! The server's certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::{SimError, TlsIdentity};

/// A server configuration from PEM files, for HTTP/1.1.
pub(crate) fn server_config(identity: &TlsIdentity) -> Result<Arc<rustls::ServerConfig>, SimError> {
    let unusable = |path: &Path, reason: String| SimError::Tls { path: path.to_owned(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&identity.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&identity.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(&identity.certificate, "it holds no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|error| unusable(&identity.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&identity.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
