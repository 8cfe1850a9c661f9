//! TLS settings for rustls.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::certificates::certificates;
use crate::error::WireError;
use crate::settings::TlsSettings;
use crate::trust::Trust;

/// The configuration for all TLS connections of a run.
pub(crate) fn config(settings: &TlsSettings, http2: bool) -> Result<Arc<ClientConfig>, WireError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| WireError::Tls {
            flag: "TLS",
            reason: error.to_string(),
        })?;
    let builder = if settings.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trust::new(settings, &provider)?))
    };
    let mut config = match (&settings.client_cert, &settings.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(chain), Some(key)) => {
            let chain = certificates(chain, "--client-cert")?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| WireError::Tls {
                flag: "--client-key",
                reason: format!("no private key in PEM form in {} ({error})", key.display()),
            })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| WireError::Tls {
                    flag: "--client-cert",
                    reason: format!("invalid certificate and key ({error})"),
                })?
        }
        (Some(_), None) => {
            return Err(WireError::Tls {
                flag: "--client-cert",
                reason: "requires --client-key as well".into(),
            });
        }
        (None, Some(_)) => {
            return Err(WireError::Tls {
                flag: "--client-key",
                reason: "requires --client-cert as well".into(),
            });
        }
    };
    config.alpn_protocols = vec![if http2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    Ok(Arc::new(config))
}

/// A configuration for finding out whether a server speaks TLS at all: nothing is sent over it.
pub(crate) fn any_certificate() -> Result<Arc<ClientConfig>, WireError> {
    let settings = TlsSettings {
        insecure: true,
        ..TlsSettings::default()
    };
    config(&settings, false)
}

/// Accepts every certificate (`--insecure`), but still checks that the server holds its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
