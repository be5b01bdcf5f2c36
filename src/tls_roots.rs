//! Whom TLS believes: the Mozilla roots, and the operator's own.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The roots; a message for the operator when the certificates cannot be used.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let unusable = |reason: &dyn std::fmt::Display| {
            format!("the root certificates in {} cannot be used: {reason}", path.display())
        };
        let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(unusable(&"there is no certificate in it"));
        }
    }
    Ok(roots)
}
