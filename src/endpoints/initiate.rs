//! A login that another site begins, such as the provider's list of applications (OpenID Connect Core 1.0 section 4).

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Method;

use super::context::{EndpointAnswer, EndpointContext};
use super::login::HEADER_BUDGET;
use super::parameters::EndpointQuery;
use super::urls;
use crate::error::redirect;
use crate::html::is_form;
use crate::page;
use crate::protocol::{LoginOptions, Target};

/// Leads a GET to the login, which decides by who is signed in. A POST is led to the same address by GET first: another site's
/// POST comes without the cookie that says who that is.
pub(crate) fn start(context: &EndpointContext, body: &Bytes) -> EndpointAnswer {
    context.admit(Target::Initiate, None, page::nothing)?;
    let (runtime, head) = (&context.runtime, &context.head);
    let is_post = head.method == Method::POST;
    let posted = String::from_utf8_lossy(if is_form(&head.headers) { body } else { &[] });
    let given = EndpointQuery::parse(if is_post { &posted } else { context.query() })?;
    let unknown = || page::bad_request("The parameter iss names no sign-in service of this application.");
    let provider = given.get("iss").and_then(|issuer| runtime.providers.of_issuer(issuer)).ok_or_else(unknown)?;
    let destination = given.destination(runtime, "target_link_uri")?;
    // The address of the login leaves out what its provider does not allow: what is not understood is ignored (section 4).
    let (login_hint, parameters) = (given.bounded("login_hint")?.map(str::to_owned), given.0.clone());
    let options = LoginOptions { login_hint, parameters, ..LoginOptions::default() };
    let address = match is_post {
        true => runtime.settings.path_to("initiate?") + &Serializer::new(String::new()).extend_pairs(&given.0).finish(),
        false => urls::path(runtime, Some(provider), &destination, &options),
    };
    let fits = address.len() <= HEADER_BUDGET;
    fits.then(|| redirect(&address)).ok_or_else(|| page::bad_request("The parameters of the login are too long."))
}
