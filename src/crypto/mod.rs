//! The cryptography of signatures and TLS: ring, or aws-lc-rs, which has the same interface.
//!
//! Signatures take their randomness from the operating system and no other: one that repeats it gives the key away.

#[cfg(not(feature = "ring"))]
#[path = "aws_lc_rs.rs"]
pub(crate) mod library;
#[cfg(feature = "ring")]
#[path = "ring.rs"]
pub(crate) mod library;
#[cfg(any(feature = "http-client", feature = "postgres"))]
pub(crate) mod roots;
#[cfg(any(feature = "http-client", feature = "postgres", feature = "redis"))]
pub(crate) mod tls;
