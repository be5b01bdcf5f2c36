//! Lies of the authorization response.

use super::{Lie, accepted, depends, refused};
use crate::params::Params;
use crate::provider::LyingProvider;

type Op = LyingProvider;

fn params(op: &Op, edit: fn(&mut Params)) {
    op.edit_authorization_response(move |answer| edit(&mut answer.params));
}

/// Turns the answer into an error response.
fn error(op: &Op, error: &'static str, description: &'static str) {
    op.edit_authorization_response(move |answer| {
        answer.params.remove("code");
        answer.params.set("error", error);
        answer.params.set("error_description", description);
    });
}

pub const AUTHORIZATION: &[Lie] = &[
    refused("state missing", |op| params(op, |p| p.remove("state"))),
    refused("state empty", |op| params(op, |p| p.set("state", ""))),
    refused("state wrong", |op| params(op, |p| p.set("state", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))),
    refused("state garbage", |op| params(op, |p| p.set("state", "\u{0}\u{fffd}%zz\r\n{}"))),
    refused("state huge", |op| params(op, |p| p.set("state", "s".repeat(6000)))),
    refused("state in upper case", |op| {
        params(op, |p| {
            let state = p.get("state").unwrap_or_default().to_uppercase();
            p.set("state", state);
        });
    }),
    refused("state twice", |op| params(op, |p| p.duplicate("state"))),
    refused("state twice, the second wrong", |op| params(op, |p| p.add("state", "other"))),
    refused("code missing", |op| params(op, |p| p.remove("code"))),
    refused("code empty", |op| params(op, |p| p.set("code", ""))),
    refused("code unknown", |op| params(op, |p| p.set("code", "code_of_nobody"))),
    refused("code twice", |op| params(op, |p| p.duplicate("code"))),
    refused("code twice, the second other", |op| params(op, |p| p.add("code", "other"))),
    refused("response iss wrong", |op| params(op, |p| p.set("iss", "https://evil.test"))),
    refused("response iss empty", |op| params(op, |p| p.set("iss", ""))),
    refused("response iss with a slash more", |op| {
        params(op, |p| {
            let iss = format!("{}/", p.get("iss").unwrap_or_default());
            p.set("iss", iss);
        });
    }),
    refused("response iss missing though announced", |op| params(op, |p| p.remove("iss"))),
    refused("response iss twice", |op| params(op, |p| p.duplicate("iss"))),
    refused("response iss twice, the second wrong", |op| params(op, |p| p.add("iss", "https://evil.test"))),
    refused("error beside the code", |op| params(op, |p| p.set("error", "server_error"))),
    refused("access denied", |op| error(op, "access_denied", "alice does not want to")),
    refused("error without a state", |op| {
        op.edit_authorization_response(|answer| {
            answer.params = [("error", "server_error")].into_iter().collect();
        });
    }),
    refused("error with a script", |op| error(op, "<script>alert(1)</script>", "\"><script>alert(2)</script>")),
    refused("error temporarily_unavailable", |op| error(op, "temporarily_unavailable", "come back later")),
    refused("error login_required", |op| error(op, "login_required", "nobody is here")),
    refused("unexpected id_token", |op| params(op, |p| p.add("id_token", "e30.e30."))),
    refused("unexpected access_token", |op| params(op, |p| p.add("access_token", "at_from_the_front"))),
    refused("response as a fragment", |op| {
        op.edit_authorization_response(|answer| answer.mode = "fragment".to_owned());
    }),
    refused("another response mode", |op| {
        op.edit_authorization_response(|answer| {
            let posted = answer.mode == "form_post";
            answer.mode = if posted { "query" } else { "form_post" }.to_owned();
        });
    }),
    refused("response empty", |op| params(op, |p| p.0.clear())),
    depends("response iss not announced and missing", |op| {
        op.edit_discovery(|document| {
            document.remove("authorization_response_iss_parameter_supported");
        });
        params(op, |p| p.remove("iss"));
    }),
    accepted("unknown response parameter", |op| params(op, |p| p.add("session_state", "abc.def"))),
];
