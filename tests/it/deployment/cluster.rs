//! Replicas of the demo over one store, a provider that rotates and detects reuse, and an API, all on real sockets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use std::sync::Arc;

use crate::support::http::Client;
use crate::support::net::Net;
use crate::support::nginx::Nginx;
use crate::support::process::{Demo, app_url, free_port};
use crate::support::provider::keys::Alg;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::resource::ResourceServer;
use crate::support::socket::{RoundRobin, expose};

/// See the [module](self).
pub(super) struct Cluster {
    pub(super) net: Net,
    pub(super) op: LyingProvider,
    front: Front,
    replicas: Vec<(u16, Option<Demo>)>,
    environment: Vec<(&'static str, String)>,
    url: String,
}

/// What stands before the replicas.
enum Front {
    RoundRobin(RoundRobin),
    Nginx(Box<Nginx>),
}

impl Cluster {
    pub(super) async fn start(store: &str, replicas: usize, token_life: u64) -> Self {
        let (port, ports) = (free_port(), (0..replicas).map(|_| free_port()).collect::<Vec<_>>());
        let front = Front::RoundRobin(RoundRobin::start(port, &ports).await);
        Self::behind(front, port, ports, store, token_life).await
    }

    /// Behind the real nginx, as the documentation configures it; `None` where it is not installed.
    pub(super) async fn behind_nginx(store: &str, replicas: usize, token_life: u64) -> Option<Self> {
        let (port, ports) = (free_port(), (0..replicas).map(|_| free_port()).collect::<Vec<_>>());
        let nginx = Nginx::documented(include_str!("../../../src/deploying.md"), &ports, port).await?;
        Some(Self::behind(Front::Nginx(Box::new(nginx)), port, ports, store, token_life).await)
    }

    async fn behind(front: Front, port: u16, ports: Vec<u16>, store: &str, token_life: u64) -> Self {
        let net = Net::new();
        let origin = || format!("http://localhost:{}", free_port());
        let (op_origin, api_origin) = (origin(), origin());
        let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let op = LyingProvider::with_clock(&net, &op_origin, Arc::new(seconds));
        op.set(|op| {
            op.access_token_lifetime = token_life;
            // RSA signs a hundred times slower, and it is not the provider that is measured.
            op.signing = Alg::Es256;
        });
        let api = ResourceServer::start(&net, &api_origin, op.resource_owners());
        let network = net.clone();
        tokio::spawn(async move {
            loop {
                // Five minutes of requests are more than memory holds.
                tokio::time::sleep(Duration::from_secs(1)).await;
                network.forget();
                api.forget();
            }
        });
        expose(&net, &op_origin).await;
        expose(&net, &api_origin).await;
        let environment = vec![
            ("PUBLIC_URL", app_url(port)),
            ("OIDC_ISSUER", op_origin),
            ("OIDC_CLIENT_ID", CLIENT_ID.to_owned()),
            ("OIDC_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("API_URL", format!("{api_origin}/cal")),
            ("TOKEN_STORE", store.to_owned()),
            ("SESSION_SECRET", "one secret for all replicas: 32 bytes and more".to_owned()),
            ("RUST_LOG", "tower_oidc=info".to_owned()),
        ];
        let replicas = ports.into_iter().map(|port| (port, None)).collect();
        let mut cluster = Self { net, op, front, replicas, environment, url: app_url(port) };
        for replica in 0..cluster.replicas.len() {
            cluster.run(replica).await;
        }
        cluster
    }

    /// Starts a replica that does not run.
    pub(super) async fn run(&mut self, replica: usize) {
        let environment: Vec<_> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let port = self.replicas[replica].0;
        self.replicas[replica].1 = Some(Demo::start_at(port, &environment).await);
    }

    /// SIGKILL.
    pub(super) async fn kill(&mut self, replica: usize) {
        if let Some(demo) = self.replicas[replica].1.take() {
            demo.stop().await;
        }
    }

    /// SIGTERM, which drains. Our own balancer hears of it first; nginx finds out by itself.
    pub(super) async fn replace(&mut self, replica: usize) {
        let others: Vec<u16> =
            self.ports().into_iter().filter(|port| *port != self.replicas[replica].0).collect();
        self.forward_to(&others);
        // Connections that were on their way arrive: what an orchestrator waits for before it stops a process.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Some(mut demo) = self.replicas[replica].1.take() {
            demo.terminate();
            assert_eq!(demo.ended().await, Some(0), "it drains and ends:\n{}", demo.output());
        }
        self.run(replica).await;
        self.forward_to(&self.ports());
    }

    fn forward_to(&self, ports: &[u16]) {
        if let Front::RoundRobin(balancer) = &self.front {
            balancer.only(ports);
        }
    }

    /// What nginx complained of.
    pub(super) fn front_log(&self) -> String {
        match &self.front {
            Front::RoundRobin(_) => String::new(),
            Front::Nginx(nginx) => nginx.log(),
        }
    }

    /// The address at which browsers reach the whole.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A browser in which this person is signed in: the login begins at one replica and ends at another.
    pub(super) async fn signed_in(&self, name: &str) -> Client {
        self.op.user(name, |user| user.sub = name.to_owned());
        let mut browser = Client::new();
        sign_in(&mut browser, &self.url, name).await;
        browser
    }

    fn ports(&self) -> Vec<u16> {
        self.replicas.iter().map(|(port, _)| *port).collect()
    }
}

/// Signs a person in, who tries again where a process died on the way.
pub(super) async fn sign_in(browser: &mut Client, url: &str, name: &str) {
    for _ in 0..20 {
        let page = browser.try_visit(&format!("{url}/auth/login?return_to=/who&login_hint={name}")).await;
        if page.is_ok_and(|page| page.status == 200 && page.body.contains(&format!("\"sub\":\"{name}\""))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{name} cannot sign in");
}
