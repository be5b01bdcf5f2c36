//! What an application's own tests and benchmarks need.

mod sessions;
pub use sessions::start_session;
