//! Where choices come from, and how bytes are spoilt.

/// Choices, from a seed.
#[derive(Clone)]
pub(crate) struct Dice {
    state: u64,
}

/// Texts that mean something to one reader or another.
const WORDS: &[&str] = &[
    "",
    "a",
    "0",
    "-1",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "%00",
    "%0d%0aset-cookie:x=y",
    "%",
    "%zz",
    "\r\n",
    "\0",
    "//evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "https://evil.test/",
    "https://app.test@evil.test/",
    "https://app.test.evil.test/",
    "/\t/evil.test",
    "/%09/evil.test",
    "/.//evil.test",
    "/..//evil.test",
    "javascript:alert(1)",
    "<xss>",
    "\"><xss>",
    "'<xss>",
    "..",
    "/../",
    "%2e%2e/",
    "?",
    "#",
    "&",
    "=",
    ";",
    ",",
    " ",
    "\u{202e}",
    "\u{fffd}",
    "é",
    "state",
    "code",
    "iss",
    "error",
    "return_to",
    "prompt",
    "none",
    "login",
    "max_age",
    "token",
    "provider",
    "https://op.test",
    "https://op2.test",
    "https://app.test",
    "app",
    "alg",
    "HS256",
    "RS256",
    "ES256",
    "EdDSA",
    "kid",
    "jwk",
    "jku",
    "crit",
    "b64",
    "sub",
    "a1",
    "b1",
    "aud",
    "azp",
    "exp",
    "nbf",
    "iat",
    "nonce",
    "sid",
    "events",
    "keys",
    "kty",
    "oct",
    "RSA",
    "n",
    "e",
    "AQAB",
    "9999999999999999999999",
    "1e400",
    "-0",
    "0.1",
    "\\u0000",
    "\\ud800",
    "Bearer",
    "DPoP",
    "error=\"",
    "insufficient_user_authentication",
    "__Host-tower-oidc-session",
    "__Host-tower-oidc-login",
    "eyJhbGciOiJub25lIn0",
    ".",
];

impl Dice {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn word(&mut self) -> &'static str {
        self.pick(WORDS)
    }

    /// The bytes with a few mistakes, seldom with none: what is honest must go on.
    pub(crate) fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let mistakes = if self.once_in(8) { 0 } else { 1 + self.below(4) };
        for _ in 0..mistakes {
            let (from, length) = (self.below(bytes.len() + 1), self.below(16));
            let to = (from + length).min(bytes.len());
            match self.below(10) {
                0 if from < bytes.len() => bytes[from] ^= 1 << self.below(8),
                1 if from < bytes.len() => bytes[from] = self.below(256) as u8,
                2 => drop(bytes.drain(from..to)),
                3 => bytes.truncate(from),
                4 => {
                    let part = bytes[from..to].to_vec();
                    let at = self.below(bytes.len() + 1);
                    bytes.splice(at..at, part);
                }
                5 => {
                    let count = self.pick(&[2, 40, 300, 5_000, 70_000]);
                    let part: Vec<u8> = bytes[from..to].iter().copied().cycle().take(count).collect();
                    bytes.splice(from..from, part);
                }
                6 => drop(bytes.splice(from..to, self.word().bytes())),
                7 => drop(bytes.splice(from..from, self.word().bytes())),
                8 => self.value(&mut bytes, from),
                _ => drop(bytes.splice(from..from, [self.below(256) as u8])),
            }
        }
        bytes
    }

    /// Replaces what stands between two quotes or commas: a value of JSON, mostly.
    fn value(&mut self, bytes: &mut Vec<u8>, from: usize) {
        let ends = |byte: &u8| b"\",:&=;. ".contains(byte);
        let start = bytes[..from].iter().rposition(ends).map_or(0, |at| at + 1);
        let end = bytes[from..].iter().position(ends).map_or(bytes.len(), |at| from + at);
        bytes.splice(start..end, self.word().bytes());
    }

    /// The same for text.
    pub(crate) fn spoil_text(&mut self, text: &str) -> String {
        String::from_utf8_lossy(&self.spoil(text.as_bytes())).into_owned()
    }
}
