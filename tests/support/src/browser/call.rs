//! A request as a browser makes it: who began it, what for, and the headers that say so (Fetch, Fetch
//! Metadata, Referrer Policy).

use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_TYPE, HeaderName, ORIGIN, REFERER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request};
use url::{Position, Url};

use super::page::{CspSources, Page};
use super::parse;
use crate::cookies::{Relation, is_trustworthy, site};
use crate::html::Form;

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
const DEFAULT_POLICY: &str = "strict-origin-when-cross-origin";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Shown in the tab.
    Navigation,
    /// Loaded as if for the tab.
    Prefetch,
    Frame,
    Fetch,
    Image,
    WebSocket,
}

/// A request to be made, with the memory of the redirects that led to it.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    kind: Kind,
    /// The page that began it; `None`: the person, through the address bar.
    from: Option<Url>,
    headers: HeaderMap,
    body: Bytes,
    referrer_policy: String,
    /// The Content-Security-Policy of the page whose form this is.
    form_action: Option<CspSources>,
    is_form: bool,
    /// Whether a person's hand moved.
    asked: bool,
    /// The URLs that redirected here.
    before: Vec<Url>,
}

impl Call {
    pub(super) fn new(kind: Kind, method: Method, url: &str, from: Option<Url>) -> Self {
        Self {
            method,
            url: parse(url),
            kind,
            from,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            referrer_policy: DEFAULT_POLICY.to_owned(),
            form_action: None,
            is_form: false,
            asked: kind == Kind::Navigation,
            before: Vec::new(),
        }
    }

    pub(super) fn typed(url: &str) -> Self {
        Self::new(Kind::Navigation, Method::GET, url, None)
    }

    pub(super) fn link(from: &Url, href: &str) -> Self {
        let url = from.join(href).unwrap_or_else(|error| panic!("{href} on {from}: {error}"));
        Self::new(Kind::Navigation, Method::GET, url.as_str(), Some(from.clone()))
    }

    pub(super) fn form(from: &Url, form: &Form) -> Self {
        let mut call = Self { is_form: true, ..Self::link(from, &form.action) };
        if form.method != "POST" {
            call.url.set_query(Some(&form.fields.encode()));
            return call;
        }
        call.method = Method::POST;
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        call.body = form.fields.encode().into();
        call
    }

    pub(super) fn carrying(mut self, headers: HeaderMap, body: Bytes) -> Self {
        (self.headers, self.body) = (headers, body);
        self
    }

    /// Under the policies of the page that holds the link or form.
    pub(super) fn policy(mut self, page: &Page) -> Self {
        if let Some(policy) = page.referrer_policy() {
            self.referrer_policy = policy;
        }
        self.form_action = self.is_form.then(|| page.csp("form-action")).flatten();
        self.check_form_action();
        self
    }

    /// Begun by a script, not by a person.
    pub(super) fn unasked(mut self) -> Self {
        self.asked = false;
        self
    }

    pub(super) fn is_shown(&self) -> bool {
        self.kind == Kind::Navigation
    }

    /// The request after a redirect to `location` (Fetch, HTTP-redirect fetch).
    pub(super) fn redirected(&self, status: u16, location: &str, policy: Option<String>) -> Self {
        let mut next = self.clone();
        next.url = self.url.join(location).unwrap_or_else(|error| panic!("Location {location:?}: {error}"));
        next.before.push(self.url.clone());
        if let Some(policy) = policy {
            next.referrer_policy = policy;
        }
        let becomes_get = match status {
            301 | 302 => self.method == Method::POST,
            303 => self.method != Method::GET && self.method != Method::HEAD,
            _ => false,
        };
        if becomes_get {
            next.method = Method::GET;
            next.body = Bytes::new();
            next.headers.remove(CONTENT_TYPE);
        }
        next.check_form_action();
        next
    }

    /// Chrome checks `form-action` at the form's target and at every redirect after it.
    fn check_form_action(&self) {
        if let (Some(allowed), Some(from)) = (&self.form_action, &self.from) {
            let url = &self.url;
            assert!(allowed.allow(from, url), "Content-Security-Policy of {from}: form-action refuses {url}");
        }
    }

    /// What `SameSite` sees.
    pub(super) fn relation(&self, redirects_count: bool) -> Relation {
        let Some(from) = &self.from else { return Relation::SameSite };
        let crossed = redirects_count && self.before.iter().any(|url| site(url) != site(&self.url));
        match self.kind {
            _ if site(from) == site(&self.url) && !crossed => Relation::SameSite,
            Kind::Navigation | Kind::Prefetch => Relation::CrossSiteNavigation { safe: self.method.is_safe() },
            _ => Relation::CrossSite,
        }
    }

