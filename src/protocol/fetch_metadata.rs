//! The decision against forged requests: what a page of another site can begin or end with this browser's cookies.
//!
//! For the application's own paths:
//!
//! 1. Safe requests reach the application. A WebSocket handshake is not safe: its page reads what comes.
//! 2. `Sec-Fetch-Site` names the sender where the browser sends it (Fetch Metadata section 2.4). `same-origin` is a page of
//!    the application; `none` is the person, by the address bar or a bookmark.
//! 3. Otherwise `Origin` names it (RFC 6454 section 7). A trusted origin counts as the application's own. The origin of the
//!    public URL does only where the browser sends no `Sec-Fetch-Site`: a browser that says `cross-site` does not come
//!    from there.
//! 4. Without both headers the sender is unknown. Browsers send one of them with every unsafe request, so that an unknown
//!    sender counts as another site where a browser sent the request; other clients have no cookies to abuse.
//!
//! For the endpoints, where the first rule that fits decides:
//!
//! 5. `Sec-Purpose: prefetch` or `prerender`: ignored. Nobody is there yet, and nothing begins or ends.
//! 6. `Sec-Fetch-Mode` says that it is no navigation: ignored, if it is a link, the callback, or a login that another site
//!    begins. Some prefetchers call `fetch()`, and pictures navigate nowhere. A script of the application may send a POST.
//!    A script may ask who is signed in.
//! 7. Who is signed in is told to every sender but another site: nothing begins or ends by it. The callback acts: its state
//!    is the proof. The front-channel logout acts in an `iframe`, where the provider puts it, and is refused elsewhere.
//!    A login that another site begins acts, by POST too: it leads to the login, where the rules for that decide.
//! 8. A proof acts: an address with a token of this session, or of this visitor, was made here. `Sec-Fetch-Site` is of the
//!    whole chain of redirects, and `cross-site` for the rest of the chain after a login.
//! 9. A link is refused in a frame or as a picture (`Sec-Fetch-Dest`), unless it is a login or a consent in a frame of the
//!    application. `empty` counts as a document: service workers pass navigations on so.
//! 10. The application and the person (rules 2 and 3) act. But a link that connects an account for everybody always shows
//!     what that means.
//! 11. Another site, or an unknown sender, is refused with a POST.
//! 12. Another site's link to a login or a consent acts where nobody is there who could lose anything by it: nobody is
//!     signed in (login), nor a visitor (consent). Otherwise, and at every other endpoint, a page asks.
//! 13. An unknown sender's link acts at the login and at a consent for what the connection always has. Where somebody is
//!     there, a page asks before a consent for more; at every other endpoint it always does.

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Something of the application. `browser`: whether it shows a cookie that browsers alone have.
    Application {
        browser: bool,
    },
    Login,
    /// A login that another site begins. It leads to the login, and decides nothing else.
    Initiate,
    /// The session endpoint, which tells scripts which user is signed in.
    Session,
    /// The consent for a connection. `extends`: for more scopes than always, or for a token that is handed to one page.
    Connect {
        extends: bool,
    },
    /// The consent for an account that is connected for everybody.
    ConnectAccount,
    Disconnect,
    Logout,
    Callback,
    FrontchannelLogout,
}

