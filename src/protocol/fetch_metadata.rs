//! The decision against forged requests: what a page of another site can begin or end with this browser's cookies.
//!
//! 1. `Sec-Fetch-Site` names the sender where the browser sends it (Fetch Metadata section 2.4). `same-origin` is a page of
//!    the application; `none` is the person, by the address bar or a bookmark.
//! 2. Otherwise `Origin` names it (RFC 6454 section 7). A trusted origin counts as the application's own. The origin of the
//!    public URL does only where the browser sends no `Sec-Fetch-Site`: a browser that says `cross-site` does not come
//!    from there.
//! 3. Without both headers the sender is unknown. Browsers send one of them with every unsafe request, so that an unknown
//!    sender counts as another site where a browser sent the request; other clients have no cookies to abuse.
//! 4. Safe requests reach the application. A WebSocket handshake is not safe: its page reads what comes.
//! 5. Another site cannot embed a login or a consent as a picture or a frame: it would fill the browser with cookies of
//!    logins that are never finished.
//! 6. What ends something (logout, disconnecting) and what connects an account for everybody is done by a form of the
//!    application. A link to it shows a page that asks first.
//! 7. A logout link acts at once where it has the session's logout token, which only a page of the application knows, and
//!    the browser does not prefetch it.

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Something of the application. `browser`: whether it shows a cookie that browsers alone have.
    Application { browser: bool },
    /// The login, or the consent for a connection.
    Login,
    /// The end of the session. `token`: whether the link has the session's logout token.
    Logout { token: bool },
    /// The end of a connection, or an account that is connected for everybody.
    Change,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Act,
    /// A page asks the person first.
    Ask,
    Refuse,
}

/// The page that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Own,
    Other,
    Unknown,
}

/// The origins whose pages may use this application's cookies.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// The public URL's.
    pub(crate) own: String,
    pub(crate) trusted: Vec<String>,
}

impl Origins {
    /// Decides about a request. `header` gives the value of a header by its name in lower case.
    pub(crate) fn decide<'a>(
        &self,
        target: Target,
        is_safe: bool,
        header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Decision {
        let act_if = |acts: bool| if acts { Decision::Act } else { Decision::Refuse };
        match (target, is_safe) {
            (Target::Application { .. }, true) => Decision::Act,
            (Target::Application { browser }, false) => act_if(match self.sender(header) {
                Sender::Own => true,
                Sender::Other => false,
                Sender::Unknown => !browser,
            }),
            (Target::Login, _) => {
                let embedded = header("sec-fetch-dest").is_some_and(|dest| dest != b"document");
                act_if(header("sec-fetch-site") != Some(b"cross-site") || !embedded)
            }
            (Target::Logout { token: true }, true) if !is_prefetch(&header) => Decision::Act,
            (Target::Logout { .. } | Target::Change, true) => Decision::Ask,
            (Target::Logout { .. } | Target::Change, false) => act_if(self.sender(header) == Sender::Own),
        }
    }

    fn sender<'a>(&self, header: impl Fn(&str) -> Option<&'a [u8]>) -> Sender {
        let site = header("sec-fetch-site");
        if matches!(site, Some(b"same-origin" | b"none")) {
            return Sender::Own;
        }
        let Some(origin) = header("origin") else {
            return if site.is_some() { Sender::Other } else { Sender::Unknown };
        };
        let own = site.is_none() && self.own.as_bytes() == origin;
        if own || self.trusted.iter().any(|trusted| trusted.as_bytes() == origin) {
            return Sender::Own;
        }
        Sender::Other
    }
}

fn is_prefetch<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
    ["sec-purpose", "purpose"]
        .into_iter()
        .filter_map(header)
        .any(|value| value.windows(b"prefetch".len()).any(|window| window.eq_ignore_ascii_case(b"prefetch")))
}

#[cfg(test)]
mod tests {
    use super::Decision::{Act, Ask, Refuse};
    use super::*;

    const OWN: &str = "https://app.test";
    const TRUSTED: &str = "https://www.test";

    fn decide(target: Target, is_safe: bool, headers: &[(&str, Option<&'static str>)]) -> Decision {
        let origins = Origins { own: OWN.to_owned(), trusted: vec![TRUSTED.to_owned()] };
        origins.decide(target, is_safe, |name| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.and_then(|(_, value)| value.map(str::as_bytes))
        })
    }

    /// Each cell of `Sec-Fetch-Site` × `Origin`: whether the sender is our own page (`+`), another (`-`) or unknown (`?`).
    #[test]
    fn fetch_metadata_names_the_sender_and_origin_where_there_is_none() {
        let origins = [
            None,
            Some(OWN),
            Some(TRUSTED),
            Some("https://app.test.evil.test"),
            Some("http://app.test"),
            Some("null"),
        ];
        for (site, cells) in [
            (None, "?++---"),
            (Some("same-origin"), "++++++"),
            (Some("none"), "++++++"),
            (Some("same-site"), "--+---"),
            (Some("cross-site"), "--+---"),
            (Some("anything"), "--+---"),
        ] {
            for (origin, cell) in origins.into_iter().zip(cells.chars()) {
                let headers = [("sec-fetch-site", site), ("origin", origin)];
                let of = |browser| decide(Target::Application { browser }, false, &headers);
                let expected = match cell {
                    '+' => (Act, Act),
                    '-' => (Refuse, Refuse),
                    _ => (Refuse, Act),
                };
                assert_eq!((of(true), of(false)), expected, "{site:?} {origin:?}");
                for target in
                    [Target::Logout { token: true }, Target::Logout { token: false }, Target::Change]
                {
                    let expected = if cell == '+' { Act } else { Refuse };
                    assert_eq!(decide(target, false, &headers), expected, "{target:?} {site:?} {origin:?}");
                }
            }
        }
    }

    /// Each cell of target × `Sec-Fetch-Site` × `Sec-Fetch-Dest` × purpose, for links.
    #[test]
    fn links_act_ask_or_are_refused() {
        for site in [None, Some("same-origin"), Some("none"), Some("same-site"), Some("cross-site")] {
            for dest in [None, Some("document"), Some("iframe"), Some("image"), Some("empty")] {
                for purpose in [None, Some("Prefetch"), Some("prefetch;prerender"), Some("something else")] {
                    for name in ["sec-purpose", "purpose"] {
                        let headers = [("sec-fetch-site", site), ("sec-fetch-dest", dest), (name, purpose)];
                        let of = |target| decide(target, true, &headers);
                        let seen = format!("{site:?} {dest:?} {name} {purpose:?}");
                        let embedded = !matches!(dest, None | Some("document"));
                        let login = if site == Some("cross-site") && embedded { Refuse } else { Act };
                        let fetched_early = purpose.is_some_and(|purpose| purpose != "something else");
                        let logout = if fetched_early { Ask } else { Act };
                        assert_eq!(of(Target::Application { browser: true }), Act, "{seen}");
                        assert_eq!(of(Target::Login), login, "{seen}");
                        assert_eq!(of(Target::Logout { token: true }), logout, "{seen}");
                        assert_eq!(of(Target::Logout { token: false }), Ask, "{seen}");
                        assert_eq!(of(Target::Change), Ask, "{seen}");
                    }
                }
            }
        }
    }
}
