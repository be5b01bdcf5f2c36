//! Parameters of one login: allowed by name for each provider, with values in a link or in code.

use axum::routing::get;
use tower_oidc::store::MemoryStore;
use tower_oidc::{
    AuthSession, Config, DestinationError, Error, ErrorKind, LoginOptions, OidcLayer, Prompt, RequireLayer,
};

use super::{assert_refused, login, login_with, pending};
use crate::support::app::{APP, World, routes};
use crate::support::provider::CLIENT_ID;

/// Logins may name an identity provider and languages; the author has chosen German.
fn allowing(mut config: Config) -> Config {
    config.provider =
        config.provider.login_parameters(["kc_idp_hint", "ui_locales"]).authorization_parameter("ui_locales", "de");
    config
}

fn asked(world: &World, name: &str) -> Vec<String> {
    world.op.last_authorization().all(name).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_login_adds_the_parameters_that_its_provider_allows() {
    let world = World::with(allowing);
    world.op.sign_in_as("alice");
    let page = world.browser().visit(&login_with("/who", &[("kc_idp_hint", "a&b=ü"), ("ui_locales", "fr")])).await;
    assert_eq!(page.json()["sub"], "a1");
    assert_eq!((asked(&world, "kc_idp_hint"), asked(&world, "ui_locales")), (vec!["a&b=ü".into()], vec!["fr".into()]));
    world.browser().visit(&login("/who")).await;
    let none: Vec<String> = Vec::new();
    assert_eq!((asked(&world, "kc_idp_hint"), asked(&world, "ui_locales")), (none, vec!["de".into()]), "the author's");
    // In code, and with what else a login asks for.
    world.serve(routes().route("/google", get(with_google)));
    let address = world.browser().navigate(&format!("{APP}/google")).await.text();
    world.browser().visit(&format!("{APP}{address}")).await;
    assert_eq!((asked(&world, "kc_idp_hint"), asked(&world, "prompt")), (vec!["google".into()], vec!["login".into()]));
}

async fn with_google(auth: AuthSession) -> Result<String, Error> {
    let options = LoginOptions::new().prompt(Prompt::Login).parameter("kc_idp_hint", "google");
    let choices = auth.login_choices("/who", &options)?;
    let address = auth.login_url_with("/who", &options)?;
    assert_eq!(choices[0].login_url, address);
    Ok(address)
}

/// What nobody allows is told, and what links bring along by themselves is ignored.
#[tokio::test]
async fn a_parameter_that_is_not_allowed_is_refused() {
    for world in [World::with(allowing), World::new()] {
        world.op.sign_in_as("alice");
        for name in ["organization", "screen_hint", "domain_hint", "claims", "connection", "id_token_hint", "audience"]
        {
            let browser = world.browser();
            let page = browser.navigate(&login_with("/who", &[(name, "x")])).await;
            assert_refused(&browser, &page, 400, name);
            assert!(page.text().contains(&format!("the parameter {name}: add it to")), "{}", page.text());
            assert!(pending(&browser).is_empty(), "{name}");
        }
        let page = world.browser().visit(&login_with("/who", &[("utm_source", "x"), ("fbclid", "y")])).await;
        assert_eq!(page.json()["sub"], "a1");
        assert!(!world.op.last_authorization().has("utm_source"));
    }
    let world = World::with(allowing);
    let in_code = async |auth: AuthSession| {
        let refused = DestinationError::ParameterNotAllowed("organization".to_owned());
        let options = LoginOptions::new().parameter("organization", "x");
        assert_eq!(auth.login_url_with("/", &options), Err(refused.clone()));
        assert_eq!(auth.login_choices("/", &options).unwrap_err(), refused);
        assert_eq!(Error::from(refused).kind(), ErrorKind::InvalidDestination);
        auth.login_url_with("/", &LoginOptions::new().parameter("ui_locales", "fr")).unwrap()
    };
    world.serve(routes().route("/refused", get(in_code)));
    assert_eq!(
        world.browser().navigate(&format!("{APP}/refused")).await.text(),
        "/auth/login?return_to=%2F&ui_locales=fr"
    );
}

/// At the edge: 512 bytes of names and values together.
#[tokio::test]
async fn the_parameters_of_a_login_are_short() {
    let world = World::with(allowing);
    world.op.sign_in_as("alice");
    let most = 512 - "kc_idp_hint".len() - "ui_locales".len();
    for (length, accepted) in [(most, true), (most + 1, false)] {
        let halves = ["a".repeat(length / 2), "b".repeat(length - length / 2)];
        let browser = world.browser();
        let address = login_with("/who", &[("kc_idp_hint", &halves[0]), ("ui_locales", &halves[1])]);
        match accepted {
            true => assert_eq!(browser.visit(&address).await.json()["sub"], "a1"),
            false => assert_refused(&browser, &browser.visit(&address).await, 400, "one byte more"),
        }
        let [first, second] = halves;
        let in_code = get(move |auth: AuthSession| async move {
            let options = LoginOptions::new().parameter("kc_idp_hint", first).parameter("ui_locales", second);
            auth.login_url_with("/", &options).err().map(|refused| refused.to_string()).unwrap_or_default()
        });
        world.serve(routes().route("/code", in_code));
        let expected = if accepted { "" } else { "the parameters of the login have 513 bytes; 512 are allowed" };
        assert_eq!(world.browser().navigate(&format!("{APP}/code")).await.text(), expected);
    }
    let twice = login_with("/who", &[("ui_locales", "fr"), ("ui_locales", "de")]);
    assert_eq!(world.browser().step(&twice).await.status, 400);
}

/// The provider gives a login up, or must be asked for a refresh token: the login that begins anew asks for the same.
#[tokio::test]
async fn a_login_that_begins_anew_keeps_its_parameters() {
    let address = login_with("/who", &[("kc_idp_hint", "google")]);
    let world = World::with(allowing);
    let answered = std::sync::atomic::AtomicBool::new(false);
    world.op.edit_authorization_response(move |answer| {
        if !answered.swap(true, std::sync::atomic::Ordering::SeqCst) {
            answer.params.remove("code");
            answer.params.set("error", "login_required");
        }
    });
    world.op.sign_in_as("alice");
    assert_eq!(world.browser().visit(&address).await.json()["sub"], "a1");
    let hints = |world: &World| -> Vec<_> {
        let asked = world.op.authorizations();
        asked.iter().map(|asked| asked.params.get("kc_idp_hint").map(str::to_owned)).collect()
    };
    assert_eq!(hints(&world), [Some("google".to_owned()), Some("google".to_owned())]);

    let world = World::with(|config| allowing(config).revalidate_every(std::time::Duration::from_secs(300)));
    world.op.set(|op| op.issue_refresh_tokens = false);
    world.op.sign_in_as("alice");
    world.browser().visit(&address).await;
    assert_eq!(hints(&world), [Some("google".to_owned()), Some("google".to_owned())]);
    assert_eq!(asked(&world, "prompt"), ["consent"]);
}

/// A route that demands an authentication says at which identity provider.
#[tokio::test]
async fn a_route_that_demands_a_login_adds_its_parameters() {
    let world = World::with(allowing);
    let strong = |name: &str| LoginOptions::new().max_age(std::time::Duration::from_secs(60)).parameter(name, "google");
    let strong = |name| get(async || "in").route_layer(RequireLayer::authentication(strong(name)));
    world.serve(routes().route("/strong", strong("kc_idp_hint")).route("/wrong", strong("organization")));
    world.op.sign_in_as("alice");
    let browser = world.browser();
    assert_eq!(browser.visit(&format!("{APP}/strong")).await.text(), "in");
    assert_eq!((asked(&world, "kc_idp_hint"), asked(&world, "max_age")), (vec!["google".into()], vec!["60".into()]));
    world.clock.advance(std::time::Duration::from_secs(300));
    assert_eq!(browser.visit(&format!("{APP}/strong")).await.text(), "in");
    assert_eq!((world.op.authorizations().len(), asked(&world, "kc_idp_hint")), (2, vec!["google".into()]));
    assert_eq!(world.browser().visit(&format!("{APP}/wrong")).await.status, 400);
    assert_eq!(browser.visit(&format!("{APP}/wrong")).await.text(), "in", "the session is as it is demanded");
}

/// What the layer sends, and what it reads from the address of a login, are no names for this.
#[test]
fn the_names_of_the_layer_cannot_be_allowed() {
    let layer = |name: &str| {
        let provider = tower_oidc::ProviderConfig::new("https://op.test", CLIENT_ID).login_parameters([name]);
        let config = Config::new(APP, provider).session_secrets(["0123456789abcdef0123456789abcdef"]);
        OidcLayer::per_user(config, MemoryStore::new()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(layer("organization"), Ok(()));
    for name in
        ["state", "scope", "redirect_uri", "prompt", "acr_values", "request", "return_to", "provider", "proof", "iss"]
    {
        let refused = layer(name).unwrap_err();
        assert!(refused.contains(&format!("login_parameters has {name:?} (OIDC_LOGIN_PARAMETERS)")), "{refused}");
    }
}
