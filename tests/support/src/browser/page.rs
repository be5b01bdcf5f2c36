//! What came back: an answer, the redirects before it, and how to read it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::Call;
use crate::html::{self, Form};

/// The last answer of a chain of redirects.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Every answer on the way, this one last.
    pub chain: Vec<Hop>,
    /// Whether it fills the tab.
    pub(super) shown: bool,
    /// Where it redirects to.
    pub(super) next: Option<Box<Call>>,
}

/// One answer of a chain.
#[derive(Clone, Debug)]
pub struct Hop {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
}

impl Hop {
    pub fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION)?.to_str().ok()
    }
}

impl Page {
    pub(super) fn new(call: Call, parts: http::response::Parts, body: Bytes) -> Self {
        let (url, shown) = (call.url.clone(), call.is_shown());
        let hop = Hop { url: url.clone(), status: parts.status, headers: parts.headers.clone() };
        let mut page =
            Self { url, status: parts.status, headers: parts.headers, body, chain: vec![hop], shown, next: None };
        if let (301 | 302 | 303 | 307 | 308, Some(location)) = (page.status.as_u16(), page.header("location")) {
            page.next = Some(Box::new(call.redirected(page.status.as_u16(), location, page.referrer_policy())));
        }
        page
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where an unfollowed redirect leads.
    pub fn location(&self) -> Option<&str> {
        self.header("location")
    }

    /// The URL without its origin.
    pub fn path_and_query(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Panics
    ///
    /// Where the body is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} {}: {error}: {}", self.status, self.url, self.text()))
    }

    /// The code of an error: in the problem document that a script gets, or at the end of the text of the page that a person
    /// sees.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn code(&self) -> String {
        if self.header("content-type") == Some("application/problem+json") {
            return self.json()["code"].as_str().unwrap_or_default().to_owned();
        }
        let text = self.text();
        let code = text.rsplit_once(" (").and_then(|(_, rest)| Some(rest.split_once(")</p>")?.0.to_owned()));
        code.unwrap_or_else(|| panic!("{} {}: no code: {text}", self.status, self.url))
    }

    pub fn forms(&self) -> Vec<Form> {
        html::forms(&self.text())
    }

    /// The only form of the page.
    ///
    /// # Panics
    ///
    /// Where there are more, or none.
    pub fn form(&self) -> Form {
        match <[Form; 1]>::try_from(self.forms()) {
            Ok([form]) => form,
            Err(forms) => panic!("{} forms on {} {}: {}", forms.len(), self.status, self.url, self.text()),
        }
    }

    /// The targets of the links, as written.
    pub fn links(&self) -> Vec<String> {
        html::links(&self.text())
    }

    /// The hops whose URL belongs to `origin`.
    pub fn hops_at(&self, origin: &str) -> Vec<&Hop> {
        self.chain.iter().filter(|hop| hop.url.origin().ascii_serialization() == origin).collect()
    }

    /// The last policy named that exists.
    pub(super) fn referrer_policy(&self) -> Option<String> {
        let header = self.headers.get(REFERRER_POLICY)?.to_str().ok()?;
        let mut policies = header.split(',').map(str::trim).map(str::to_ascii_lowercase);
        policies.rfind(|policy| !policy.is_empty())
    }

    /// The sources that the Content-Security-Policy allows for `directive`; `None`: all.
    pub(super) fn csp(&self, directive: &str) -> Option<CspSources> {
        let policy = self.headers.get(CONTENT_SECURITY_POLICY)?.to_str().ok()?;
        policy.split(';').find_map(|rule| {
            let mut words = rule.split_whitespace();
            words.next()?.eq_ignore_ascii_case(directive).then(|| CspSources(words.map(str::to_owned).collect()))
        })
    }

    /// The form that a script of this page submits by itself.
    pub(super) fn self_submitting(&self) -> Option<Form> {
        let is_html = self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        let text = if is_html { self.text() } else { return None };
        let scripts = html::scripts(&text);
        let (nonce, script) = scripts.iter().find(|(_, script)| script.to_ascii_lowercase().contains("submit("))?;
        if let Some(sources) = self.csp("script-src").or_else(|| self.csp("default-src")) {
            assert!(
                sources.allow_script(nonce, script),
                "Content-Security-Policy of {} stops {script:?}: {sources:?}",
                self.url
            );
        }
        Some(self.form())
    }
}

/// A source list of Content Security Policy, as far as the tests' pages use it.
#[derive(Clone, Debug)]
pub(super) struct CspSources(Vec<String>);

impl CspSources {
    pub(super) fn allow(&self, page: &Url, url: &Url) -> bool {
        self.0.iter().any(|source| match source.as_str() {
            "*" => true,
            "'self'" => page.origin() == url.origin(),
            scheme if scheme.ends_with(':') => scheme == format!("{}:", url.scheme()),
            source => Url::parse(source).is_ok_and(|source| {
                let path_fits = matches!(source.path(), "" | "/") || source.path() == url.path();
                source.origin() == url.origin() && path_fits
            }),
        })
    }

    fn allow_script(&self, nonce: &str, script: &str) -> bool {
        let hash = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script)));
        let nonce = format!("'nonce-{nonce}'");
        let named = |source: &String| (*source == nonce && nonce != "'nonce-'") || *source == hash;
        let strict = |source: &String| source.starts_with("'nonce-") || source.starts_with("'sha");
        let inline = self.0.iter().any(|source| source == "'unsafe-inline'") && !self.0.iter().any(strict);
        inline || self.0.iter().any(named)
    }
}
