//! A small browser without a screen, over real sockets: one cookie jar, redirects and forms.
//!
//! It keeps the rules that logins depend on: cookies go by host whatever the port, `SameSite` and the
//! prefixes `__Host-` and `__Secure-` count, `Secure` holds on loopback. It runs no scripts, but submits a
//! page's form when a script of that page would.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use hyper::http::request;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_cookies::cookie::{Cookie, SameSite};
use url::Url;

/// The type of a submitted form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A browser: its cookies, where it is, and where it has been.
#[derive(Clone, Default)]
pub struct Client {
    jar: HashMap<String, Vec<Cookie<'static>>>,
    here: Option<Url>,
    /// Every URL it navigated to, redirects included.
    pub trail: Vec<Url>,
    /// A path that it is led to and does not go to: the page is the redirect then.
    pub halt_at: Option<&'static str>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Client {
    pub fn new() -> Self {
        Self::default()
    }

    /// What a script of the page at this URL gets from `fetch`: no redirect is followed.
    pub async fn get(&mut self, url: &str) -> Page {
        self.try_get(url).await.unwrap_or_else(|error| panic!("GET {url}: {error}"))
    }

    /// [`get`](Self::get) where nobody may be listening.
    pub async fn try_get(&mut self, url: &str) -> io::Result<Page> {
        let url = Url::parse(url).expect("a URL");
        self.exchange(Method::GET, url, "*/*", None, None).await
    }

    /// A URL typed into the address bar, redirects followed.
    pub async fn visit(&mut self, url: &str) -> Page {
        self.navigate(Method::GET, Url::parse(url).expect("a URL"), None, None).await
    }

    /// [`visit`](Self::visit) where processes come and go.
    pub async fn try_visit(&mut self, url: &str) -> io::Result<Page> {
        self.try_navigate(Method::GET, Url::parse(url).expect("a URL"), None, None).await
    }

    /// A click on a link of the page it is at.
    pub async fn click(&mut self, url: Url) -> Page {
        self.navigate(Method::GET, url, self.here.clone(), None).await
    }

    /// Submits the page's first form with these fields filled in.
    pub async fn submit(&mut self, page: &Page, filled: &[(&str, &str)]) -> Page {
        let (method, mut action, mut fields) = page.form();
        fields.retain(|(name, _)| filled.iter().all(|(other, _)| name != other));
        fields.extend(filled.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let from = Some(page.url.clone());
        if method == Method::GET {
            action.set_query(Some(&body));
            return self.navigate(method, action, from, None).await;
        }
        self.navigate(method, action, from, Some(body)).await
    }

    /// The cookies it would send to a host, as names and values.
    pub fn cookies(&self, host: &str) -> impl Iterator<Item = (&str, &str)> {
        self.jar.get(host).into_iter().flatten().map(|cookie| cookie.name_value())
    }

    /// Changes what it keeps of a cookie.
    pub fn tamper(&mut self, host: &str, name: &str, value: &str) {
        let kept = self.jar.get_mut(host).into_iter().flatten().find(|cookie| cookie.name() == name);
        kept.unwrap_or_else(|| panic!("no cookie {name}")).set_value(value.to_owned());
    }

    /// Forgets a host's cookies.
    pub fn forget(&mut self, host: &str) {
        self.jar.remove(host);
    }

    async fn navigate(&mut self, method: Method, url: Url, from: Option<Url>, body: Option<String>) -> Page {
        let asked = format!("{method} {url}");
        let page = self.try_navigate(method, url, from, body).await;
        page.unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    async fn try_navigate(
        &mut self, method: Method, url: Url, from: Option<Url>, body: Option<String>,
    ) -> io::Result<Page> {
        let (mut method, mut url, mut from, mut body) = (method, url, from, body);
        for _ in 0..20 {
            self.trail.push(url.clone());
            let page =
                self.exchange(method.clone(), url.clone(), "text/html,*/*;q=0.8", from.as_ref(), body.take()).await?;
            self.here = Some(page.url.clone());
            if page.status.is_redirection() {
                // 307 and 308 would repeat a POST: no party to a login may use them (RFC 9700 section 4.12).
                assert!(matches!(page.status.as_u16(), 302 | 303), "redirected by {}", page.status);
                let location = page.headers[LOCATION].to_str().expect("a printable Location");
                (method, url) = (Method::GET, url.join(location).expect("a Location is a URL"));
                if self.halt_at == Some(url.path()) {
                    return Ok(page);
                }
            } else if page.body.contains(".submit()") {
                let (form_method, action, fields) = page.form();
                let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                (method, url, from, body) = (form_method, action, Some(page.url), Some(encoded));
            } else {
                return Ok(page);
            }
        }
        panic!("it never arrives: {:#?}", self.trail.iter().map(Url::as_str).collect::<Vec<_>>());
    }

    async fn exchange(
        &mut self, method: Method, url: Url, accept: &str, from: Option<&Url>, body: Option<String>,
    ) -> io::Result<Page> {
        let host = url.host_str().expect("a host").to_owned();
        let mut request = Request::builder().method(&method).header(ACCEPT, accept);
        let cross_site = from.is_some_and(|from| from.host_str() != Some(&host));
        let cookies = self.cookies_for(&host, url.path(), cross_site, &method);
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies);
        }
        if let Some(from) = from.filter(|_| method != Method::GET) {
            request = request.header(ORIGIN, from.origin().ascii_serialization());
            request = request.header(CONTENT_TYPE, FORM);
        }
        let page = send(url, request, body.unwrap_or_default()).await?;
        self.receive(&page);
        Ok(page)
    }

