//! What the head of a request says that decides how it is served.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{ACCEPT, CONNECTION, COOKIE, UPGRADE};
use http::{HeaderMap, HeaderName, Method};
use memchr::memmem;

use crate::cookie::{AppCookies, CookiePolicy, KnownCookies};
use crate::sessions::Visitor;
use crate::tokens::PendingSingleUses;

pub(super) static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

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
    /// A person's browser goes to a page, and can be sent on: GET or HEAD, `Sec-Fetch-Mode: navigate` where the
    /// browser says so, and an `Accept` that names HTML.
    pub(crate) navigation: bool,
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

    pub(crate) fn single_uses(&self) -> Option<&Arc<PendingSingleUses>> {
        self.shown.as_ref()?.single_uses.as_ref()
    }

    /// One pass: looking a header up by its name costs as much as passing by several. The second is the value of the
    /// session's cookie; all of ours are put into `own`, where they are wanted.
    pub(crate) fn read<'a>(
        method: &Method,
        headers: &'a HeaderMap,
        cookies: &CookiePolicy,
        mut own: Option<&mut AppCookies>,
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
            navigation: wants_html && navigates && matches!(*method, Method::GET | Method::HEAD),
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
pub(super) fn is_safe(method: &Method) -> bool {
    // TRACE is safe too, and nothing that a browser sends.
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}
