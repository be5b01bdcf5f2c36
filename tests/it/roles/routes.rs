//! What roles open: route layers, admins; and that a role is one of its provider's people alone.

use http::Method;
use serde_json::json;
use tower_oidc::{ClaimSource, Config, ProviderConfig};

use super::{roles_in, rules, say, status, with_roles, world};
use crate::provider_logout::MODES;
use crate::support::app::{APP, OP2, World};
use crate::support::params::Params;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};

#[tokio::test]
async fn route_layers_require_roles() {
    for mode in MODES {
        let world = world(mode, |config| rules(config, &[(ClaimSource::IdToken, "/groups")]));
        for (has, editors, any, all) in [
            (json!([]), 403, 403, 403),
            (json!(["author"]), 403, 200, 403),
            (json!(["editor"]), 200, 200, 403),
            (json!(["editor", "author"]), 200, 200, 200),
            (json!(["Editor", "editors", "edit", ""]), 403, 403, 403),
        ] {
            say(&world.op, ClaimSource::IdToken, Some(has.clone()));
            let alice = world.signed_in("alice").await;
            for (path, expected) in
                [("/editors", editors), ("/any", any), ("/all", all), ("/any-of-none", 403), ("/all-of-none", 403)]
            {
                assert_eq!(status(&alice, path).await, expected, "{mode:?} {path} {has}");
            }
        }
        let nobody = world.browser();
        assert_eq!(nobody.fetch(Method::GET, &format!("{APP}/editors"), "", APP).await.status, 401, "{mode:?}");
        world.op.sign_in_as("alice");
        let page = nobody.navigate(&format!("{APP}/editors")).await;
        assert_eq!((page.status.as_u16(), page.path_and_query()), (403, "/editors"), "after the login");
        assert!(page.text().contains("This needs the role editor."), "{}", page.text());
    }
}

#[tokio::test]
async fn an_admin_role_makes_admins() {
    for mode in MODES {
        let world = world(mode, |config| {
            rules(config, &[(ClaimSource::IdToken, "/groups")]).admins([""; 0]).admin_roles(["boss", "chief"])
        });
        for (has, expected) in [(json!(["chief"]), 200), (json!(["Chief", "editor"]), 403)] {
            say(&world.op, ClaimSource::IdToken, Some(has));
            let alice = world.signed_in("alice").await;
            assert_eq!(status(&alice, "/admin").await, expected, "{mode:?}");
            assert_eq!(status(&alice, "/admins").await, expected, "{mode:?}");
        }
    }
}

/// Two providers say the same word at the same place.
#[tokio::test]
async fn a_role_is_of_its_providers_people() {
    let two = |of_work: bool| {
        move |config: Config| {
            let work = ProviderConfig::new(OP2, CLIENT_ID).client_secret(CLIENT_SECRET).name("work");
            let work = if of_work { work.roles(ClaimSource::IdToken, "/groups") } else { work };
            let config = rules(config, &[(ClaimSource::IdToken, "/groups")]).add_provider(work);
            config.admin_roles(["default:editor"])
        }
    };
    for stateless in [false, true] {
        for of_work in [false, true] {
            let world = if stateless { World::stateless_with(two(of_work)) } else { World::with(two(of_work)) };
            world.serve(with_roles());
            for (op, name, has, is_admin) in [(&world.op, "default", true, true), (&world.op2, "work", of_work, false)]
            {
                op.edit_id_token(|token| token.claim("groups", json!(["editor"])));
                op.sign_in_as("alice");
                let browser = world.browser();
                let to: Params = [("return_to", "/who"), ("provider", name)].into_iter().collect();
                browser.visit(&to.append_to(&format!("{APP}/auth/login"))).await;
                let expected = if has { json!(["editor"]) } else { json!([]) };
                assert_eq!(roles_in(&browser).await, expected, "{name}, {of_work}");
                assert_eq!(status(&browser, "/editors").await, if has { 200 } else { 403 }, "{name}, {of_work}");
                assert_eq!(status(&browser, "/admin").await, if is_admin { 200 } else { 403 }, "{name}");
            }
        }
    }
}