    /// Takes the cookies of an answer: of one of its own, or of one that a clone of it got and that arrives here.
    pub fn receive(&mut self, page: &Page) {
        let host = page.url.host_str().expect("a host");
        for cookie in page.headers.get_all(SET_COOKIE) {
            let cookie = Cookie::parse(cookie.to_str().expect("a printable cookie").to_owned()).expect("a cookie");
            self.keep(host, &page.url, cookie);
        }
    }

    fn cookies_for(&self, host: &str, path: &str, cross_site: bool, method: &Method) -> String {
        let goes = |cookie: &&Cookie<'_>| {
            let scope = cookie.path().unwrap_or("/");
            let below = path
                .strip_prefix(scope)
                .is_some_and(|rest| rest.is_empty() || scope.ends_with('/') || rest.starts_with('/'));
            let site = match cookie.same_site() {
                _ if !cross_site => true,
                Some(SameSite::None) => true,
                Some(SameSite::Strict) => false,
                Some(SameSite::Lax) | None => *method == Method::GET,
            };
            below && site
        };
        let cookies = self.jar.get(host).into_iter().flatten().filter(goes);
        cookies.map(|cookie| cookie.stripped().to_string()).collect::<Vec<_>>().join("; ")
    }

    /// RFC 6265bis section 5.7, as far as it concerns one host.
    fn keep(&mut self, host: &str, url: &Url, mut cookie: Cookie<'static>) {
        let secure = cookie.secure() == Some(true);
        let name = cookie.name();
        let refused = cookie.domain().is_some_and(|domain| domain != host)
            || name.starts_with("__Secure-") && !secure
            || name.starts_with("__Host-") && !(secure && cookie.path() == Some("/") && cookie.domain().is_none())
            || cookie.same_site() == Some(SameSite::None) && !secure;
        assert!(!refused, "a browser refuses this cookie: {cookie}");
        if cookie.path().is_none() {
            let (folder, _) = url.path().rsplit_once('/').unwrap_or_default();
            cookie.set_path(if folder.is_empty() { "/".to_owned() } else { folder.to_owned() });
        }
        let jar = self.jar.entry(host.to_owned()).or_default();
        jar.retain(|kept| (kept.name(), kept.path()) != (cookie.name(), cookie.path()));
        let gone = cookie.max_age().is_some_and(|age| !age.is_positive())
            || cookie.expires_datetime().is_some_and(|at| at.unix_timestamp() <= 86_400);
        if !gone {
            jar.push(cookie);
        }
    }
}

/// Sends one request to a URL, over a connection of its own.
pub async fn send(url: Url, request: request::Builder, body: String) -> io::Result<Page> {
    let (host, port) = (url.host_str().expect("a host"), url.port_or_known_default().expect("a port"));
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = request.uri(target).header(HOST, format!("{host}:{port}")).header(CONNECTION, "close");
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let (parts, body) = timeout(Duration::from_secs(30), async {
        let stream = TcpStream::connect((host, port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        io::Result::Ok((parts, body.collect().await.map_err(io::Error::other)?.to_bytes()))
    })
    .await??;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Page { url, status: parts.status, headers: parts.headers, body })
}

impl Page {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Where the first link that contains `part` leads.
    pub fn link(&self, part: &str) -> Url {
        let hrefs = tags(&self.body, "a").filter_map(|tag| attribute(tag, "href"));
        let href = hrefs.into_iter().find(|href| href.contains(part));
        let href = href.unwrap_or_else(|| panic!("no link to {part}: {}", self.body));
        self.url.join(&href).expect("an href is a URL")
    }

    /// The first form: method, action, and the fields that it sends as it stands.
    fn form(&self) -> (Method, Url, Vec<(String, String)>) {
        let Some((_, html)) = self.body.split_once("<form") else { panic!("no form: {self:?}") };
        let html = html.split("</form>").next().unwrap_or_default();
        let form = html.split('>').next().unwrap_or_default();
        let post = attribute(form, "method").is_some_and(|method| method.eq_ignore_ascii_case("post"));
        let action = self.url.join(&attribute(form, "action").unwrap_or_default()).expect("an action is a URL");
        let sent = |input: &&str| match attribute(input, "type").as_deref() {
            Some("checkbox" | "radio") => input.contains(" checked"),
            Some("button" | "image" | "reset" | "submit") => false,
            _ => true,
        };
        let fields = tags(html, "input")
            .filter(sent)
            .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)))
            .collect();
        (if post { Method::POST } else { Method::GET }, action, fields)
    }
}

/// The insides of every `<name …>`.
fn tags<'a>(html: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    html.split('<').skip(1).filter_map(move |tag| {
        let inside = tag.split('>').next()?.strip_prefix(name)?;
        inside.starts_with(char::is_whitespace).then_some(inside)
    })
}

/// The value of an attribute, unescaped.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!(" {name}="))?.1;
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split_whitespace().next()?,
    };
    const ENTITIES: [(&str, &str); 7] = [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    Some(ENTITIES.iter().fold(value.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
}
