//! The test's network on real sockets, and what stands before several processes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::net::{BoxError, Caller, Net, lock};

/// Opens what the test's network serves at this origin (`http://localhost:PORT`) to other processes. What fails in that
/// network is a connection that ends without an answer.
pub async fn expose(net: &Net, origin: &str) -> Exposed {
    let port = origin.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an origin with a port");
    let exposed = Exposed { net: net.clone(), origin: origin.to_owned(), port, open: watch::Sender::new(true) };
    exposed.listen().await;
    exposed
}

/// An origin on a real socket. It stays there when this is dropped.
pub struct Exposed {
    net: Net,
    origin: String,
    port: u16,
    open: watch::Sender<bool>,
}

impl Exposed {
    /// From now on connections are refused, and those that there are end.
    pub async fn close(&self) {
        self.open.send_replace(false);
        self.open.closed().await;
    }

    /// It is there again.
    pub async fn reopen(&self) {
        self.open.send_replace(true);
        self.listen().await;
    }

    async fn listen(&self) {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], self.port))).await.expect("a free port");
        let (net, origin) = (self.net.clone(), self.origin.clone());
        let mut until = self.open.subscribe();
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = before(&mut until, listener.accept()).await {
                let (net, origin, mut until) = (net.clone(), origin.clone(), until.clone());
                let service = service_fn(move |request| answer(net.clone(), origin.clone(), request));
                tokio::spawn(async move {
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    before(&mut until, connection).await
                });
            }
        });
    }
}

/// What comes of this, unless the origin is closed first.
async fn before<T>(closed: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    // Nobody closes it any more once its handle is gone.
    let closed = async {
        if closed.wait_for(|open| !open).await.is_err() {
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        () = closed => None,
        done = work => Some(done),
    }
}

async fn answer(net: Net, origin: String, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{origin}{path}").parse().expect("a URL");
    let request = Request::from_parts(parts, body.collect().await?.to_bytes());
    Ok(net.call(Caller::Application, request).await?.map(Full::new))
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

/// A proxy for tunnels (RFC 9110 section 9.3.6). Every host that it is asked for is this machine: no name is looked up.
pub struct ConnectProxy {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let heads = Arc::clone(&heads);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
                        head.push(from.read_u8().await?);
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    lock(&heads).push(head.clone());
                    let port = head.split(' ').nth(1).and_then(|authority| authority.rsplit(':').next());
                    let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_default();
                    let mut to = TcpStream::connect(("127.0.0.1", port)).await?;
                    from.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                    copy_bidirectional(&mut from, &mut to).await
                });
            }
        });
        Self { port, asked }
    }

    /// The heads of the requests that came, oldest first.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }
}
