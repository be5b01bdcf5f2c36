//! The cryptography of TLS.

pub(crate) mod roots;
