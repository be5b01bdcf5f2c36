//! TLS to the server: verified as the Web is, or, where plain text would do as well, not at all.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::StoreError;
use super::url::Tls;
use crate::crypto::roots::roots;
use crate::crypto::tls;
use crate::events::EventCode;

pub(super) fn connector(tls: &Tls) -> Result<MakeRustlsConnect, StoreError> {
    let crypto = tls::crypto_provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::refused_by("TLS cannot be set up", error))?;
    let builder = match tls {
        Tls::Unverified => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(crypto))),
        Tls::Verified { root_cert } => builder.with_root_certificates(verified(root_cert.as_deref())?),
    };
    Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
}

/// A store is made before the layer whose events it has.
fn verified(root_cert: Option<&Path>) -> Result<RootCertStore, StoreError> {
    let unusable = |reason| StoreError::refused_by("PostgreSQL's sslrootcert is of no use", reason);
    let (roots, skipped) = roots(None, root_cert).map_err(unusable)?;
    let code = EventCode::CertificateSkipped.as_str();
    skipped.iter().for_each(|why| tracing::warn!(target: "tower_oidc", code, "{why}"));
    Ok(roots)
}

/// `sslmode=prefer`: encrypted against those who listen. Whoever can put a certificate of his own here could as well
/// say that the server has no TLS.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self, _end_entity: &CertificateDer<'_>, _intermediates: &[CertificateDer<'_>], _server_name: &ServerName<'_>,
        _ocsp_response: &[u8], _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
