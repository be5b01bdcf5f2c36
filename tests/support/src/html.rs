//! As much of HTML as a test needs to use a page: its forms and links.

use std::collections::BTreeMap;

use super::params::Params;

/// A form as a person finds it, to be filled in and submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub id: String,
    /// As written; empty means the page itself.
    pub action: String,
    /// `GET` or `POST`.
    pub method: String,
    /// Named inputs with their values, buttons left out. Unchecked boxes are in `unchecked`.
    pub fields: Params,
    pub unchecked: Params,
    pub buttons: Vec<Button>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Button {
    pub id: String,
    pub name: String,
    pub value: String,
    pub label: String,
}

impl Form {
    /// A form of an attacker's own page.
    pub fn post(action: &str, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().copied().collect();
        Self { action: action.to_owned(), method: "POST".to_owned(), fields, ..Self::default() }
    }

    /// Types `value` into the field `name`.
    ///
    /// # Panics
    ///
    /// Where the form has no such field.
    #[must_use]
    pub fn fill(mut self, name: &str, value: &str) -> Self {
        assert!(self.fields.has(name), "the form has no field {name:?}: {self:?}");
        self.fields.set(name, value);
        self
    }

    /// Ticks the box `name`.
    #[must_use]
    pub fn check(mut self, name: &str) -> Self {
        let value = self.unchecked.get(name).unwrap_or_else(|| panic!("no unchecked box {name:?}")).to_owned();
        self.unchecked.remove(name);
        self.fields.add(name, value);
        self
    }

    /// Presses the button with this id, name or label.
    #[must_use]
    pub fn press(mut self, which: &str) -> Self {
        let named = |button: &&Button| [&button.id, &button.name, &button.label].iter().any(|text| *text == which);
        let button = self.buttons.iter().find(named);
        let button = button.unwrap_or_else(|| panic!("no button {which:?} in {:?}", self.buttons)).clone();
        if !button.name.is_empty() {
            self.fields.add(&button.name, button.value);
        }
        self
    }
}

/// The forms of a page, in its order.
pub fn forms(html: &str) -> Vec<Form> {
    let (mut forms, mut open) = (Vec::new(), None::<Form>);
    for tag in tags(html) {
        match (tag.name.as_str(), &mut open) {
            ("form", _) => {
                let method = if tag.get("method").eq_ignore_ascii_case("post") { "POST" } else { "GET" }.to_owned();
                open = Some(Form { id: tag.get("id"), action: tag.get("action"), method, ..Form::default() });
            }
            ("/form", _) => forms.extend(open.take()),
            ("button", Some(form)) => form.buttons.push(tag.button(tag.text.clone())),
            ("textarea", Some(form)) => form.fields.add(&tag.get("name"), tag.text.clone()),
            ("input", Some(form)) => add_input(form, &tag),
            _ => {}
        }
    }
    forms.extend(open);
    forms
}

fn add_input(form: &mut Form, tag: &Tag) {
    let (name, value) = (tag.get("name"), tag.get("value"));
    match tag.get("type").to_ascii_lowercase().as_str() {
        "submit" | "image" | "button" => form.buttons.push(tag.button(value)),
        _ if name.is_empty() => {}
        "checkbox" | "radio" => {
            let value = if tag.attributes.contains_key("value") { value } else { "on".to_owned() };
            let list = if tag.attributes.contains_key("checked") { &mut form.fields } else { &mut form.unchecked };
            list.add(&name, value);
        }
        _ => form.fields.add(&name, value),
    }
}

/// The targets of a page's links, as written, in its order.
pub fn links(html: &str) -> Vec<String> {
    let is_link = |tag: &Tag| tag.name == "a" && tag.attributes.contains_key("href");
    tags(html).iter().filter(|tag| is_link(tag)).map(|tag| tag.get("href")).collect()
}

/// The scripts of a page: their `nonce` and their text.
pub fn scripts(html: &str) -> Vec<(String, String)> {
    tags(html).iter().filter(|tag| tag.name == "script").map(|tag| (tag.get("nonce"), tag.text.clone())).collect()
}

#[derive(Debug, Default)]
struct Tag {
    /// Lower case, with a leading `/` where it closes.
    name: String,
    attributes: BTreeMap<String, String>,
    /// What follows up to the next tag; for scripts, up to their end.
    text: String,
}

impl Tag {
    fn get(&self, name: &str) -> String {
        self.attributes.get(name).cloned().unwrap_or_default()
    }

    fn button(&self, label: String) -> Button {
        let label = label.trim().to_owned();
        Button { id: self.get("id"), name: self.get("name"), value: self.get("value"), label }
    }
}

fn tags(html: &str) -> Vec<Tag> {
    let (mut tags, mut rest) = (Vec::new(), html);
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') {
            continue;
        }
        let (mut tag, after) = tag(rest);
        let raw = matches!(tag.name.as_str(), "script" | "style" | "textarea" | "title");
        let end = if raw { format!("</{}", tag.name) } else { "<".to_owned() };
        let end = after.to_ascii_lowercase().find(&end).unwrap_or(after.len());
        let is_code = matches!(tag.name.as_str(), "script" | "style");
        tag.text = if is_code { after[..end].to_owned() } else { unescape(&after[..end]) };
        rest = &after[end..];
        tags.push(tag);
    }
    tags
}

/// One tag, begun after its `<`, and what follows it.
fn tag(text: &str) -> (Tag, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == '>' || (c == '/' && !text.starts_with('/')));
    let (name, mut rest) = text.split_at(end.unwrap_or(text.len()));
    let mut tag = Tag { name: name.to_ascii_lowercase(), ..Tag::default() };
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() || rest.starts_with('>') {
            return (tag, rest.get(1..).unwrap_or_default());
        }
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '>' | '=' | '/')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end.max(1));
        let (value, after) = match after.trim_start().strip_prefix('=') {
            Some(after) => attribute_value(after.trim_start()),
            None => (String::new(), after),
        };
        tag.attributes.entry(name.to_ascii_lowercase()).or_insert(value);
        rest = after;
    }
}

fn attribute_value(text: &str) -> (String, &str) {
    let (raw, after) = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].split_once(quote).unwrap_or((&text[1..], "")),
        _ => text.split_at(text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len())),
    };
    (unescape(raw), after)
}

/// Decodes character references.
pub fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let decoded = rest.find(';').filter(|end| *end <= 10).and_then(|end| Some((reference(&rest[1..end])?, end)));
        let (character, length) = decoded.map_or(('&', 1), |(character, end)| (character, end + 1));
        out.push(character);
        rest = &rest[length..];
    }
    out + rest
}

fn reference(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// Encodes text for an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
