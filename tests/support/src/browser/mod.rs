//! A person's browser: it keeps cookies, follows redirects, and says of its requests what Chrome says of
//! them.
//!
//! It runs no scripts; [`Browser::settle`] stands for the one that submits a form by itself. It makes no CORS
//! pre-flights and shows the test every answer: what matters here is what reaches the server.

mod call;
mod page;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use url::Url;

pub use call::Call;
use call::Kind;
pub use page::{Hop, Page};

use super::clock::{Seconds, TestClock};
use super::cookies::{Cookie, Jar, Rejected};
use super::html::Form;
use super::net::{BoxError, Caller, Net, lock, origin_of};

const MAX_REDIRECTS: usize = 20;
/// nginx's default buffers: `proxy_buffer_size` and `large_client_header_buffers`.
const MAX_RESPONSE_HEADERS: usize = 4 * 1024;
const MAX_COOKIE_HEADER: usize = 8 * 1024;

/// One tab of a browser. Clones are the same tab; [`Browser::new_tab`] opens another over the same cookies.
#[derive(Clone)]
pub struct Browser {
    net: Net,
    now: Seconds,
    shared: Arc<Shared>,
    page: Arc<Mutex<Option<Page>>>,
}

#[derive(Default)]
struct Shared {
    jar: Mutex<Jar>,
    strict: Mutex<Vec<String>>,
    redirects_count: Mutex<bool>,
}

impl Browser {
    pub fn new(net: &Net, clock: &TestClock) -> Self {
        Self::with_clock(net, clock.seconds_fn())
    }

    pub fn with_clock(net: &Net, now: Seconds) -> Self {
        Self { net: net.clone(), now, shared: Arc::default(), page: Arc::default() }
    }

    /// Checks every exchange with `origin` from now on: response headers below 4 KiB, cookies below 8 KiB.
    #[must_use]
    pub fn strict_for(self, origin: &str) -> Self {
        lock(&self.shared.strict).push(origin.trim_end_matches('/').to_owned());
        self
    }

    /// Treats a navigation whose redirects crossed a site as cross-site, as drafts of RFC 6265bis did. Chrome
    /// does not: it looks at who began and at where the request goes.
    #[must_use]
    pub fn redirects_count_for_same_site(self) -> Self {
        *lock(&self.shared.redirects_count) = true;
        self
    }

    /// Another tab: the same cookies, an empty page.
    pub fn new_tab(&self) -> Self {
        Self { page: Arc::default(), ..self.clone() }
    }

    /// The page in this tab.
    ///
    /// # Panics
    ///
    /// Where nothing was loaded yet.
    pub fn page(&self) -> Page {
        lock(&self.page).clone().expect("no page was loaded in this tab")
    }

    /// Types `url` into the address bar.
    pub async fn navigate(&self, url: &str) -> Page {
        self.try_navigate(url).await.unwrap_or_else(|error| panic!("navigating to {url}: {error}"))
    }

    /// The same; an error where no answer came.
    pub async fn try_navigate(&self, url: &str) -> Result<Page, BoxError> {
        self.run(Call::typed(url)).await
    }

    /// Types `url` into the address bar and stops at the first answer, be it a redirect. See
    /// [`Browser::follow`].
    pub async fn step(&self, url: &str) -> Page {
        self.load(Call::typed(url)).await.unwrap_or_else(|error| panic!("stepping to {url}: {error}"))
    }

    /// Goes on from a page that [`Browser::step`] or this returned, by one redirect.
    pub async fn follow(&self, page: &Page) -> Page {
        let call = page.next.clone().unwrap_or_else(|| panic!("{} is no redirect: {}", page.url, page.status));
        self.load(*call).await.unwrap_or_else(|error| panic!("following: {error}"))
    }

    /// Clicks a link of the current page.
    pub async fn click(&self, href: &str) -> Page {
        let page = self.page();
        self.click_on(&page, href).await
    }

    /// Clicks a link that stands on `page`.
    pub async fn click_on(&self, page: &Page, href: &str) -> Page {
        self.must(Call::link(&page.url, href).policy(page)).await
    }

