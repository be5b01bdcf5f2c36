//! Whom TLS believes: the Mozilla roots, and the operator's own.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// With what a certificate ends in a file of several (RFC 7468 section 5.1).
const END: &str = "-----END CERTIFICATE-----";

/// The roots of `bundle`, in place of Mozilla's, and those of `ca_file` besides. The second says which certificates are
/// skipped: one that cannot be used in a bundle of hundreds must not stop a start. The error is a message for the operator.
pub(crate) fn roots(
    bundle: Option<&Path>,
    ca_file: Option<&Path>,
) -> Result<(RootCertStore, Vec<String>), String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    bundle.iter().for_each(|_| roots.roots.clear());
    let mut skipped = Vec::new();
    for path in bundle.into_iter().chain(ca_file) {
        let unusable = |reason: &dyn std::fmt::Display| {
            format!("the root certificates in {} cannot be used: {reason}", path.display())
        };
        let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
        let before = roots.len();
        for pem in String::from_utf8_lossy(&pem).split_inclusive(END).filter(|pem| pem.ends_with(END)) {
            let read = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string());
            let added = read.and_then(|read| roots.add(read).map_err(|error| error.to_string()));
            skipped.extend(added.err().map(|why| format!("a certificate in {}: {why}", path.display())));
        }
        if roots.len() == before {
            return Err(unusable(&"there is no usable certificate in it"));
        }
    }
    Ok((roots, skipped))
}
