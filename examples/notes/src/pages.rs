//! The HTML pages. Forms need no token against forged requests: the layer refuses what other sites send.

use std::time::SystemTime;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{Html, Redirect};
use tower_oidc::{AuthSession, CurrentUser};

use crate::{ADMIN, AppError, Database, Member, NewNote};

pub(crate) async fn home(
    user: Option<CurrentUser>, member: Result<Member, AppError>, auth: AuthSession, State(database): State<Database>,
) -> Result<Html<String>, AppError> {
    let Some(user) = user else {
        return Ok(page(&format!("<a href=\"{}\">Sign in</a>", escape(&auth.login_url("/")?))));
    };
    let mut body = format!(
        "<p>{} {}<a href=\"/account\">Account</a> <a href=\"{}\">Sign out</a></p><ul>",
        escape(user.nickname()),
        if user.has_role(ADMIN) { "<a href=\"/admin\">Users</a> " } else { "" },
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
    member: Member, State(database): State<Database>, Form(note): Form<NewNote>,
) -> Result<Redirect, AppError> {
    database.add(member.id, &note.text).await?;
    Ok(Redirect::to("/"))
}

pub(crate) async fn delete(
    member: Member, State(database): State<Database>, Path(id): Path<i64>,
) -> Result<Redirect, AppError> {
    match database.delete(member.id, id).await? {
        true => Ok(Redirect::to("/")),
        false => Err(AppError::NotFound),
    }
}

/// All who have signed up. Its route requires the role.
pub(crate) async fn admin(State(database): State<Database>) -> Result<Html<String>, AppError> {
    let members = database.members().await?;
    let rows = members.iter().map(|(name, notes)| format!("<li>{}, {notes} notes</li>", escape(name)));
    Ok(page(&format!("<p><a href=\"/\">Notes</a></p><h2>Users</h2><ul>{}</ul>", rows.collect::<String>())))
}

/// Where somebody is signed in.
pub(crate) async fn account(auth: AuthSession) -> Result<Html<String>, AppError> {
    let mut body = "<p><a href=\"/\">Notes</a></p><h2>Where you are signed in</h2><ul>".to_owned();
    for session in auth.sessions().await? {
        let browser = session.user_agent.as_deref().unwrap_or("An unknown browser");
        let used = SystemTime::from(session.last_seen_at).elapsed().unwrap_or_default().as_secs() / 3600;
        let which = if session.current { "this one".to_owned() } else { format!("used {used} hours ago") };
        body += &format!(
            "<li>{}, {which} <form method=post action=\"/account/sessions/{}/end\"><button>Sign out</button></form></li>",
            escape(browser),
            escape(&session.id)
        );
    }
    body += "</ul><form method=post action=\"/account/sessions/end-others\"><button>Sign out everywhere else</button></form>";
    Ok(page(&body))
}

pub(crate) async fn end_session(auth: AuthSession, Path(id): Path<String>) -> Result<Redirect, AppError> {
    match auth.end_session(&id).await? {
        true => Ok(Redirect::to("/account")),
        // Somebody else's session is not there either.
        false => Err(AppError::NotFound),
    }
}

pub(crate) async fn end_other_sessions(auth: AuthSession) -> Result<Redirect, AppError> {
    auth.end_other_sessions().await?;
    Ok(Redirect::to("/account"))
}

fn page(body: &str) -> Html<String> {
    Html(format!("<!doctype html><html lang=en><meta charset=utf-8><title>Notes</title><h1>Notes</h1>{body}</html>"))
}

/// Names and notes are text, whatever they contain.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