    /// Clicks a link on a page of somebody's, for instance `https://evil.test/`.
    pub async fn click_from(&self, from: &str, href: &str) -> Page {
        self.must(Call::link(&parse(from), href)).await
    }

    /// Submits a form of the current page.
    ///
    /// # Panics
    ///
    /// Where the page's Content-Security-Policy forbids the target or, as in Chrome, a redirect after it.
    pub async fn submit(&self, form: &Form) -> Page {
        let page = self.page();
        self.must(Call::form(&page.url, form).policy(&page)).await
    }

    /// Submits a form that stands on a page of somebody's, for instance `https://evil.test/`.
    pub async fn submit_from(&self, from: &str, form: &Form) -> Page {
        self.must(Call::form(&parse(from), form)).await
    }

    /// Runs the scripts that submit the only form of a page, until there is none.
    ///
    /// # Panics
    ///
    /// Where the page's Content-Security-Policy keeps the script from running.
    pub async fn settle(&self, mut page: Page) -> Page {
        while let Some(form) = page.self_submitting() {
            page = self.must(Call::form(&page.url, &form).policy(&page).unasked()).await;
        }
        page
    }

    /// Types `url` and lets self-submitting forms run: a whole login at a provider that asks nothing.
    pub async fn visit(&self, url: &str) -> Page {
        let page = self.navigate(url).await;
        self.settle(page).await
    }

