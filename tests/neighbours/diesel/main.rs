//! Beside diesel with SQLite.

#[path = "../program.rs"]
mod program;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tower_oidc::CurrentUser;

diesel::table! {
    visits (id) {
        id -> Integer,
        subject -> Text,
    }
}

type Database = Arc<Mutex<SqliteConnection>>;

async fn visit(user: CurrentUser, State(database): State<Database>) -> String {
    let mut database = database.lock().unwrap();
    let row = visits::subject.eq(user.subject());
    diesel::insert_into(visits::table).values(row).execute(&mut *database).unwrap();
    let count = visits::table.filter(row).count().get_result(&mut *database).unwrap();
    program::greeting(&user, count)
}

#[tokio::test]
async fn diesel_and_the_store_are_in_one_process() {
    let folder = program::Folder::new("diesel");
    let mut database = SqliteConnection::establish(folder.0.join("visits.db").to_str().unwrap()).unwrap();
    database.batch_execute("CREATE TABLE visits (id INTEGER PRIMARY KEY, subject TEXT NOT NULL)").unwrap();
    let visits = Router::new().route("/visit", get(visit)).with_state(Arc::new(Mutex::new(database)));
    program::sign_in_and_visit(visits, &folder).await;
}