    pub(super) fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url[..Position::AfterQuery].parse().expect("a URL is a URI");
        *request.headers_mut() = self.headers.clone();
        let mut put = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).expect("a valid header");
            request.headers_mut().entry(HeaderName::from_static(name)).or_insert(value);
        };
        put(USER_AGENT.as_str(), "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0 Safari/537.36");
        let (accept, mode, destination) = match self.kind {
            Kind::Navigation | Kind::Prefetch => (HTML, "navigate", "document"),
            Kind::Frame => (HTML, "navigate", "iframe"),
            Kind::Fetch => ("*/*", "cors", "empty"),
            Kind::Image => ("image/avif,image/webp,image/*,*/*;q=0.8", "no-cors", "image"),
            Kind::WebSocket => ("", "websocket", "empty"),
        };
        match self.kind {
            Kind::WebSocket => {
                put(CONNECTION.as_str(), "Upgrade");
                put(UPGRADE.as_str(), "websocket");
                put(SEC_WEBSOCKET_VERSION.as_str(), "13");
                put(SEC_WEBSOCKET_KEY.as_str(), "dGhlIHNhbXBsZSBub25jZQ==");
            }
            _ => put(ACCEPT.as_str(), accept),
        }
        if mode == "navigate" {
            put("upgrade-insecure-requests", "1");
        }
        if is_trustworthy(&self.url) {
            put("sec-fetch-site", self.fetch_site());
            put("sec-fetch-mode", mode);
            put("sec-fetch-dest", destination);
            if self.asked {
                put("sec-fetch-user", "?1");
            }
            if self.kind == Kind::Prefetch {
                put("sec-purpose", "prefetch");
            }
        }
        if let Some(origin) = self.origin_header() {
            put(ORIGIN.as_str(), &origin);
        }
        if let Some(referrer) = self.referrer() {
            put(REFERER.as_str(), &referrer);
        }
        request
    }

    /// Fetch Metadata, section 2.3: every URL on the way counts.
    fn fetch_site(&self) -> &'static str {
        let Some(from) = &self.from else { return "none" };
        let way = || self.before.iter().chain([&self.url]);
        if way().all(|url| url.origin() == from.origin()) {
            "same-origin"
        } else if way().all(|url| site(url) == site(from)) {
            "same-site"
        } else {
            "cross-site"
        }
    }

    /// Fetch, "append a request `Origin` header".
    fn origin_header(&self) -> Option<String> {
        let from = self.from.as_ref()?;
        let cross_origin = from.origin() != self.url.origin();
        let origin = if self.is_tainted(from) { "null".to_owned() } else { from.origin().ascii_serialization() };
        if self.kind == Kind::WebSocket || (self.kind == Kind::Fetch && cross_origin) {
            return Some(origin);
        }
        if matches!(self.method, Method::GET | Method::HEAD) {
            return None;
        }
        let downgrade = from.scheme() == "https" && self.url.scheme() != "https";
        let withheld = self.kind != Kind::Fetch
            && match self.referrer_policy.as_str() {
                "no-referrer" => true,
                "same-origin" => cross_origin,
                "no-referrer-when-downgrade" | "strict-origin" | DEFAULT_POLICY => downgrade,
                _ => false,
            };
        Some(if withheld { "null".to_owned() } else { origin })
    }

    /// Fetch, "redirect-taint": a redirect led from an origin that is not the page's to yet another.
    fn is_tainted(&self, from: &Url) -> bool {
        let after = self.before.iter().skip(1).chain([&self.url]);
        self.before.iter().zip(after).any(|(a, b)| a.origin() != b.origin() && a.origin() != from.origin())
    }

    /// Referrer Policy, section 8.3.
    fn referrer(&self) -> Option<String> {
        let mut from = self.from.clone().filter(|from| matches!(from.scheme(), "http" | "https"))?;
        from.set_fragment(None);
        let same_origin = from.origin() == self.url.origin();
        let downgrade = is_trustworthy(&from) && !is_trustworthy(&self.url);
        let origin = format!("{}/", from.origin().ascii_serialization());
        let url = from.to_string();
        match self.referrer_policy.as_str() {
            "no-referrer" => None,
            "same-origin" => same_origin.then_some(url),
            "origin" => Some(origin),
            "strict-origin" => (!downgrade).then_some(origin),
            "origin-when-cross-origin" => Some(if same_origin { url } else { origin }),
            "no-referrer-when-downgrade" => (!downgrade).then_some(url),
            "unsafe-url" => Some(url),
            _ if same_origin => Some(url),
            _ => (!downgrade).then_some(origin),
        }
    }
}
