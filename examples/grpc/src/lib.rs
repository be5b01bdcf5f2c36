//! The service, without its server, so that tests can call it.

use tonic::{Request, Response, Status};
use tower_oidc::CurrentUser;

mod generated {
    include!(concat!(env!("OUT_DIR"), "/example.People.rs"));
}

pub use generated::people_client::PeopleClient;
pub use generated::people_server::PeopleServer;

#[derive(Clone, PartialEq, prost::Message)]
pub struct WhoAmIRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WhoAmIResponse {
    #[prost(string, tag = "1")]
    pub issuer: String,
    #[prost(string, tag = "2")]
    pub subject: String,
}

#[derive(Debug)]
pub struct People;

#[tonic::async_trait]
impl generated::people_server::People for People {
    /// The layer leaves the user in the request's extensions. A caller of gRPC expects a status rather than a redirect.
    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let user = request.extensions().get::<CurrentUser>();
        let user = user.ok_or_else(|| Status::unauthenticated("sign in at /auth/login"))?;
        Ok(Response::new(WhoAmIResponse { issuer: user.issuer().to_owned(), subject: user.subject().to_owned() }))
    }
}