/// The facts of a request that its headers do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) is_safe: bool,
    /// Somebody is signed in, or is a visitor, who could lose something.
    pub(crate) present: bool,
    /// The address has a token of that session or visitor.
    pub(crate) proof: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Act,
    /// A page asks the person first.
    Ask,
    /// Nothing happens: 204, and no cookie.
    Ignore,
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
        &self, target: Target, facts: Facts, header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Decision {
        if let Target::Application { browser } = target {
            let may_act = || matches!((self.sender(header), browser), (Sender::Own, _) | (Sender::Unknown, false));
            return if facts.is_safe || may_act() { Decision::Act } else { Decision::Refuse };
        }
        let is_navigation = header("sec-fetch-mode").is_none_or(|mode| mode == b"navigate");
        let is_link =
            target != Target::Session && (facts.is_safe || matches!(target, Target::Callback | Target::Initiate));
        if is_speculative(&header) || (is_link && !is_navigation) {
            return Decision::Ignore;
        }
        let dest = header("sec-fetch-dest");
        let sender = self.sender(&header);
        let framed = facts.is_safe && dest.is_some_and(|dest| dest != b"document" && dest != b"empty");
        match target {
            Target::Session if sender == Sender::Other => Decision::Refuse,
            Target::Callback | Target::Session => Decision::Act,
            Target::Initiate if !framed || sender == Sender::Own => Decision::Act,
            Target::FrontchannelLogout if dest.is_none_or(|dest| dest == b"iframe") => Decision::Act,
            Target::FrontchannelLogout => Decision::Refuse,
            _ if facts.proof => Decision::Act,
            Target::Login | Target::Connect { .. } if framed && sender == Sender::Own => Decision::Act,
            _ if framed => Decision::Refuse,
            _ => decide_by(sender, target, facts),
        }
    }

    /// Why the sender of a request counts as another site, for who develops it.
    pub(crate) fn reason<'a>(&self, header: impl Fn(&str) -> Option<&'a [u8]>) -> String {
        let shown = |name| match header(name) {
            Some(value) => format!("{:?}", String::from_utf8_lossy(&value[..value.len().min(200)])),
            None => "missing".to_owned(),
        };
        let (origin, site, own) = (shown("origin"), shown("sec-fetch-site"), &self.own);
        format!(
            "its Origin is {origin} and its Sec-Fetch-Site is {site}, expected the Origin {own:?} or one of trusted_origins, or \
             the Sec-Fetch-Site same-origin"
        )
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
        let is_trusted = self.trusted.iter().any(|trusted| trusted.as_bytes() == origin);
        if own || is_trusted { Sender::Own } else { Sender::Other }
    }
}

/// Rules 10 to 13.
fn decide_by(sender: Sender, target: Target, facts: Facts) -> Decision {
    match (sender, target) {
        (Sender::Own, Target::ConnectAccount) if facts.is_safe => Decision::Ask,
        (Sender::Own, _) => Decision::Act,
        _ if !facts.is_safe => Decision::Refuse,
        (_, Target::Login | Target::Connect { .. }) if !facts.present => Decision::Act,
        (Sender::Unknown, Target::Login | Target::Connect { extends: false }) => Decision::Act,
        _ => Decision::Ask,
    }
}

fn is_speculative<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
    let is = |value: &[u8], word: &[u8]| value.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    let mut purposes = ["sec-purpose", "purpose"].into_iter().filter_map(header);
    purposes.any(|purpose| is(purpose, b"prefetch") || is(purpose, b"prerender"))
}

#[cfg(test)]
mod tests {
    use super::Decision::{Act, Ask, Ignore, Refuse};
    use super::*;

    const OWN: &str = "https://app.test";
    const TRUSTED: &str = "https://www.test";
    const SITES: [Option<&str>; 5] = [None, Some("same-origin"), Some("none"), Some("same-site"), Some("cross-site")];
    const ENDPOINTS: [Target; 9] = [
        Target::Login,
        Target::Initiate,
        Target::Connect { extends: false },
        Target::Connect { extends: true },
        Target::ConnectAccount,
        Target::Disconnect,
        Target::Logout,
        Target::Callback,
        Target::FrontchannelLogout,
    ];

