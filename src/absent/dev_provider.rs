//! Stands in for the development provider when the feature `dev-provider` is off: there is never one.

use bytes::Bytes;
use http::{Request, Response, Uri};

use crate::ambient::{Clock, Random};

/// No value of this type exists.
#[derive(Clone, Debug)]
pub(crate) enum DevProvider {}

impl DevProvider {
    pub(crate) fn embedded(
        _: &str,
        _: (&str, Option<&str>),
        _: &str,
        _: &str,
        _: Clock,
        _: Random,
    ) -> Result<Self, String> {
        Err("no issuer is set: set one (OIDC_ISSUER), or enable the feature `dev-provider` for development"
            .to_owned())
    }

    pub(crate) fn covers(&self, _: &Uri) -> bool {
        match *self {}
    }

    pub(crate) fn handle(&self, _: Request<Bytes>) -> Response<Bytes> {
        match *self {}
    }
}
