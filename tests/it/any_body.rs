//! A service whose response body is not made of bytes: the layer's own answers stand beside it, and it passes as it is.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_oidc::CurrentUser;

use crate::support::app::{APP, EVIL, World};

type Boxed = BoxBody<Bytes, Infallible>;

async fn who(request: Request<Body>) -> Result<Response<Boxed>, Infallible> {
    let user = request.extensions().get::<CurrentUser>().map_or("nobody", |user| user.subject()).to_owned();
    let frames = [Ok(Frame::data(Bytes::from_static(b"this is "))), Ok(Frame::data(Bytes::from(user)))];
    Ok(Response::new(StreamBody::new(stream::iter(frames)).boxed()))
}

#[tokio::test]
async fn a_boxed_body_passes_and_people_sign_in_and_out() {
    for world in [World::new(), World::stateless()] {
        world.net.serve_service(APP, world.app.layer.any_body().layer(service_fn(who)));
        let browser = world.browser();
        assert_eq!(browser.navigate(APP).await.text(), "this is nobody");
        world.op.sign_in_as("alice");
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/")).await;
        assert_eq!(page.text(), "this is a1");
        let asked = browser.click_from(EVIL, &format!("{APP}/auth/logout?return_to=/")).await;
        assert!(asked.text().contains("sign out"), "the layer's own page: {}", asked.text());
    }
}

/// As a layer of tower, where each response is polled frame by frame.
#[tokio::test]
async fn frames_come_as_the_service_sends_them() {
    let world = World::new();
    let service = Layer::layer(&world.app.layer.any_body(), service_fn(who));
    let request = Request::get("/").body(Body::empty()).unwrap();
    let mut body = service.oneshot(request).await.unwrap().into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(frame.unwrap().into_data().unwrap());
    }
    assert_eq!(frames, ["this is ", "nobody"], "two frames, not collected into one");
}
