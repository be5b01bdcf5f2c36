//! What the layer leaves in a request for extractors and route layers: one extension besides `CurrentUser`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, COOKIE, Entry, REFERER, UPGRADE};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, Method, Request};
use memchr::memmem;

use super::current_user::{Admin, CurrentUser};
use crate::config::{Destination, SharedAccount, Unauthenticated};
use crate::cookie::{AppCookies, CookiePolicy, KnownCookies};
use crate::endpoints::login::HEADER_BUDGET;
use crate::endpoints::urls;
use crate::error::{Error, ErrorKind, NextStep};
use crate::events::{EventCode, guarded};
use crate::html::encoded;
use crate::protocol::LoginOptions;
use crate::records::Consent;
use crate::sessions::{Session, Visitor};
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::tokens::{PendingSingleUses, Principal};

/// How long after they were asked a person is not sent to be asked for the same again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
const STILL_MISSING: &str = "access is still missing after you were asked for it: grant all of it, or ask the operator";

/// The request as the layer saw it, before any router took a part of its path away. It is made for each request, and
/// moved several times: what few requests have lies behind a pointer.
#[derive(Clone)]
pub(crate) struct RequestState {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) jar: CookieJar,
    pub(crate) here: Option<PathAndQuery>,
    pub(crate) head: Head,
    unusual: Option<Arc<Unusual>>,
}

/// Of a form that cannot be sent again, of a script, or of a request that a hook answers.
struct Unusual {
    /// The page of the application that sends the request.
    page: Option<String>,
    /// A browser submits a form.
    is_form: bool,
    /// For the hook that answers anonymous requests.
    asked: Option<(Method, HeaderMap)>,
    /// The access token that a client sent, in place of a session.
    bearer: Option<Arc<Session>>,
}

impl RequestState {
    /// Puts the person, if there is one, and this into a request.
    pub(crate) fn insert<B>(
        runtime: Arc<Runtime>, session: Option<Arc<Session>>, jar: CookieJar, head: Head, request: &mut Request<B>,
    ) {
        let is_anonymous = session.is_none();
        let has_hook = runtime.hooks.unauthenticated.is_some();
        let is_unusual = !head.is_safe || (is_anonymous && (has_hook || !head.navigation()));
        let unusual = if is_unusual { Unusual::of(&runtime, request, is_anonymous) } else { None };
        let here = request.uri().path_and_query().cloned();
        Self { runtime, session, jar, here, head, unusual }.put(request);
    }

    /// Puts this into a request with an access token: no cookie of it counts, and it is redirected nowhere.
    pub(crate) fn insert_bearer<B>(runtime: Arc<Runtime>, bearer: Arc<Session>, request: &mut Request<B>) {
        let head = Head { is_safe: is_safe(request.method()), ..Head::default() };
        let unusual = Unusual { page: None, is_form: false, asked: None, bearer: Some(bearer) };
        let here = request.uri().path_and_query().cloned();
        Self { head, here, unusual: Some(Arc::new(unusual)), ..Self::without_request(runtime) }.put(request);
    }

    #[inline(always)]
    fn put<B>(self, request: &mut Request<B>) {
        let extensions = request.extensions_mut();
        match self.user() {
            Some(user) => drop(extensions.insert(user)),
            // Nobody but this layer says who is signed in.
            None => drop(extensions.remove::<CurrentUser>()),
        }
        if let Some(outer) = extensions.insert(self) {
            refuse_two(&outer, extensions);
        }
    }

    /// Of no request: nobody can be sent anywhere.
    pub(crate) fn without_request(runtime: Arc<Runtime>) -> Self {
        Self { runtime, session: None, jar: CookieJar::default(), here: None, head: Head::default(), unusual: None }
    }

    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Result<&Self, Error> {
        extensions.get::<Self>().ok_or_else(Error::layer_missing)
    }

    /// The access token of a request that shows one in place of a session.
    pub(crate) fn bearer(&self) -> Option<&Arc<Session>> {
        self.unusual.as_ref()?.bearer.as_ref()
    }

