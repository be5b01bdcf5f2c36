//! The family of a browser, for people who look through their sessions.

/// Marks in a `User-Agent` header, each with the browser that it stands for: the first that is found counts, because browsers
/// also name those that they are like.
const BROWSERS: &str = "Edg=Edge OPR/=Opera SamsungBrowser/=Samsung Firefox/=Firefox FxiOS/=Firefox CriOS/=Chrome \
                        Chrome/=Chrome Safari/=Safari";
/// Marks of operating systems, each with the name of the system.
const SYSTEMS: &str =
    "iPhone=iPhone iPad=iPad Android=Android Windows=Windows CrOS=ChromeOS Macintosh=macOS Linux=Linux";

/// Browser and operating system, such as "Firefox on Linux"; empty where the header names none of these. Nothing else of the
/// header is kept.
pub(crate) fn family(user_agent: &str) -> String {
    let found = [BROWSERS, SYSTEMS].map(|known| {
        let mut known = known.split(' ').filter_map(|known| known.split_once('='));
        known.find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| name)
    });
    found.into_iter().flatten().collect::<Vec<_>>().join(" on ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_by_what_they_send() {
        for (header, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 \
                 Safari/537.36 Edg/140.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 \
                 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 CriOS/140.0.0.0 Mobile/15E148 Safari/604.1",
                "Chrome on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 \
                 Chrome/130.0.0.0 Mobile Safari/537.36",
                "Samsung on Android",
            ),
            ("my-cli/1.0 (Linux)", "Linux"),
            ("curl/8.5.0", ""),
            ("", ""),
        ] {
            assert_eq!(family(header), expected, "{header}");
        }
    }

    #[test]
    fn no_family_takes_more_than_32_bytes() {
        for browser in BROWSERS.split(['=', ' ']) {
            for system in SYSTEMS.split(['=', ' ']) {
                let family = family(&format!("{browser} {system}"));
                assert!(family.len() <= 32, "{family}");
            }
        }
    }
}
