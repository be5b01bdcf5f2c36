//! `OIDC_ISSUER`, `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET`, then open <http://localhost:3000/>.

use by_hand::{Backend, BoxError, pages, with_login};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let issuer = variable("OIDC_ISSUER")?;
    let (id, secret) = (variable("OIDC_CLIENT_ID")?, variable("OIDC_CLIENT_SECRET")?);
    let backend = Backend::discover(&issuer, &id, &secret, "http://localhost:3000").await?;
    axum::serve(listener, with_login(pages(), backend)).await?;
    Ok(())
}
