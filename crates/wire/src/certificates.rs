//! Certificates from files that flags name.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::WireError;

/// All certificates in a PEM file, which `flag` names; at least one.
pub(crate) fn certificates(
    file: &Path,
    flag: &'static str,
) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let fail = |error: &dyn std::fmt::Display| WireError::Tls {
        flag,
        reason: format!("no certificate in PEM form in {} ({error})", file.display()),
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .map_err(|error| fail(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| fail(&error))?;
    if found.is_empty() {
        Err(fail(&"it contains none"))
    } else {
        Ok(found)
    }
}
