//! Writes the service and its client. The messages are in `src/lib.rs`, so that no `protoc` is needed.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let who_am_i = Method::builder()
        .name("who_am_i")
        .route_name("WhoAmI")
        .input_type("crate::WhoAmIRequest")
        .output_type("crate::WhoAmIResponse")
        .codec_path("tonic_prost::ProstCodec");
    let service = Service::builder().name("People").package("example").method(who_am_i.build()).build();
    Builder::new().compile(&[service]);
}
