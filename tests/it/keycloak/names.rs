//! Keycloak under a public and an internal name, and before another provider.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower::service_fn;
use tower_oidc::Config;

use super::{REALM, World, step, submit};
use crate::support::http::Client;

type Calls = Arc<Mutex<BTreeSet<String>>>;

/// The documented client, which keeps the host and the last part of the path of what it calls.
fn recorded(config: Config, calls: &Calls) -> Config {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let (client, calls) = (client.expect("a client"), Arc::clone(calls));
    config.http_client(service_fn(move |request: Request<Bytes>| {
        let (client, uri) = (client.clone(), request.uri());
        let (_, last) = uri.path().rsplit_once('/').expect("a path");
        calls.lock().unwrap().insert(format!("{} {last}", uri.host().expect("a host")));
        async move {
            let response = client.execute(request.try_into()?).await?;
            Ok::<_, reqwest::Error>(Response::<reqwest::Body>::from(response))
        }
    }))
}

/// `hostname` and `hostname-backchannel-dynamic`, as in a network of containers: browsers go to one name, the application
/// to the other, and the issuer is the public one.
#[tokio::test]
async fn the_application_calls_the_internal_name_alone() {
    let calls = Calls::default();
    let world = World::start(
        |_| (),
        |mut config, realm| {
            config.provider = config.provider.internal_url(&realm.internal_url).revoke_at_logout(true);
            recorded(config, &calls)
        },
    );
    let Some(world) = world.await else { return };
    let under_two_names = async {
        let mut alice = world.signed_in("alice").await;
        assert_eq!(alice.get(&world.at("/me")).await.json()["issuer"], world.realm.issuer);
        let userinfo = alice.get(&world.at("/userinfo")).await.json();
        assert_eq!(userinfo["email"], "alice@example.test");
        world.signs_out(&mut alice).await;
        let public = alice.trail.iter().filter(|url| !url.as_str().starts_with(&world.app));
        assert!(public.clone().count() >= 3);
        for url in public {
            assert!(url.as_str().starts_with(&world.realm.issuer), "{url}");
        }
    };
    step("an internal and a public name", under_two_names).await;
    let asked = ["certs", "openid-configuration", "revoke", "token", "userinfo"];
    let asked = asked.map(|last| format!("127.0.0.1 {last}")).into();
    assert_eq!(*calls.lock().unwrap(), asked);
    // A refresh token that is revoked takes Keycloak's session with it, mostly before the browser gets there to end it.
    let mut complaints = world.realm.complaints().await;
    complaints.retain(|event| (&event["type"], &event["error"]) != (&json!("LOGOUT_ERROR"), &json!("session_expired")));
    assert_eq!(complaints, [] as [Value; 0]);
}

/// A parameter of Keycloak's own sends people on to the provider of their organisation, for the login that has it.
#[tokio::test]
async fn a_hint_leads_on_to_another_provider() {
    let world = World::start(
        |_| (),
        |mut config, _| {
            config.provider = config.provider.login_parameters(["kc_idp_hint"]);
            config
        },
    );
    let Some(world) = world.await else { return };
    let broker = format!("{}/broker/partner/endpoint", world.realm.issuer);
    let partner = world.keycloak.realm(REALM, "http://unused.test", |realm| {
        realm["clients"][0]["redirectUris"] = json!([broker]);
        realm["users"][0]["username"] = json!("carol");
        realm["users"][0]["email"] = json!("carol@partner.test");
        realm["users"][0]["credentials"][0]["value"] = json!("carol's password");
    });
    let partner = partner.await;
    let endpoint = |url: &str, last: &str| format!("{url}/protocol/openid-connect/{last}");
    let provider = json!({
        "alias": "partner", "providerId": "oidc", "enabled": true, "trustEmail": true,
        "config": {
            "issuer": partner.issuer, "authorizationUrl": endpoint(&partner.issuer, "auth"),
            "tokenUrl": endpoint(&partner.internal_url, "token"), "jwksUrl": endpoint(&partner.internal_url, "certs"),
            "useJwksUrl": "true", "validateSignature": "true", "clientId": "app", "clientSecret": "app's secret",
            "clientAuthMethod": "client_secret_post", "defaultScope": "openid email profile",
        },
    });
    world.realm.create("/identity-provider/instances", provider).await;
    let led_on = async {
        let mut carol = Client::new();
        let form = carol.visit(&world.at("/auth/login?return_to=/me")).await;
        assert!(form.url.as_str().starts_with(&world.realm.issuer), "without the parameter: {form:?}");
        let form = carol.visit(&world.at("/auth/login?return_to=/me&kc_idp_hint=partner")).await;
        assert!(form.url.as_str().starts_with(&partner.issuer), "{form:?}");
        let page = submit(&mut carol, &form, "carol").await;
        assert_eq!((page.url.as_str(), page.status.as_u16()), (&*world.at("/me"), 200), "{page:?}");
        let me = page.json();
        assert_eq!((&me["email"], &me["issuer"]), (&json!("carol@partner.test"), &json!(world.realm.issuer)));
    };
    step("on to another provider", led_on).await;
}
