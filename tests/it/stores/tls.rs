//! TLS to PostgreSQL: encrypted, and verified where the URL says so.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use tower_oidc::store::{Key, PostgresStore, Store};

use super::create;
use super::postgres::beside;
use crate::support::postgres::Postgres;

struct Certificate {
    pem: String,
    key: String,
    file: PathBuf,
}

impl Certificate {
    fn signed_by_itself(name: &str, host: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = CertificateParams::new([host.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pem", std::process::id()));
        std::fs::write(&file, &pem).unwrap();
        Self { pem, key: key.serialize_pem(), file }
    }

    fn root(&self) -> String {
        format!("sslrootcert={}", self.file.display())
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Whether a store at this URL works, and how many of its connections are encrypted.
async fn encrypted(url: &str) -> Option<bool> {
    let store = PostgresStore::connect_lazy(url).expect("a good URL");
    let version = store.swap(Key([1; 32]), None, super::record("x")).await.ok()?;
    store.delete(Key([1; 32]), version).await.unwrap();
    let place = url.split('?').next().unwrap();
    let question = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                    WHERE datname = current_database() AND application_name = 'tower-oidc'";
    Some(beside(place).await.query_one(question, &[]).await.unwrap().get(0))
}

#[tokio::test]
async fn certificates_of_the_database_are_verified_where_the_url_says_so() {
    let own = Certificate::signed_by_itself("postgres-own", "127.0.0.1");
    let other = Certificate::signed_by_itself("postgres-other", "127.0.0.1");
    let Some(server) = Postgres::with_tls(&own.pem, &own.key) else { return };
    let url = server.database().await;
    let with = |query: &str| format!("{url}?{query}");
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(encrypted(&with(&format!("sslmode={mode}"))).await, None, "{mode}: nobody signed it");
        let wrong = with(&format!("sslmode={mode}&{}", other.root()));
        assert_eq!(encrypted(&wrong).await, None, "{mode}: somebody else signed it");
        let right = with(&format!("sslmode={mode}&{}", own.root()));
        assert_eq!(encrypted(&right).await, Some(true), "{mode}");
        let renamed = right.replace("127.0.0.1", "localhost");
        assert_eq!(encrypted(&renamed).await, None, "{mode}: it is somebody else's");
    }
    assert_eq!(encrypted(&url).await, Some(true), "prefer, which verifies nothing");
    assert_eq!(encrypted(&with("sslmode=prefer")).await, Some(true));
    assert_eq!(encrypted(&with("sslmode=disable")).await, Some(false));
    let missing = with("sslmode=verify-full&sslrootcert=/nowhere.pem");
    assert!(PostgresStore::connect_lazy(&missing).unwrap_err().to_string().contains("sslrootcert"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_the_url_wants_it() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    assert_eq!(encrypted(&format!("{url}?sslmode=require")).await, None);
    assert_eq!(encrypted(&url).await, Some(false), "prefer takes what there is");
    create(&PostgresStore::connect_lazy(&format!("{url}?sslmode=disable")).unwrap(), Key([2; 32])).await;
}
