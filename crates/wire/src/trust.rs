//! Which servers are trusted: those that an authority vouches for, and those whose own certificate
//! is named by `--ca-cert`.
//!
//! A self-signed certificate, as people make one for vLLM's `--ssl-certfile`, is neither a
//! certificate authority nor signed by one, so the usual check rejects it even if the user has
//! named it. Here a certificate that equals the named one byte for byte is accepted while it is
//! valid. The rule for names: if it lists host names or addresses (subject alternative names), the
//! one that is connected to must be among them; if it lists none, there is nothing to compare,
//! because a common name is not a host name (RFC 9525).

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::certificates::certificates;
use crate::error::WireError;
use crate::settings::TlsSettings;

/// The flag that names certificates.
const FLAG: &str = "--ca-cert";

/// Trust in authorities and in named certificates.
#[derive(Debug)]
pub(crate) struct Trust {
    /// `None` when there is no authority.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    named: Vec<Named>,
    provider: Arc<CryptoProvider>,
}

/// A certificate of `--ca-cert`.
#[derive(Debug)]
struct Named {
    certificate: CertificateDer<'static>,
    /// Trusts this certificate alone.
    itself: Arc<WebPkiServerVerifier>,
}

impl Trust {
    /// The system's authorities and the certificates of `settings`.
    pub(crate) fn new(
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, WireError> {
        let mut roots = RootCertStore::empty();
        let mut named = Vec::new();
        if let Some(file) = &settings.ca_file {
            for certificate in certificates(file, FLAG)? {
                let invalid = |error: &dyn std::fmt::Display| WireError::Tls {
                    flag: FLAG,
                    reason: format!("invalid certificate in {} ({error})", file.display()),
                };
                let mut alone = RootCertStore::empty();
                alone
                    .add(certificate.clone())
                    .map_err(|error| invalid(&error))?;
                if may_vouch_for_others(&certificate) {
                    roots.roots.extend(alone.roots.clone());
                }
                let itself = verifier(alone, provider).map_err(|error| invalid(&error))?;
                named.push(Named {
                    certificate,
                    itself,
                });
            }
        }
        // Invalid certificates in the system's store do not make the others unusable.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() && named.is_empty() {
            return Err(WireError::Tls {
                flag: FLAG,
                reason: "the system has no certificate authorities; give a PEM file of them, or use --insecure"
                    .into(),
            });
        }
        let authorities = if roots.is_empty() {
            None
        } else {
            let authorities = verifier(roots, provider).map_err(|error| WireError::Tls {
                flag: FLAG,
                reason: error.to_string(),
            })?;
            Some(authorities)
        };
        Ok(Self {
            authorities,
            named,
            provider: Arc::clone(provider),
        })
    }
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::client::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()
}

/// False for a certificate that says that it is no authority: one of version 3 without
/// `basicConstraints` (RFC 5280, section 4.2.1.9), or with `cA` false. Those of version 1, which
/// cannot say it, have always been accepted as authorities.
fn may_vouch_for_others(certificate: &[u8]) -> bool {
    // Version 3, at the start; the identifier 2.5.29.19; `BOOLEAN TRUE`.
    const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];
    const BASIC_CONSTRAINTS: &[u8] = &[6, 3, 0x55, 0x1d, 0x13];
    const TRUE: &[u8] = &[1, 1, 0xff];
    let start = &certificate[..certificate.len().min(16)];
    if memchr::memmem::find(start, VERSION_3).is_none() {
        return true;
    }
    let Some(at) = memchr::memmem::find(certificate, BASIC_CONSTRAINTS) else {
        return false;
    };
    // Perhaps "critical", then an octet string that holds a sequence, whose first member is `cA`.
    let rest = &certificate[at + BASIC_CONSTRAINTS.len()..];
    let rest = rest.strip_prefix(TRUE).unwrap_or(rest);
    rest.get(4..).is_some_and(|rest| rest.starts_with(TRUE))
}

impl Named {
    /// Whether the server's own certificate, which equals this one, is good for `name` at `now`.
    fn accepts(&self, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        use CertificateError as Why;
        let checked = self
            .itself
            .verify_server_cert(&self.certificate, &[], name, &[], now);
        match checked {
            Ok(_) => Ok(()),
            Err(
                error @ Error::InvalidCertificate(
                    Why::Expired
                    | Why::ExpiredContext { .. }
                    | Why::NotValidYet
                    | Why::NotValidYetContext { .. }
                    | Why::BadEncoding,
                ),
            ) => Err(error),
            // That it is also an authority, or for other uses as well, is no reason against it.
            Err(_) => {
                let parsed = ParsedCertificate::try_from(&self.certificate)?;
                match verify_server_name(&parsed, name) {
                    Err(Error::InvalidCertificate(Why::NotValidForNameContext {
                        presented,
                        ..
                    })) if presented.is_empty() => Ok(()),
                    other => other,
                }
            }
        }
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_authority = match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        let named = || {
            self.named
                .iter()
                .find(|named| named.certificate == *end_entity)
        };
        match by_authority {
            Err(error) => match named() {
                Some(named) => named
                    .accepts(server_name, now)
                    .map(|()| ServerCertVerified::assertion()),
                None => Err(error),
            },
            good => good,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
