//! The application's own tables. The layer's sessions and tokens are in a store of their own.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use crate::Note;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS users (
        id      INTEGER PRIMARY KEY,
        issuer  TEXT NOT NULL,
        subject TEXT NOT NULL,
        name    TEXT NOT NULL,
        UNIQUE (issuer, subject)
    );
    CREATE TABLE IF NOT EXISTS notes (
        id      INTEGER PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id),
        text    TEXT NOT NULL
    );";

#[derive(Clone, Debug)]
pub struct Database(SqlitePool);

impl Database {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or is no database.
    pub async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        Self::connect(SqlitePoolOptions::new(), SqliteConnectOptions::new().filename(path).create_if_missing(true))
            .await
    }

    /// For tests: in memory, on one connection that stays.
    ///
    /// # Errors
    ///
    /// None is known.
    pub async fn in_memory() -> Result<Self, sqlx::Error> {
        let pool = SqlitePoolOptions::new().max_connections(1).min_connections(1);
        Self::connect(pool, SqliteConnectOptions::new().in_memory(true)).await
    }

    async fn connect(pool: SqlitePoolOptions, options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = pool.connect_with(options).await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        Ok(Self(pool))
    }

    /// The row of a person, who is known by issuer and subject. One statement: two logins at once make one row.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn sign_up(&self, issuer: &str, subject: &str, name: &str) -> Result<i64, sqlx::Error> {
        let statement = "INSERT INTO users (issuer, subject, name) VALUES (?, ?, ?)
             ON CONFLICT (issuer, subject) DO UPDATE SET name = excluded.name RETURNING id";
        sqlx::query_scalar(statement).bind(issuer).bind(subject).bind(name).fetch_one(&self.0).await
    }

    /// The row of a person who has signed up before.
    pub(crate) async fn member(&self, issuer: &str, subject: &str) -> Result<Option<i64>, sqlx::Error> {
        let statement = "SELECT id FROM users WHERE issuer = ? AND subject = ?";
        sqlx::query_scalar(statement).bind(issuer).bind(subject).fetch_optional(&self.0).await
    }

    /// The names of all who have signed up, with the number of their notes.
    pub(crate) async fn members(&self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let statement = "SELECT name, (SELECT count(*) FROM notes WHERE user_id = users.id) FROM users ORDER BY id";
        sqlx::query_as(statement).fetch_all(&self.0).await
    }

    pub(crate) async fn notes_of(&self, user: i64) -> Result<Vec<Note>, sqlx::Error> {
        let statement = "SELECT id, text FROM notes WHERE user_id = ? ORDER BY id";
        let rows: Vec<(i64, String)> = sqlx::query_as(statement).bind(user).fetch_all(&self.0).await?;
        Ok(rows.into_iter().map(|(id, text)| Note { id, text }).collect())
    }

    pub(crate) async fn add(&self, user: i64, text: &str) -> Result<i64, sqlx::Error> {
        let statement = "INSERT INTO notes (user_id, text) VALUES (?, ?) RETURNING id";
        sqlx::query_scalar(statement).bind(user).bind(text).fetch_one(&self.0).await
    }

    /// Whether there was such a note of this user.
    pub(crate) async fn delete(&self, user: i64, id: i64) -> Result<bool, sqlx::Error> {
        let statement = "DELETE FROM notes WHERE id = ? AND user_id = ?";
        Ok(sqlx::query(statement).bind(id).bind(user).execute(&self.0).await?.rows_affected() > 0)
    }

    /// How many people have signed up.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn users(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&self.0).await
    }
}