    fn decide(target: Target, facts: Facts, headers: &[(&str, Option<&'static str>)]) -> Decision {
        let origins = Origins { own: OWN.to_owned(), trusted: vec![TRUSTED.to_owned()] };
        origins.decide(target, facts, |name| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.and_then(|(_, value)| value.map(str::as_bytes))
        })
    }

    /// Each cell of `Sec-Fetch-Site` × `Origin`: whether the sender is our own page (`+`), another (`-`) or unknown (`?`).
    #[test]
    fn fetch_metadata_names_the_sender_and_origin_where_there_is_none() {
        let origins =
            [None, Some(OWN), Some(TRUSTED), Some("https://app.test.evil.test"), Some("http://app.test"), Some("null")];
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
                let of = |browser| decide(Target::Application { browser }, Facts::default(), &headers);
                let expected = match cell {
                    '+' => (Act, Act),
                    '-' => (Refuse, Refuse),
                    _ => (Refuse, Act),
                };
                assert_eq!((of(true), of(false)), expected, "{site:?} {origin:?}");
                for target in [Target::Logout, Target::Disconnect, Target::ConnectAccount] {
                    let expected = if cell == '+' { Act } else { Refuse };
                    let facts = Facts { present: true, ..Facts::default() };
                    assert_eq!(decide(target, facts, &headers), expected, "{target:?} {site:?} {origin:?}");
                }
            }
        }
    }

    /// Safe requests reach the application, whoever sends them.
    #[test]
    fn safe_requests_reach_the_application() {
        for site in SITES {
            for mode in [None, Some("navigate"), Some("cors"), Some("no-cors")] {
                let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
                let facts = Facts { is_safe: true, ..Facts::default() };
                assert_eq!(decide(Target::Application { browser: true }, facts, &headers), Act, "{headers:?}");
            }
        }
    }

    /// The navigations of a top-level page, as a table: endpoint, then one letter for each of `SITES` where nobody is
    /// there, where somebody is, and with a proof: (A)ct, as(K), (R)efuse.
    const NAVIGATIONS: [(Target, [&str; 3]); 9] = [
        (Target::Login, ["AAAAA", "AAAKK", "AAAAA"]),
        (Target::Initiate, ["AAAAA", "AAAAA", "AAAAA"]),
        (Target::Connect { extends: false }, ["AAAAA", "AAAKK", "AAAAA"]),
        (Target::Connect { extends: true }, ["AAAAA", "KAAKK", "AAAAA"]),
        (Target::ConnectAccount, ["KKKKK", "KKKKK", "AAAAA"]),
        (Target::Disconnect, ["KAAKK", "KAAKK", "AAAAA"]),
        (Target::Logout, ["KAAKK", "KAAKK", "AAAAA"]),
        (Target::Callback, ["AAAAA", "AAAAA", "AAAAA"]),
        (Target::FrontchannelLogout, ["RRRRR", "RRRRR", "RRRRR"]),
    ];

    #[test]
    fn each_cell_of_the_navigations() {
        assert_eq!(NAVIGATIONS.map(|(target, _)| target), ENDPOINTS);
        for (target, rows) in NAVIGATIONS {
            for (present, proof, cells) in [(false, false, rows[0]), (true, false, rows[1]), (true, true, rows[2])] {
                for (site, cell) in SITES.into_iter().zip(cells.chars()) {
                    let facts = Facts { is_safe: true, present, proof };
                    let expected = match cell {
                        'A' => Act,
                        'K' => Ask,
                        _ => Refuse,
                    };
                    for mode in [None, Some("navigate")] {
                        for dest in [Some("document"), Some("empty")] {
                            let headers =
                                [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
                            assert_eq!(decide(target, facts, &headers), expected, "{target:?} {facts:?} {headers:?}");
                        }
                    }
                    // Without these headers the front channel cannot be told from a page.
                    if target != Target::FrontchannelLogout {
                        let headers = [("sec-fetch-site", site)];
                        assert_eq!(decide(target, facts, &headers), expected, "{target:?} {facts:?} {headers:?}");
                    }
                }
            }
        }
        assert_eq!(decide(Target::FrontchannelLogout, Facts { is_safe: true, ..Facts::default() }, &[]), Act);
    }

    /// Frames and pictures, by endpoint × site × dest × proof.
    #[test]
    fn each_cell_of_what_is_embedded() {
        for target in ENDPOINTS {
            for site in SITES {
                for dest in ["iframe", "frame", "image", "embed", "object"] {
                    for proof in [false, true] {
                        for present in [false, true] {
                            let own = matches!(site, Some("same-origin" | "none"));
                            let expected = match target {
                                Target::Callback => Act,
                                Target::FrontchannelLogout if dest == "iframe" => Act,
                                Target::FrontchannelLogout => Refuse,
                                Target::Login | Target::Initiate | Target::Connect { .. } if own => Act,
                                _ if proof => Act,
                                _ => Refuse,
                            };
                            let facts = Facts { is_safe: true, present, proof };
                            let headers = [
                                ("sec-fetch-site", site),
                                ("sec-fetch-mode", Some("navigate")),
                                ("sec-fetch-dest", Some(dest)),
                            ];
                            assert_eq!(decide(target, facts, &headers), expected, "{target:?} {facts:?} {headers:?}");
                        }
                    }
                }
            }
        }
    }

    /// What is no navigation is ignored, but for a POST to what is not the callback; what is fetched early is ignored always.
    #[test]
    fn each_cell_of_what_no_person_sees() {
        for target in ENDPOINTS {
            for site in SITES {
                for is_safe in [false, true] {
                    for proof in [false, true] {
                        let facts = Facts { is_safe, present: true, proof };
                        for mode in ["cors", "no-cors", "same-origin", "websocket"] {
                            for dest in ["empty", "image", "script", "document"] {
                                let headers = [
                                    ("sec-fetch-site", site),
                                    ("sec-fetch-mode", Some(mode)),
                                    ("sec-fetch-dest", Some(dest)),
                                ];
                                let ignored = is_safe || matches!(target, Target::Callback | Target::Initiate);
                                let decision = decide(target, facts, &headers);
                                assert_eq!(decision == Ignore, ignored, "{target:?} {facts:?} {headers:?}");
                            }
                        }
                        for (name, purpose, early) in [
                            ("sec-purpose", "prefetch", true),
                            ("sec-purpose", "Prefetch;prerender", true),
                            ("sec-purpose", "prerender", true),
                            ("sec-purpose", "prefetch;anonymous-client-ip", true),
                            ("purpose", "prefetch", true),
                            ("sec-purpose", "something else", false),
                        ] {
                            let headers =
                                [("sec-fetch-site", site), ("sec-fetch-mode", Some("navigate")), (name, Some(purpose))];
                            let decision = decide(target, facts, &headers);
                            assert_eq!(decision == Ignore, early, "{target:?} {facts:?} {headers:?}");
                        }
                    }
                }
            }
        }
    }

    /// The session, by site × mode × dest: what another site's page could read is refused.
    #[test]
    fn each_cell_of_the_session() {
        let facts = Facts { is_safe: true, ..Facts::default() };
        for site in SITES {
            for mode in [None, Some("cors"), Some("same-origin"), Some("no-cors"), Some("navigate")] {
                for dest in [Some("empty"), Some("script"), Some("document"), Some("iframe")] {
                    let expected = match site {
                        Some("same-site" | "cross-site") => Refuse,
                        _ => Act,
                    };
                    let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
                    assert_eq!(decide(Target::Session, facts, &headers), expected, "{headers:?}");
                }
            }
        }
        for (origin, expected) in [(OWN, Act), (TRUSTED, Act), ("https://evil.test", Refuse), ("null", Refuse)] {
            assert_eq!(decide(Target::Session, facts, &[("origin", Some(origin))]), expected, "{origin}");
        }
        let trusted = [("sec-fetch-site", Some("same-site")), ("origin", Some(TRUSTED))];
        assert_eq!(decide(Target::Session, facts, &trusted), Act);
        let early = [("sec-fetch-site", Some("same-origin")), ("sec-purpose", Some("prefetch"))];
        assert_eq!(decide(Target::Session, facts, &early), Ignore);
    }

    /// A form or a script of the application acts; another site's is refused, unless it has a proof.
    #[test]
    fn each_cell_of_the_posts() {
        for target in ENDPOINTS {
            for site in SITES {
                for (mode, dest) in [("navigate", "document"), ("navigate", "iframe"), ("cors", "empty")] {
                    for proof in [false, true] {
                        let own = matches!(site, Some("same-origin" | "none"));
                        let expected = match target {
                            Target::Callback | Target::Initiate if mode == "cors" => Ignore,
                            Target::Callback | Target::Initiate => Act,
                            Target::FrontchannelLogout if dest == "iframe" => Act,
                            Target::FrontchannelLogout => Refuse,
                            _ if own || proof => Act,
                            _ => Refuse,
                        };
                        let facts = Facts { is_safe: false, present: true, proof };
                        let headers =
                            [("sec-fetch-site", site), ("sec-fetch-mode", Some(mode)), ("sec-fetch-dest", Some(dest))];
                        assert_eq!(decide(target, facts, &headers), expected, "{target:?} {facts:?} {headers:?}");
                    }
                }
            }
        }
    }
}
