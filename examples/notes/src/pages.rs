//! The HTML pages. Forms need no token against forged requests: the layer refuses what other sites send.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{Html, Redirect};
use tower_oidc::{AuthSession, CurrentUser};

use crate::{AppError, Database, Member, NewNote};

pub(crate) async fn home(
    user: Option<CurrentUser>,
    member: Result<Member, AppError>,
    auth: AuthSession,
    State(database): State<Database>,
) -> Result<Html<String>, AppError> {
    let Some(user) = user else {
        return Ok(page(&format!("<a href=\"{}\">Sign in</a>", escape(&auth.login_url("/")?))));
    };
    let mut body = format!(
        "<p>{} <a href=\"{}\">Sign out</a></p><ul>",
        escape(user.nickname()),
        escape(&auth.logout_url("/")?)
    );
    for note in database.notes_of(member?.id).await? {
        body += &format!(
            "<li>{} <form method=post action=\"/notes/{}/delete\"><button>Delete</button></form></li>",
            escape(&note.text),
            note.id
        );
    }
    body += "</ul><form method=post action=\"/notes\"><input name=text required> <button>Add</button></form>";
    Ok(page(&body))
}

pub(crate) async fn add(
    member: Member,
    State(database): State<Database>,
    Form(note): Form<NewNote>,
) -> Result<Redirect, AppError> {
    database.add(member.id, &note.text).await?;
    Ok(Redirect::to("/"))
}

pub(crate) async fn delete(
    member: Member,
    State(database): State<Database>,
    Path(id): Path<i64>,
) -> Result<Redirect, AppError> {
    match database.delete(member.id, id).await? {
        true => Ok(Redirect::to("/")),
        false => Err(AppError::NotFound),
    }
}

fn page(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Notes</title><h1>Notes</h1>{body}</html>"
    ))
}

/// Names and notes are text, whatever they contain.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