    /// `fetch(url, {method, body, credentials: "include"})` in a script of a page of `from`, redirects
    /// followed.
    pub async fn fetch(&self, method: Method, url: &str, body: &str, from: &str) -> Page {
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=UTF-8"));
        }
        self.fetch_with(method, url, headers, body, from).await
    }

    /// The same with headers of the script's own.
    pub async fn fetch_with(&self, method: Method, url: &str, headers: HeaderMap, body: &str, from: &str) -> Page {
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.must(Call::new(Kind::Fetch, method, url, Some(parse(from))).carrying(headers, body)).await
    }

    /// `<img src=url>` on a page of `from`.
    pub async fn image(&self, url: &str, from: &str) -> Page {
        self.must(Call::new(Kind::Image, Method::GET, url, Some(parse(from)))).await
    }

    /// `<iframe src=url>` on a page of `from`.
    pub async fn iframe(&self, url: &str, from: &str) -> Page {
        self.must(Call::new(Kind::Frame, Method::GET, url, Some(parse(from)))).await
    }

    /// Speculation rules on the current page (or the address bar) load `url` in advance.
    pub async fn prefetch(&self, url: &str) -> Page {
        let from = lock(&self.page).as_ref().map(|page| page.url.clone());
        self.must(Call::new(Kind::Prefetch, Method::GET, url, from)).await
    }

    /// `new WebSocket(url)` in a script of a page of `from`; `url` begins with https or http here.
    pub async fn websocket(&self, url: &str, from: &str) -> Page {
        self.must(Call::new(Kind::WebSocket, Method::GET, url, Some(parse(from)))).await
    }

    /// Sends exactly this, without the jar: `curl`, or an attacker's own client.
    pub async fn raw(&self, request: Request<Bytes>) -> Response<Bytes> {
        let response = self.net.call(Caller::Browser, request).await;
        response.unwrap_or_else(|error| panic!("a raw request: {error}"))
    }

    /// Sends exactly this with the jar's cookies added, and keeps what the answer sets.
    pub async fn raw_with_cookies(&self, mut request: Request<Bytes>) -> Response<Bytes> {
        use super::cookies::Relation::SameSite;
        let url = parse(&request.uri().to_string());
        if let Some(cookies) = lock(&self.shared.jar).header(&url, SameSite, (self.now)()) {
            request.headers_mut().append(COOKIE, HeaderValue::from_str(&cookies).expect("a valid header"));
        }
        let response = self.raw(request).await;
        self.keep_cookies(&url, response.headers(), SameSite);
        response
    }

    /// The cookies that a navigation typed into the address bar would carry to `url`.
    pub fn cookies_for(&self, url: &str) -> Vec<Cookie> {
        lock(&self.shared.jar).matching(&parse(url), super::cookies::Relation::SameSite, (self.now)())
    }

    /// The cookie of this name, at whatever host.
    pub fn cookie(&self, name: &str) -> Option<Cookie> {
        self.cookies().into_iter().find(|cookie| cookie.name == name)
    }

    pub fn cookies(&self) -> Vec<Cookie> {
        lock(&self.shared.jar).all().to_vec()
    }

    /// Each `Set-Cookie` that the rules did not let in.
    pub fn rejected_cookies(&self) -> Vec<Rejected> {
        lock(&self.shared.jar).rejected().to_vec()
    }

    /// Takes `header` as a `Set-Cookie` of `url`.
    pub fn set_cookie(&self, url: &str, header: &str) {
        self.with_jar(|jar| jar.set(&parse(url), header, super::cookies::Relation::SameSite, (self.now)()));
    }

    /// Overwrites the value of each cookie of this name.
    pub fn tamper(&self, name: &str, edit: impl Fn(&str) -> String) {
        let mut jar = lock(&self.shared.jar);
        for cookie in jar.all_mut().iter_mut().filter(|cookie| cookie.name == name) {
            cookie.value = edit(&cookie.value);
        }
    }

    pub fn with_jar<T>(&self, use_it: impl FnOnce(&mut Jar) -> T) -> T {
        use_it(&mut lock(&self.shared.jar))
    }

    /// A copy of all cookies as they are now: a thief's, or the past to return to.
    pub fn clone_jar(&self) -> Jar {
        lock(&self.shared.jar).clone()
    }

    pub fn replace_jar(&self, jar: Jar) {
        *lock(&self.shared.jar) = jar;
    }

    async fn must(&self, call: Call) -> Page {
        let what = format!("{} {}", call.method, call.url);
        self.run(call).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Follows redirects to the end.
    async fn run(&self, call: Call) -> Result<Page, BoxError> {
        let mut page = self.load(call).await?;
        let mut chain = std::mem::take(&mut page.chain);
        while let Some(next) = page.next.take() {
            if chain.len() > MAX_REDIRECTS {
                return Err(format!("more than {MAX_REDIRECTS} redirects, the last to {}", next.url).into());
            }
            page = self.load(*next).await?;
            chain.append(&mut page.chain);
        }
        page.chain = chain;
        if page.shown {
            *lock(&self.page) = Some(page.clone());
        }
        Ok(page)
    }

    /// One request and its answer.
    async fn load(&self, call: Call) -> Result<Page, BoxError> {
        let relation = call.relation(*lock(&self.shared.redirects_count));
        let mut request = call.request();
        let origin = origin_of(request.uri()).unwrap_or_default();
        let strict = lock(&self.shared.strict).contains(&origin);
        if let Some(cookies) = lock(&self.shared.jar).header(&call.url, relation, (self.now)()) {
            let size = cookies.len();
            assert!(!strict || size < MAX_COOKIE_HEADER, "{size} bytes of cookies sent to {}: {cookies}", call.url);
            request.headers_mut().insert(COOKIE, HeaderValue::from_str(&cookies)?);
        }
        let (parts, body) = self.net.call(Caller::Browser, request).await?.into_parts();
        let size = header_size(&parts);
        assert!(
            !strict || size < MAX_RESPONSE_HEADERS,
            "{size} bytes of response headers from {}: {:?}",
            call.url,
            parts.headers
        );
        self.keep_cookies(&call.url, &parts.headers, relation);
        let page = Page::new(call, parts, body);
        if page.shown && page.next.is_none() {
            *lock(&self.page) = Some(page.clone());
        }
        Ok(page)
    }

    fn keep_cookies(&self, url: &Url, headers: &HeaderMap, relation: super::cookies::Relation) {
        let mut jar = lock(&self.shared.jar);
        for header in headers.get_all(SET_COOKIE) {
            jar.set(url, &String::from_utf8_lossy(header.as_bytes()), relation, (self.now)());
        }
    }
}

fn header_size(parts: &http::response::Parts) -> usize {
    let status_line = "HTTP/1.1 200 \r\n".len() + parts.status.canonical_reason().map_or(0, str::len);
    let lines = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    status_line + lines.sum::<usize>() + "\r\n".len()
}

/// A URL that a test wrote.
pub(super) fn parse(url: &str) -> Url {
    Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}
