//! What the layer leaves in a request for extractors and route layers: one extension besides `CurrentUser`.

use std::sync::Arc;

use http::header::ACCEPT;
use http::{Extensions, HeaderMap, Method, Uri};

use crate::current_user::CurrentUser;
use crate::error::{Error, ErrorKind, Remedy};
use crate::hooks::Unauthenticated;
use crate::runtime::Runtime;
use crate::session::Session;

/// The request as the layer saw it, before any router took a part of its path away.
#[derive(Clone)]
pub(crate) struct RequestState {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) uri: Uri,
    pub(crate) navigation: bool,
    /// A safe method, whose page can be come back to.
    pub(crate) repeatable: bool,
    pub(crate) was_silent: bool,
}

impl RequestState {
    pub(crate) fn of(extensions: &Extensions) -> Result<&Self, Error> {
        extensions.get::<Self>().ok_or_else(Error::layer_missing)
    }

    pub(crate) fn user(&self) -> Option<CurrentUser> {
        self.session.clone().map(|session| CurrentUser::new(session, Arc::clone(&self.runtime)))
    }

    /// The signed-in person, or the error that sends somebody to the login and back here.
    pub(crate) fn require_user(&self) -> Result<CurrentUser, Error> {
        self.user().ok_or_else(|| self.unauthenticated())
    }

    pub(crate) fn unauthenticated(&self) -> Error {
        let login_url = self.login_path();
        if self.navigation {
            self.runtime.sends_to_login();
        }
        let error = Error::new(ErrorKind::Unauthenticated, "sign in first")
            .with_remedy(Remedy { url: login_url.clone(), redirect: self.navigation });
        match &self.runtime.hooks.unauthenticated {
            Some(hook) => {
                error.with_answer(hook(&Unauthenticated { login_url, navigation: self.navigation }))
            }
            None => error,
        }
    }

    /// The login's grant is of no use any more: the same login as for somebody who is not signed in.
    pub(crate) fn consent_required(&self) -> Error {
        Error::new(ErrorKind::ConsentRequired, "access must be granted again")
            .with_remedy(Remedy { url: self.login_path(), redirect: self.navigation })
    }

    fn login_path(&self) -> String {
        let settings = &self.runtime.settings;
        // A page that was posted to is not there to come back to.
        let here = self.uri.path_and_query().filter(|_| self.repeatable).map_or("", |here| here.as_str());
        let here = if here.is_empty() { String::new() } else { settings.public_path(here) };
        match settings.destination(&here).or_else(|_| settings.destination("")) {
            Ok(destination) => settings.login_path(&destination),
            Err(_) => settings.path_to("login"),
        }
    }
}

/// Whether a person's browser goes to a page, which can be sent on: GET or HEAD, `Sec-Fetch-Mode: navigate` where
/// the browser says so, and an `Accept` that names HTML.
pub(crate) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let navigates = || headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    let wants_html = || {
        headers
            .get_all(ACCEPT)
            .iter()
            .any(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
    };
    matches!(*method, Method::GET | Method::HEAD) && wants_html() && navigates()
}

/// Methods that nobody minds being forged.
pub(crate) fn is_safe(method: &Method) -> bool {
    // TRACE is safe too, and nothing that a browser sends.
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}
