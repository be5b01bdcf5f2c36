//! For the tests and benchmarks of an application: requests as a chosen user without a login, a clock to move, and
//! (feature `dev-provider`) the development provider.
//!
//! Enable the feature `test-util` in `[dev-dependencies]` only: it is not for production.
//!
//! ```
//! use axum::{Router, routing::get};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_oidc::{Admin, CurrentUser, testing};
//!
//! async fn hello(user: CurrentUser) -> String {
//!     format!("hello {}", user.nickname())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app = Router::new().route("/", get(hello)).route("/admin", get(|_: Admin| async {}));
//!
//! let as_ann = app.clone().layer(testing::as_user("ann").email("ann@example.test"));
//! let answer = as_ann.clone().oneshot(Request::get("/").body(String::new()).unwrap()).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//! let answer = as_ann.oneshot(Request::get("/admin").body(String::new()).unwrap()).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::FORBIDDEN);
//!
//! let anonymous = app.layer(testing::as_anonymous());
//! let answer = anonymous.oneshot(Request::get("/").body(String::new()).unwrap()).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
//! # }
//! ```

mod as_user;
pub use self::as_user::{SignedIn, SignedInLayer, as_anonymous, as_user, start_session, start_session_with_tokens};

mod clock;
pub use self::clock::ManualClock;

#[cfg(feature = "dev-provider")]
mod provider;
#[cfg(feature = "dev-provider")]
pub use self::provider::{development_config, development_provider, log_in};
