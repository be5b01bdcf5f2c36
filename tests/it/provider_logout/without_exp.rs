//! Logout tokens without `exp`, as drafts of Back-Channel Logout had them: Ory Hydra 2.3 and Glewlwyd 2.7 send such.

use std::time::Duration;

use serde_json::Value;

use super::{MODES, NAMES};

#[tokio::test]
async fn a_logout_token_without_exp_counts_for_two_minutes_and_once() {
    for mode in MODES {
        let world = mode.world(|config| config);
        let bob = world.signed_in("bob").await;
        for names in NAMES {
            let alice = world.signed_in("alice").await;
            let sid = world.op.sids_of("alice").pop().unwrap();
            world.clock.advance(Duration::from_secs(600));
            let issued_ago = |seconds: i64| {
                names.token(&world, "alice", &sid, |jwt| {
                    jwt.without("exp");
                    jwt.claim("iat", jwt.now() - seconds);
                })
            };
            let what = format!("{mode:?}, {names:?}");
            for seconds in [120, 600] {
                let answer = world.back_channel(&issued_ago(seconds)).await;
                assert_eq!(answer.status(), 400, "{what}: issued {seconds} s ago");
                assert_eq!(world.who(&alice).await, "a1", "{what}: issued {seconds} s ago");
            }
            let token = issued_ago(60);
            assert_eq!(world.back_channel(&token).await.status(), 200, "{what}: issued 60 s ago");
            assert_eq!(world.who(&alice).await, Value::Null, "{what}: issued 60 s ago");
            assert_eq!(world.back_channel(&token).await.status(), 400, "{what}: a replay");
        }
        assert_eq!(world.who(&bob).await, "b1", "{mode:?}");
    }
}
