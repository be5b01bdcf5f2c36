//! A browser's cookie jar by RFC 6265bis (draft 22), as Chrome 140 applies it.
//!
//! Stricter than Chrome in one point: a cookie is refused above 4096 bytes with its attributes counted,
//! because that is all that RFC 6265 section 6.1 promises of other browsers.

use std::fmt;

use url::{Host, Url};

pub const MAX_COOKIE: usize = 4096;
pub const MAX_PER_SITE: usize = 180;
/// What Chrome leaves of a site's cookies when there are more than [`MAX_PER_SITE`].
const KEPT_PER_SITE: usize = 150;
const MAX_AGE: i64 = 400 * 24 * 3600;
/// How long Chrome sends a cookie without `SameSite` with a cross-site POST navigation ("Lax + POST").
const LAX_POST: u64 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
    /// Not said: Lax, with Chrome's two minutes for POST.
    Default,
}

/// How a request relates to the site that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    SameSite,
    /// A top-level navigation from another site, method safe or not.
    CrossSiteNavigation {
        safe: bool,
    },
    CrossSite,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub domain: String,
    pub host_only: bool,
    pub path: String,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    /// Unix seconds; `None` until the browser is closed.
    pub expires: Option<u64>,
    created_at: u64,
    created: u64,
    used: u64,
}

/// A `Set-Cookie` that the browser did not take, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub url: String,
    pub header: String,
    pub reason: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct Jar {
    cookies: Vec<Cookie>,
    rejected: Vec<Rejected>,
    /// Counts what happens, for the order of creation and of use.
    events: u64,
}

impl Jar {
    /// Takes a `Set-Cookie` of the response from `url`, by sections 5.6 and 5.7.
    pub fn set(&mut self, url: &Url, header: &str, relation: Relation, now: u64) {
        self.expire(now);
        if let Err(reason) = self.try_set(url, header, relation, now) {
            self.rejected.push(Rejected { url: url.to_string(), header: header.to_owned(), reason });
        }
    }

