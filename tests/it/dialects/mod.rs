//! Dialects of real providers: presets, and the settings that they are made of. How an API is named is in
//! `connections/naming.rs`, what a provider's lies come to under each preset in `lying_provider/dialects.rs`.

mod audiences;
mod log_out;
mod overage;
mod presets;
mod refresh_token;
mod shapes;
