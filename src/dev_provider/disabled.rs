//! Stands in for the development provider when the feature `dev-provider` is off: there is never one.

use bytes::Bytes;
use http::{Request, Response, Uri};

use crate::clock::{Clock, Random};

/// No value of this type exists.
#[derive(Clone, Debug)]
pub(crate) enum DevProvider {}

impl DevProvider {
    pub(crate) fn embedded(
        _: (&str, bool), _: (&str, Option<&str>), _: &str, _: &str, _: Clock, _: Random,
    ) -> Result<Self, String> {
        Err("the issuer is `development`: enable the feature `dev-provider`, or set the issuer (OIDC_ISSUER) of a real \
             provider"
            .to_owned())
    }

    pub(crate) fn covers(&self, _: &Uri) -> bool {
        match *self {}
    }

    pub(crate) fn handle(&self, _: Request<Bytes>) -> Response<Bytes> {
        match *self {}
    }
}