    #[inline(always)]
    pub(crate) fn user(&self) -> Option<CurrentUser> {
        // A client that got a token for itself is no person.
        let person = || self.bearer().filter(|bearer| !bearer.subject.is_empty());
        let session = self.session.as_ref().or_else(person)?.clone();
        Some(CurrentUser::new(session, self.jar.clone(), Arc::clone(&self.runtime)))
    }

    /// The signed-in person, or the error that sends somebody to the login and back here.
    pub(crate) fn require_user(&self) -> Result<CurrentUser, Error> {
        self.user().ok_or_else(|| self.unauthenticated())
    }

    /// The same for an admin.
    pub(crate) fn require_admin(&self) -> Result<Admin, Error> {
        Admin::new(self.require_user()?).ok_or_else(|| Error::forbidden("only admins may do this"))
    }

    /// Whom the tokens of this request belong to; `None` when nobody is signed in whose they could be.
    pub(crate) fn principal(&self) -> Option<Principal> {
        let runtime = &self.runtime;
        let own = || match (&self.session, self.head.visitor()) {
            _ if self.bearer().is_some() => None,
            (Some(session), _) => Some(Principal::Session(Arc::clone(session))),
            (None, _) if !runtime.settings.takes_visitors() => None,
            (None, Some(visitor)) => Some(Principal::Visitor(visitor)),
            // Nobody has been here under this name, and nothing is found for it.
            (None, None) => Some(Principal::Visitor(Visitor::new(runtime.random.bytes()))),
        };
        Principal::shared(&runtime.mode).or_else(own)
    }

    pub(crate) fn unauthenticated(&self) -> Error {
        self.unauthenticated_for(&LoginOptions::default())
    }

    /// The error that sends somebody to a login with these demands.
    pub(crate) fn unauthenticated_for(&self, options: &LoginOptions) -> Error {
        let login_url = self.login_path() + &urls::query(options);
        if self.head.navigation() {
            self.runtime.sends_to_login();
        }
        let mut error = Error::new(ErrorKind::Unauthenticated, "sign in first")
            .with_next_step(NextStep { url: login_url.clone(), redirect: self.head.navigation() });
        if let Some(api) = &self.runtime.settings.api {
            error = error.with_challenge(api.challenge(""));
        }
        let Some(hook) = &self.runtime.hooks.unauthenticated else { return error };
        let asked = self.unusual.as_ref().and_then(|unusual| unusual.asked.clone());
        let (method, headers) = asked.unwrap_or_default();
        let path = self.here.as_ref().map_or("/", PathAndQuery::as_str).to_owned();
        let asked = Unauthenticated { login_url, navigation: self.head.navigation(), method, path, headers };
        let Some(answer) = guarded("the hook for unauthenticated requests", || hook(&asked)) else { return error };
        error.with_answer(answer)
    }

    /// The error that sends the person to the provider for more. `asked` is what they were last sent for: whoever did
    /// not grant it a moment ago is not sent round in circles, and the application says what is missing.
    pub(crate) fn consent_required(
        &self, connection: &str, scopes: &[String], options: &LoginOptions, asked: Option<&Consent>,
    ) -> Error {
        let path = |to: &_| urls::connect_path_with(&self.runtime, connection, to, scopes, options);
        let mut next_step = self.next_step(path);
        let now = self.runtime.now();
        let asked_lately =
            asked.is_some_and(|asked| now.duration_since(asked.at) < ASK_AGAIN && asked.covers(scopes, options));
        next_step.redirect &= !asked_lately;
        let message = if asked_lately { STILL_MISSING } else { "access must be granted first" };
        Error::new(ErrorKind::ConsentRequired, message).with_next_step(next_step)
    }

