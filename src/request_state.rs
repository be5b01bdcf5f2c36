//! What the layer leaves in a request for extractors and route layers: one extension besides `CurrentUser`.

use std::sync::Arc;

use http::header::{ACCEPT, CONNECTION, COOKIE, UPGRADE};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, Method};
use memchr::memmem;

use crate::cookie::{CookieStyle, Ours};
use crate::current_user::CurrentUser;
use crate::error::{Error, ErrorKind, Remedy};
use crate::hooks::Unauthenticated;
use crate::runtime::Runtime;
use crate::session::{Session, SessionId};

/// The request as the layer saw it, before any router took a part of its path away.
#[derive(Clone)]
pub(crate) struct RequestState {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) here: Option<PathAndQuery>,
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
        let here = self.here.as_ref().filter(|_| self.repeatable).map_or("", PathAndQuery::as_str);
        let here = if here.is_empty() { String::new() } else { settings.public_path(here) };
        match settings.destination(&here).or_else(|_| settings.destination("")) {
            Ok(destination) => settings.login_path(&destination),
            Err(_) => settings.path_to("login"),
        }
    }
}

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What decides how a request is served.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// There is a session cookie, whatever it holds.
    pub(crate) session_cookie: bool,
    pub(crate) session: Option<SessionId>,
    pub(crate) was_silent: bool,
    /// A person's browser goes to a page, and can be sent on: GET or HEAD, `Sec-Fetch-Mode: navigate` where the
    /// browser says so, and an `Accept` that names HTML.
    pub(crate) navigation: bool,
    /// RFC 6455 section 4.1. (Over HTTP/2 it is a CONNECT, which is not safe anyway.)
    pub(crate) opens_websocket: bool,
}

impl Head {
    /// One pass: looking a header up by its name costs as much as passing by several.
    pub(crate) fn read(method: &Method, headers: &HeaderMap, cookies: &CookieStyle) -> Self {
        let mut ours = Ours::default();
        let (mut wants_html, mut navigates, mut upgrades) = (false, true, false);
        for (name, value) in headers {
            let value = value.as_bytes();
            if *name == COOKIE {
                cookies.read(value, &mut ours);
            } else if *name == ACCEPT {
                // Browsers name it first, which is quickly seen.
                wants_html |= value.starts_with(b"text/html") || memmem::find(value, b"text/html").is_some();
            } else if *name == SEC_FETCH_MODE {
                navigates &= value == b"navigate";
            } else if *name == UPGRADE {
                upgrades |= value.eq_ignore_ascii_case(b"websocket");
            }
        }
        Self {
            session_cookie: ours.session.is_some(),
            session: ours.session.and_then(SessionId::from_cookie),
            was_silent: ours.silent && ours.session.is_none(),
            navigation: wants_html && navigates && is_safe(method),
            opens_websocket: upgrades && *method == Method::GET && headers.contains_key(CONNECTION),
        }
    }
}

/// Methods that nobody minds being forged.
pub(crate) fn is_safe(method: &Method) -> bool {
    // TRACE is safe too, and nothing that a browser sends.
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}
