//! The cryptography of TLS.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
#[cfg(not(feature = "ring"))]
use rustls::crypto::aws_lc_rs::default_provider;
#[cfg(feature = "ring")]
use rustls::crypto::ring::default_provider;

/// The default provider of the process, which the application may have installed, or that of this crate's features.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(|| Arc::new(default_provider()), Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_provider_of_the_process_wins() {
        let suites = |provider: &CryptoProvider| provider.cipher_suites.len();
        let ours = crypto_provider();
        let mut other = CryptoProvider::clone(&ours);
        other.cipher_suites.pop();
        other.install_default().unwrap();
        assert_eq!(suites(&crypto_provider()), suites(&ours) - 1);
    }
}