    /// Where a user goes by an address that leads back here.
    pub(crate) fn next_step(&self, address: impl Fn(&Destination) -> String) -> NextStep {
        let settings = &self.runtime.settings;
        let form = self.unusual.as_ref().filter(|unusual| unusual.is_form);
        let here = match form {
            // What was posted is gone: the person comes back to a page that says so.
            Some(form) => {
                let page = form.page.as_deref().unwrap_or_default();
                format!("{}?return_to={}", settings.path_to("granted"), encoded(page))
            }
            None => self.here(),
        };
        let key = urls::proof_key(self.session.as_deref(), self.head.visitor());
        let path = |to: &Destination| urls::with_proof(&self.runtime, key.as_deref(), address(to));
        let here = settings.destination(&here).map(|here| path(&here)).ok();
        let url = here.filter(|path| path.len() <= HEADER_BUDGET).unwrap_or_else(|| path(&settings.home));
        NextStep { url, redirect: self.head.navigation() || form.is_some() }
    }

    /// The error of a request that wants what the application's one account does not have. Nobody who visits can help.
    pub(crate) fn needs_operator(&self, account: &SharedAccount, connection: &str) -> Error {
        let next_step = account.remedy();
        self.runtime.events().emit(EventCode::NeedsOperator, None, format_args!("{connection}: {next_step}"));
        Error::new(ErrorKind::OperatorActionRequired, next_step)
    }

    /// What is everybody's, an admin takes back, and the configuration's nobody.
    pub(crate) fn may_disconnect(&self, principal: &Principal) -> Result<(), Error> {
        let Some(account) = principal.account(&self.runtime) else { return Ok(()) };
        self.require_admin()?;
        let configured = "the account stands in the configuration: it is not disconnected here";
        account.is_granted_by_hand().then_some(()).ok_or_else(|| Error::forbidden(configured))
    }

    /// This page, to come back to; the public URL where it was not asked for safely.
    fn here(&self) -> String {
        let here = self.here.as_ref().filter(|_| self.head.is_safe).map_or("", PathAndQuery::as_str);
        if here.is_empty() { String::new() } else { self.runtime.settings.public_path(here) }
    }

    fn login_path(&self) -> String {
        let settings = &self.runtime.settings;
        // A script comes back to its page: nobody wants to look at what it asked for.
        let page = || self.unusual.as_ref()?.page.clone();
        let here = if self.head.navigation() { self.here() } else { page().unwrap_or_default() };
        // A page with an address that grows beyond what a header holds is not there to come back to either.
        let here = settings.destination(&here).map(|here| settings.login_path(&here)).ok();
        here.filter(|path| path.len() <= HEADER_BUDGET).unwrap_or_else(|| settings.login_path(&settings.home))
    }
}

