//! The application without its layer and its server, so that tests can put another layer around it.

mod database;
mod pages;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_oidc::{Config, CurrentUser, LoginDecision, RequireLayer};

pub use database::Database;

/// The scopes of the JSON API, which clients ask the provider for.
pub const SCOPES: [&str; 2] = ["notes.read", "notes.write"];

/// The role of those who see the list of all users.
const ADMIN: &str = "admin";

/// The routes. The layer goes around them, last.
pub fn app(database: Database) -> Router {
    // A scope limits what a client may do with an access token. Who comes with a session passes.
    let [read, write] = SCOPES.map(RequireLayer::scope);
    Router::new()
        .route("/", get(pages::home))
        .route("/admin", get(pages::admin).layer(RequireLayer::role(ADMIN)))
        .route("/account", get(pages::account))
        .route("/account/sessions/{id}/end", post(pages::end_session))
        .route("/account/sessions/end-others", post(pages::end_other_sessions))
        .route("/notes", post(pages::add))
        .route("/notes/{id}/delete", post(pages::delete))
        .route("/api/notes", get(list).layer(read).merge(post(add).layer(write.clone())))
        .route("/api/notes/{id}", axum::routing::delete(delete).layer(write))
        .with_state(database)
}

/// Gives each person who signs in a row in the table of users, and their session the row's id. An access token is accepted for
/// those who have a row: nobody signs up by it.
pub fn with_sign_up(config: Config, database: Database) -> Config {
    let members = database.clone();
    let config = config.on_login(move |login| {
        let database = database.clone();
        async move {
            let name = ["name", "nickname", "email"].iter().find_map(|name| login.claims.get(*name)?.as_str());
            decide(database.sign_up(&login.issuer, &login.subject, name.unwrap_or("somebody")).await.map(Some))
        }
    });
    config.on_bearer(move |token| {
        let database = members.clone();
        async move { decide(database.member(&token.issuer, &token.subject).await) }
    })
}

/// The decision for somebody with this row.
fn decide(row: Result<Option<i64>, sqlx::Error>) -> LoginDecision {
    match row {
        Ok(Some(id)) => {
            let claims = json!({ "user_id": id });
            LoginDecision::AllowWith(claims.as_object().cloned().unwrap_or_default())
        }
        Ok(None) => LoginDecision::Deny("Sign in with a browser first.".to_owned()),
        Err(error) => {
            eprintln!("nobody can be let in: {error}");
            LoginDecision::Deny("Please try again in a moment.".to_owned())
        }
    }
}

/// A signed-in person with a row in the table of users.
pub(crate) struct Member {
    pub(crate) id: i64,
}

#[derive(Deserialize)]
struct Row {
    user_id: i64,
}

impl<S: Sync> FromRequestParts<S> for Member {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        // Nobody is signed in: the error leads to the login, or is a 401.
        let user = CurrentUser::from_request_parts(parts, state).await?;
        let row = user.claims::<Row>().map_err(|_| AppError::Forbidden)?;
        Ok(Self { id: row.user_id })
    }
}

/// The application's own error. The layer's errors keep what they do.
#[derive(Debug)]
pub(crate) enum AppError {
    Oidc(tower_oidc::Error),
    Database(sqlx::Error),
    NotFound,
    Forbidden,
}

impl From<tower_oidc::Error> for AppError {
    fn from(error: tower_oidc::Error) -> Self {
        Self::Oidc(error)
    }
}

impl From<tower_oidc::DestinationError> for AppError {
    fn from(error: tower_oidc::DestinationError) -> Self {
        Self::Oidc(error.into())
    }
}

impl From<sqlx::Error> for AppError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Oidc(error) => error.into_response(),
            Self::Database(error) => {
                eprintln!("the database: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            Self::Forbidden => StatusCode::FORBIDDEN.into_response(),
        }
    }
}

/// A note, in the JSON API.
#[derive(Debug, Serialize)]
pub(crate) struct Note {
    pub(crate) id: i64,
    pub(crate) text: String,
}

#[derive(Deserialize)]
pub(crate) struct NewNote {
    pub(crate) text: String,
}

async fn list(member: Member, State(database): State<Database>) -> Result<Json<Vec<Note>>, AppError> {
    Ok(Json(database.notes_of(member.id).await?))
}

async fn add(
    member: Member, State(database): State<Database>, Json(note): Json<NewNote>,
) -> Result<(StatusCode, Json<Note>), AppError> {
    let id = database.add(member.id, &note.text).await?;
    Ok((StatusCode::CREATED, Json(Note { id, text: note.text })))
}

async fn delete(member: Member, State(database): State<Database>, Path(id): Path<i64>) -> Result<StatusCode, AppError> {
    match database.delete(member.id, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        // Somebody else's note is not there either.
        false => Err(AppError::NotFound),
    }
}
