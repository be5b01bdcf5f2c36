//! Whom TLS believes: the Mozilla roots, and the operator's own.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// With what a certificate ends in a file of several (RFC 7468 section 5.1).
const END: &str = "-----END CERTIFICATE-----";

/// The roots of `bundle`, in place of Mozilla's, and those of `ca_file` besides. The second says which certificates are
/// skipped: one that cannot be used in a bundle of hundreds must not stop a start. The error is a message for the operator.
pub(crate) fn roots(bundle: Option<&Path>, ca_file: Option<&Path>) -> Result<(RootCertStore, Vec<String>), String> {
    let mut roots = RootCertStore { roots: bundle.map_or(webpki_roots::TLS_SERVER_ROOTS, |_| &[]).to_vec() };
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIULtbnGgoWRb+6AVtO4UVcdXiKmiYwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJcm9vdC50ZXN0MCAXDTI2MTEzMDAzNDcxM1oYDzIxMjYxMTA2
MDM0NzEzWjAUMRIwEAYDVQQDDAlyb290LnRlc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASJgWaKeJS0jomhIWGCvAVO//GAOFku+J4pZfJrYpOi0oQ+MRDmCesI
cN6FAmHSv+/65lwM3FHYnCWMVzery1MEo1MwUTAdBgNVHQ4EFgQU52+B4MWfBpz0
hK+GTeCgJfhcBnIwHwYDVR0jBBgwFoAU52+B4MWfBpz0hK+GTeCgJfhcBnIwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBAxSAVw5VSPhfh+Bi6x2mf
fWOETLCGuxrsg3R2w/QTdAIhAKBcDD/pkq9AIY5sPlAQAtyf7tfq/NgggNjt06rG
JsoN
-----END CERTIFICATE-----
";

    /// As OpenSSL reads `SSL_CERT_FILE`: whoever names a bundle believes nobody else.
    #[test]
    fn a_bundle_replaces_the_mozilla_roots_and_a_ca_file_adds_to_them() {
        let file = std::env::temp_dir().join(format!("tower-oidc-root-{}.pem", std::process::id()));
        std::fs::write(&file, ROOT).unwrap();
        let count = |bundle, ca_file| roots(bundle, ca_file).unwrap().0.len();
        let mozilla = webpki_roots::TLS_SERVER_ROOTS.len();
        assert_eq!(count(None, None), mozilla);
        assert_eq!(count(None, Some(&*file)), mozilla + 1);
        assert_eq!(count(Some(&*file), None), 1);
        assert_eq!(count(Some(&*file), Some(&*file)), 2);
        std::fs::remove_file(&file).unwrap();
    }
}
