//! The test's network on real sockets, and what stands before several processes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::net::{Caller, Net, lock};

/// Opens what the test's network serves at this origin (`http://localhost:PORT`) to other processes.
pub async fn expose(net: &Net, origin: &str) {
    let port = origin.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an origin with a port");
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("a free port");
    let (net, origin) = (net.clone(), origin.to_owned());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (net, origin) = (net.clone(), origin.clone());
            let service = service_fn(move |request| answer(net.clone(), origin.clone(), request));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
}

async fn answer(
    net: Net,
    origin: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{origin}{path}").parse().expect("a URL");
    let answered = match body.collect().await {
        Ok(body) => net.call(Caller::Application, Request::from_parts(parts, body.to_bytes())).await,
        Err(error) => Err(error.into()),
    };
    Ok(answered.map(|response| response.map(Full::new)).unwrap_or_else(|error| {
        let mut response = Response::new(Full::new(error.to_string().into()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }))
}

/// Gives each connection to the next process that takes it: every request of a browser to another one.
#[derive(Clone)]
pub struct RoundRobin(Arc<Processes>);

struct Processes {
    ports: Mutex<Vec<u16>>,
    next: AtomicUsize,
}

impl RoundRobin {
    pub async fn start(port: u16, ports: &[u16]) -> Self {
        let processes = Arc::new(Processes { ports: Mutex::new(ports.to_vec()), next: AtomicUsize::new(0) });
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let balanced = Arc::clone(&processes);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let processes = Arc::clone(&balanced);
                tokio::spawn(async move {
                    if let Some(mut to) = processes.connect().await {
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Self(processes)
    }

    /// From now on connections go to these, as a deploy tells a balancer before it stops a process.
    pub fn only(&self, ports: &[u16]) {
        *lock(&self.0.ports) = ports.to_vec();
    }
}

impl Processes {
    async fn connect(&self) -> Option<TcpStream> {
        let ports = lock(&self.ports).clone();
        for _ in 0..ports.len() {
            let port = ports[self.next.fetch_add(1, Ordering::Relaxed) % ports.len()];
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
                return Some(stream);
            }
        }
        None
    }
}