impl Unusual {
    #[cold]
    fn of<B>(runtime: &Runtime, request: &Request<B>, is_anonymous: bool) -> Option<Arc<Self>> {
        let asks_hook = is_anonymous && runtime.hooks.unauthenticated.is_some();
        let (method, headers) = (request.method(), request.headers());
        let navigates = || headers.get(&SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
        let is_form = *method == Method::POST && navigates();
        let page = if is_form || is_anonymous { page(runtime, headers) } else { None };
        let asked = asks_hook.then(|| (method.clone(), shown(headers)));
        let unusual = Self { page, is_form, asked, bearer: None };
        (unusual.page.is_some() || is_form || asks_hook).then(|| Arc::new(unusual))
    }
}

/// Where another layer is around this one, with the same cookie or endpoints, each takes the other's sessions for nobody's, and
/// people would be sent to the login for ever. Nothing is left of both, so that every handler says so.
#[cold]
fn refuse_two(outer: &RequestState, extensions: &mut Extensions) {
    let Some(RequestState { runtime: inner, .. }) = extensions.get() else { return };
    let (one, two) = (&outer.runtime.settings, &inner.settings);
    let clash = one.session_cookie == two.session_cookie || one.path_to("") == two.path_to("");
    if clash && !Arc::ptr_eq(&outer.runtime, inner) {
        inner.is_misplaced("two OidcLayers are around one handler: create one, and add it (or a clone of it) once");
        extensions.remove::<CurrentUser>();
        extensions.remove::<RequestState>();
    }
}

/// Headers whose secrets `Debug` does not show.
fn shown(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [COOKIE, AUTHORIZATION] {
        if let Entry::Occupied(mut found) = headers.entry(name) {
            found.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
    headers
}

/// The page that sends a request, where it is the application's own: the way back for a script, and for what cannot be
/// repeated.
fn page(runtime: &Runtime, headers: &HeaderMap) -> Option<String> {
    let page = runtime.settings.destination(headers.get(REFERER)?.to_str().ok()?).ok()?;
    Some(page.as_str().to_owned())
}

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What decides how a request is served.
#[derive(Clone, Default)]
pub(crate) struct Head {
    /// Of a request with a session: tells its answer from those to others of the same session.
    pub(crate) number: u64,
    /// There is a session cookie, whatever it holds.
    pub(crate) session_cookie: bool,
    pub(crate) was_silent: bool,
    /// The cookies besides a session's; few requests have any.
    pub(crate) shown: Option<Arc<ShownCookies>>,
    /// A person's browser shows the answer: GET, HEAD or POST, `Sec-Fetch-Mode: navigate` where the browser says so, and an
    /// `Accept` that names HTML.
    pub(crate) shows: bool,
    /// A safe method, whose page can be come back to.
    pub(crate) is_safe: bool,
    /// RFC 6455 section 4.1. (Over HTTP/2 it is a CONNECT, which is not safe anyway.)
    pub(crate) opens_websocket: bool,
}

/// What the cookies of a request name besides a session.
pub(crate) struct ShownCookies {
    pub(crate) single_uses: Option<Arc<PendingSingleUses>>,
    visitor: Option<Visitor>,
}

impl Head {
    pub(crate) fn visitor(&self) -> Option<Visitor> {
        self.shown.as_ref()?.visitor
    }

    /// A person's browser goes to a page, and can be sent on.
    pub(crate) fn navigation(&self) -> bool {
        self.shows && self.is_safe
    }

    pub(crate) fn single_uses(&self) -> Option<&Arc<PendingSingleUses>> {
        self.shown.as_ref()?.single_uses.as_ref()
    }

    /// One pass: looking a header up by its name costs as much as passing by several. The second is the value of the
    /// session's cookie; all of ours are put into `own`, where they are wanted.
    pub(crate) fn read<'a>(
        method: &Method, headers: &'a HeaderMap, cookies: &CookiePolicy, mut own: Option<&mut AppCookies>,
    ) -> (Self, Option<&'a [u8]>) {
        let mut ours = KnownCookies::default();
        let (mut wants_html, mut navigates, mut upgrades) = (false, true, false);
        for (name, value) in headers {
            if *name == COOKIE {
                cookies.read(value, &mut ours, own.as_deref_mut());
            } else if *name == ACCEPT {
                let value = value.as_bytes();
                // Browsers name it first, which is quickly seen.
                wants_html |= value.starts_with(b"text/html") || memmem::find(value, b"text/html").is_some();
            } else if *name == SEC_FETCH_MODE {
                navigates &= value == "navigate";
            } else if *name == UPGRADE {
                upgrades |= value.as_bytes().eq_ignore_ascii_case(b"websocket");
            }
        }
        let head = Self {
            number: ours.session.map_or(0, |_| number()),
            session_cookie: ours.session.is_some(),
            was_silent: ours.silent,
            shown: (ours.visitor.is_some() || !ours.once.is_empty()).then(|| {
                Arc::new(ShownCookies {
                    single_uses: PendingSingleUses::read(&ours.once, headers, cookies),
                    visitor: ours.visitor.and_then(Visitor::from_cookie),
                })
            }),
            is_safe: is_safe(method),
            shows: wants_html && navigates && matches!(*method, Method::GET | Method::HEAD | Method::POST),
            opens_websocket: upgrades && *method == Method::GET && headers.contains_key(CONNECTION),
        };
        (head, ours.session)
    }
}

/// A number for a request, which no other has in this process. Each thread counts for itself: a counter of all would be
/// the one place where their requests wait for each other.
fn number() -> u64 {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NEXT: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) << 40);
    }
    NEXT.with(|next| next.replace(next.get() + 1))
}

/// Methods that nobody minds being forged.
fn is_safe(method: &Method) -> bool {
    // TRACE is safe too, and nothing that a browser sends.
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}