    fn try_set(&mut self, url: &Url, header: &str, relation: Relation, now: u64) -> Result<(), &'static str> {
        if header.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            return Err("control character");
        }
        if header.len() > MAX_COOKIE {
            return Err("larger than 4096 bytes");
        }
        let host = url.host_str().ok_or("no host")?;
        let (pair, attributes) = header.split_once(';').unwrap_or((header, ""));
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        self.events += 1;
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            domain: host.to_owned(),
            host_only: true,
            path: default_path(url),
            secure: false,
            http_only: false,
            same_site: SameSite::Default,
            expires: None,
            created_at: now,
            created: self.events,
            used: self.events,
        };
        if cookie.name.is_empty() && cookie.value.is_empty() {
            return Err("empty");
        }
        let (mut max_age, mut path_said) = (None, None);
        for attribute in attributes.split(';') {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "domain" => match value.strip_prefix('.').unwrap_or(value) {
                    "" => (cookie.domain, cookie.host_only) = (host.to_owned(), true),
                    domain => (cookie.domain, cookie.host_only) = (domain.to_ascii_lowercase(), false),
                },
                "path" => path_said = value.starts_with('/').then(|| value.to_owned()),
                "secure" => cookie.secure = true,
                "httponly" => cookie.http_only = true,
                "samesite" => cookie.same_site = same_site(value),
                "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
                "expires" => cookie.expires = cookie_date(value).or(cookie.expires),
                _ => {}
            }
        }
        match max_age {
            Some(..=0) => cookie.expires = Some(0),
            Some(age) => cookie.expires = Some(now + age.min(MAX_AGE).unsigned_abs()),
            None => cookie.expires = cookie.expires.map(|at| at.min(now + MAX_AGE.unsigned_abs())),
        }
        self.check_host(&mut cookie, url, host)?;
        check_prefix(&cookie, path_said.as_deref())?;
        if let Some(path) = path_said {
            cookie.path = path;
        }
        if cookie.same_site == SameSite::None && !cookie.secure {
            return Err("SameSite=None without Secure");
        }
        if cookie.same_site != SameSite::None && relation == Relation::CrossSite {
            return Err("SameSite cookie in a cross-site response");
        }
        self.store(cookie, now);
        Ok(())
    }

    fn check_host(&self, cookie: &mut Cookie, url: &Url, host: &str) -> Result<(), &'static str> {
        if !cookie.host_only {
            if cookie.domain == host && (is_ip(url) || !host.contains('.')) {
                cookie.host_only = true;
            } else if !cookie.domain.contains('.') {
                return Err("Domain is a public suffix");
            } else if is_ip(url) || !domain_matches(host, &cookie.domain) {
                return Err("Domain is another host's");
            }
        }
        if cookie.secure && !is_trustworthy(url) {
            return Err("Secure over plain http");
        }
        let hides = |old: &Cookie| {
            old.secure
                && old.name == cookie.name
                && (domain_matches(&old.domain, &cookie.domain) || domain_matches(&cookie.domain, &old.domain))
                && path_matches(&cookie.path, &old.path)
        };
        if !cookie.secure && !is_trustworthy(url) && self.cookies.iter().any(hides) {
            return Err("would hide a Secure cookie from plain http");
        }
        Ok(())
    }

    fn store(&mut self, mut cookie: Cookie, now: u64) {
        let key = |c: &Cookie| (c.name.clone(), c.domain.clone(), c.host_only, c.path.clone());
        if let Some(at) = self.cookies.iter().position(|old| key(old) == key(&cookie)) {
            let old = self.cookies.remove(at);
            (cookie.created, cookie.created_at) = (old.created, old.created_at);
        }
        let site = registrable(&cookie.domain).to_owned();
        self.cookies.push(cookie);
        self.expire(now);
        let mut of_site: Vec<_> =
            self.cookies.iter().filter(|c| registrable(&c.domain) == site).map(|c| c.used).collect();
        if of_site.len() > MAX_PER_SITE {
            of_site.sort_unstable();
            let oldest_kept = of_site[of_site.len() - KEPT_PER_SITE];
            self.cookies.retain(|c| registrable(&c.domain) != site || c.used >= oldest_kept);
        }
    }

    /// The cookies that a request to `url` carries, in the order of section 5.8.3.
    pub fn matching(&mut self, url: &Url, relation: Relation, now: u64) -> Vec<Cookie> {
        self.expire(now);
        self.events += 1;
        let host = url.host_str().unwrap_or_default();
        let mut found = Vec::new();
        for cookie in &mut self.cookies {
            let host_fits = if cookie.host_only { host == cookie.domain } else { domain_matches(host, &cookie.domain) };
            let secure_fits = !cookie.secure || is_trustworthy(url);
            if host_fits && secure_fits && path_matches(url.path(), &cookie.path) && cookie.goes_with(relation, now) {
                cookie.used = self.events;
                found.push(cookie.clone());
            }
        }
        found.sort_by(|a, b| b.path.len().cmp(&a.path.len()).then(a.created.cmp(&b.created)));
        found
    }

    /// The `Cookie` header of a request to `url`.
    pub fn header(&mut self, url: &Url, relation: Relation, now: u64) -> Option<String> {
        let pairs: Vec<_> = self.matching(url, relation, now).iter().map(Cookie::to_string).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub fn all(&self) -> &[Cookie] {
        &self.cookies
    }

    pub fn all_mut(&mut self) -> &mut Vec<Cookie> {
        &mut self.cookies
    }

    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// What closing the browser does: cookies without a lifetime are gone.
    pub fn end_session(&mut self) {
        self.cookies.retain(|cookie| cookie.expires.is_some());
    }

    fn expire(&mut self, now: u64) {
        self.cookies.retain(|cookie| cookie.expires.is_none_or(|at| at > now));
    }
}

