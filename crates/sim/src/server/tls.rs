//! The server's certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::settings::{SimError, TlsIdentity};

/// A server configuration from PEM files, for HTTP/1.1.
pub(crate) fn server_config(identity: &TlsIdentity) -> Result<Arc<rustls::ServerConfig>, SimError> {
    let unusable = |path: &Path, reason: String| SimError::Tls {
        path: path.to_owned(),
        reason,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&identity.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&identity.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(
            &identity.certificate,
            "it holds no certificate".into(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|error| unusable(&identity.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&identity.certificate, error.to_string()))?;
    let builder = match &identity.client_authority {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = rustls::RootCertStore::empty();
            for authority in CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unusable(file, error.to_string()))?
            {
                roots
                    .add(authority)
                    .map_err(|error| unusable(file, error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| unusable(file, error.to_string()))?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&identity.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
