//! The `application/x-www-form-urlencoded` lists of OAuth: order and duplicates kept.

use std::fmt;

/// A query or form body, as it was sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params(pub Vec<(String, String)>);

impl Params {
    pub fn parse(encoded: impl AsRef<[u8]>) -> Self {
        Self(form_urlencoded::parse(encoded.as_ref()).into_owned().collect())
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Replaces every `name` by one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.0.iter().position(|(key, _)| key == name) {
            Some(at) => {
                self.0[at].1 = value.into();
                let mut index = 0;
                self.0.retain(|(key, _)| {
                    index += 1;
                    key != name || index - 1 == at
                });
            }
            None => self.add(name, value),
        }
    }

    /// Appends, even where `name` is there already.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// Sends the first value of `name` twice.
    pub fn duplicate(&mut self, name: &str) {
        if let Some(value) = self.get(name).map(str::to_owned) {
            self.add(name, value);
        }
    }

    pub fn encode(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// `url` with these parameters appended to its query.
    pub fn append_to(&self, url: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{}", self.encode())
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