impl Cookie {
    fn goes_with(&self, relation: Relation, now: u64) -> bool {
        match (self.same_site, relation) {
            (SameSite::None, _) | (_, Relation::SameSite) => true,
            (SameSite::Strict, _) | (_, Relation::CrossSite) => false,
            (_, Relation::CrossSiteNavigation { safe: true }) => true,
            (SameSite::Lax, _) => false,
            (SameSite::Default, _) => now < self.created_at + LAX_POST,
        }
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => f.write_str(&self.value),
            name => write!(f, "{name}={}", self.value),
        }
    }
}

/// Section 4.1.3: what the prefixes promise. Chrome compares them without regard to case.
fn check_prefix(cookie: &Cookie, path_said: Option<&str>) -> Result<(), &'static str> {
    let begins = |text: &str, prefix: &str| text.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix));
    if cookie.name.is_empty() && (begins(&cookie.value, "__Host-") || begins(&cookie.value, "__Secure-")) {
        return Err("prefix without a name");
    }
    if begins(&cookie.name, "__Secure-") && !cookie.secure {
        return Err("__Secure- without Secure");
    }
    if begins(&cookie.name, "__Host-") && !(cookie.secure && cookie.host_only && path_said == Some("/")) {
        return Err("__Host- needs Secure, Path=/ and no Domain");
    }
    Ok(())
}

fn same_site(value: &str) -> SameSite {
    match value.to_ascii_lowercase().as_str() {
        "strict" => SameSite::Strict,
        "lax" => SameSite::Lax,
        "none" => SameSite::None,
        _ => SameSite::Default,
    }
}

/// Section 5.1.4.
fn default_path(url: &Url) -> String {
    match url.path().rsplit_once('/') {
        None | Some(("", _)) => "/".to_owned(),
        Some((directory, _)) => directory.to_owned(),
    }
}

fn path_matches(path: &str, cookie_path: &str) -> bool {
    path.strip_prefix(cookie_path)
        .is_some_and(|rest| rest.is_empty() || cookie_path.ends_with('/') || rest.starts_with('/'))
}

fn domain_matches(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn is_ip(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)))
}

/// Where Chrome takes and sends `Secure` cookies: https, and plain http to the machine itself.
pub fn is_trustworthy(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    matches!(url.scheme(), "https" | "wss") || loopback
}

/// The site of `url`: scheme and registrable domain. Ports do not count.
pub fn site(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let scheme = url.scheme().replace("ws", "http");
    format!("{scheme}://{}", if is_ip(url) { host } else { registrable(host) })
}

/// The last two labels: the tests' names have one-label public suffixes.
fn registrable(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    let numeric = host.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if numeric || host.starts_with('[') {
        return host;
    }
    dots.nth(1).map_or(host, |at| &host[at + 1..])
}

/// Section 5.1.1, less lenient in the year: Unix seconds, zero for what lies before 1970.
fn cookie_date(text: &str) -> Option<u64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let separator = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    for token in text.split(separator).filter(|token| !token.is_empty()) {
        let lower = token.to_ascii_lowercase();
        let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        if let (None, [h, m, s]) = (time, &token.split(':').collect::<Vec<_>>()[..]) {
            time = Some(h.parse::<i64>().ok()? * 3600 + m.parse::<i64>().ok()? * 60 + s.parse::<i64>().ok()?);
        } else if let (None, 1..=2, Ok(number)) = (day, token.len(), token.parse::<i64>()) {
            day = Some(number);
        } else if let (None, Some(at)) = (month, months.iter().position(|name| lower.starts_with(name))) {
            month = Some(i64::try_from(at).ok()? + 1);
        } else if let (None, Ok(number)) = (year, token.parse::<i64>()) {
            year = Some(if token.len() == 2 { number + if number < 70 { 2000 } else { 1900 } } else { number });
        }
    }
    let (year, month, day) = (year?, month?, day?);
    // Days since the epoch in the proleptic Gregorian calendar, years beginning in March.
    let years = if month <= 2 { year - 1 } else { year };
    let days_before = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        365 * years + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) + days_before - 719_468;
    u64::try_from(days * 86_400 + time?).ok().or(Some(0))
}
