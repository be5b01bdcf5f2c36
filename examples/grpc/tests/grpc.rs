//! The service behind the layer: who calls it, and what a stranger gets.

use grpc::{People, PeopleClient, PeopleServer, WhoAmIRequest};
use tonic::service::Routes;
use tonic::{Code, Request};
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, OidcLayer, ProviderConfig, testing};

const ISSUER: &str = "https://id.example.org";

fn layer() -> OidcLayer {
    let config = Config::new("https://app.example.org", ProviderConfig::new(ISSUER, "app"));
    OidcLayer::per_user(config, MemoryStore::new()).unwrap()
}

#[tokio::test]
async fn the_service_knows_who_calls() {
    let auth = layer();
    let service = auth.any_body().layer(Routes::new(PeopleServer::new(People)));
    let mut client = PeopleClient::with_origin(service, "https://app.example.org".parse().unwrap());

    let anonymous = client.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated, "{anonymous}");

    let cookie = testing::start_session(&auth, ISSUER, "ann", Default::default()).await.unwrap();
    let mut request = Request::new(WhoAmIRequest {});
    request.metadata_mut().insert("cookie", cookie.parse().unwrap());
    // What a browser says of the page that calls. Without it the layer takes the call for a forged one.
    request.metadata_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    let ann = client.who_am_i(request).await.unwrap().into_inner();
    assert_eq!((ann.issuer.as_str(), ann.subject.as_str()), (ISSUER, "ann"));
}

/// A build without the feature says which one it lacks, in one line.
#[cfg(not(feature = "dev-provider"))]
#[test]
fn the_development_provider_is_a_feature() {
    let named = |name: &str| (name == "OIDC_ISSUER").then(|| "development".to_owned());
    let config = Config::from_env_with(named).unwrap().bind(([127, 0, 0, 1], 3000));
    let refused = OidcLayer::per_user(config, MemoryStore::new()).unwrap_err();
    let [line] = refused.problems() else { panic!("{refused}") };
    assert!(line.contains("enable the feature `dev-provider`") && line.contains("OIDC_ISSUER"), "{line}");
}
