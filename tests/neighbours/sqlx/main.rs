//! Beside sqlx with SQLite.

#[path = "../program.rs"]
mod program;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tower_oidc::CurrentUser;

async fn visit(user: CurrentUser, State(database): State<SqlitePool>) -> String {
    let statement = "INSERT INTO visits (subject) VALUES (?)";
    sqlx::query(statement).bind(user.subject()).execute(&database).await.unwrap();
    let statement = "SELECT count(*) FROM visits WHERE subject = ?";
    let count = sqlx::query_scalar(statement).bind(user.subject()).fetch_one(&database).await.unwrap();
    program::greeting(&user, count)
}

#[tokio::test]
async fn sqlx_and_the_store_are_in_one_process() {
    let folder = program::Folder::new("sqlx");
    let options = SqliteConnectOptions::new().filename(folder.0.join("visits.db")).create_if_missing(true);
    let database = SqlitePool::connect_with(options).await.unwrap();
    let table = "CREATE TABLE visits (id INTEGER PRIMARY KEY, subject TEXT NOT NULL)";
    sqlx::raw_sql(table).execute(&database).await.unwrap();
    let visits = Router::new().route("/visit", get(visit)).with_state(database);
    program::sign_in_and_visit(visits, &folder).await;
}
