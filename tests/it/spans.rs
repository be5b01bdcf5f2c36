//! What a tracing subscriber sees of logins, refreshes and calls: a span for each, inside of what it is for.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::support::app::World;

/// Each path of spans, from the outermost one, and all that stands in their fields.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<(BTreeSet<String>, String)>>);

/// The field `call` of a span.
struct Call(String);

#[derive(Default)]
struct Fields(Option<String>, String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.1 += &format!("{field}={value:?} ");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &value);
        if field.name() == "call" {
            self.0 = Some(value.to_owned());
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("the span");
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(Call(fields.0.unwrap_or_else(|| span.name().to_owned())));
        let path: Vec<_> =
            span.scope().from_root().map(|span| span.extensions().get::<Call>().unwrap().0.clone()).collect();
        let mut seen = self.0.lock().unwrap();
        seen.0.insert(path.join(" > "));
        seen.1 += &fields.1;
    }
}

#[tokio::test]
async fn each_call_is_a_span_inside_of_what_it_is_for() {
    let spans = Spans::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let world = World::new();
    let alice = world.signed_in("alice").instrument(info_span!("request")).await;
    world.clock.advance(Duration::from_secs(3_601));
    assert_eq!(world.tok(&alice).instrument(info_span!("request")).await.0, 200);
    world.app.layer.drain().await;
    drop(guard);
    let (paths, fields) = spans.0.lock().unwrap().clone();
    for expected in [
        "request > login > provider",
        "request > store_read",
        "request > callback > store_write",
        // Requests may share a refresh: it is inside of the one that began it.
        "request > refresh > provider",
        "request > refresh > store_write",
    ] {
        assert!(paths.iter().any(|path| path.ends_with(expected)), "{expected}: {paths:#?}");
    }
    let named =
        fields.split_whitespace().filter(|field| !field.starts_with("call=") && !field.starts_with("otel.name="));
    assert_eq!(named.collect::<Vec<_>>(), Vec::<&str>::new(), "nothing about a person or a URL");
}
