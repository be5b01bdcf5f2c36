//! Replicas of the demo over one store, a provider that rotates and detects reuse, and an API, all on real sockets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::DATE;

use crate::support::http::Client;
use crate::support::net::Net;
use crate::support::nginx::Nginx;
use crate::support::process::{Demo, app_url, free_port};
use crate::support::provider::keys::Alg;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::resource::ResourceServer;
use crate::support::socket::{Exposed, RoundRobin, expose};

/// See the [module](self).
pub(super) struct Cluster {
    pub(super) net: Net,
    pub(super) op: LyingProvider,
    /// Where processes reach the provider.
    pub(super) op_door: Exposed,
    front: Front,
    replicas: Vec<(u16, Option<Demo>)>,
    environment: Vec<(&'static str, String)>,
    /// Of the first replica, besides.
    of_first: Vec<(&'static str, String)>,
    url: String,
    /// What processes wrote that have ended.
    logs: Vec<String>,
}

/// What became of somebody's refresh tokens.
#[derive(Debug, Default)]
pub(super) struct Spending {
    /// How often the provider gave new tokens.
    pub(super) answered: usize,
    /// How often a process said that it has written them.
    pub(super) written: usize,
    /// How often a token came to the provider that had come before.
    pub(super) again: usize,
}

impl Spending {
    /// What the provider answered and nobody wrote: the crashes in the spend window, and the answers that were lost.
    pub(super) fn lost(&self) -> usize {
        self.answered.saturating_sub(self.written)
    }
}

/// What stands before the replicas.
enum Front {
    RoundRobin(RoundRobin),
    Nginx(Box<Nginx>),
}

impl Cluster {
    pub(super) async fn start(store: &str, replicas: usize, token_life: u64) -> Self {
        Self::in_mode("per-user", store, replicas, token_life).await
    }

    /// In another one of the demo's modes.
    pub(super) async fn in_mode(mode: &str, store: &str, replicas: usize, token_life: u64) -> Self {
        let (port, ports) = (free_port(), (0..replicas).map(|_| free_port()).collect::<Vec<_>>());
        let front = Front::RoundRobin(RoundRobin::start(port, &ports).await);
        Self::behind(front, port, ports, &[("MODE", mode), ("TOKEN_STORE", store)], token_life).await
    }

    /// Behind the real nginx, as the documentation configures it; `None` where it is not installed.
    pub(super) async fn behind_nginx(store: &str, replicas: usize, token_life: u64) -> Option<Self> {
        let (port, ports) = (free_port(), (0..replicas).map(|_| free_port()).collect::<Vec<_>>());
        let nginx = Nginx::documented(include_str!("../../../src/docs/deployment.md"), &ports, port).await?;
        let front = Front::Nginx(Box::new(nginx));
        Some(Self::behind(front, port, ports, &[("TOKEN_STORE", store)], token_life).await)
    }

    async fn behind(front: Front, port: u16, ports: Vec<u16>, own: &[(&'static str, &str)], token_life: u64) -> Self {
        let net = Net::new();
        let origin = || format!("http://localhost:{}", free_port());
        let (op_origin, api_origin) = (origin(), origin());
        let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let op = LyingProvider::with_clock(&net, &op_origin, Arc::new(seconds));
        op.set(|op| {
            op.access_token_lifetime = token_life;
            // The provider counts in whole seconds, so that a token could end one earlier than it says, and a busy
            // machine may need another between two calls.
            op.leeway = 5;
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
        let op_door = expose(&net, &op_origin).await;
        expose(&net, &api_origin).await;
        let mut environment = vec![
            ("PUBLIC_URL", app_url(port)),
            ("OIDC_ISSUER", op_origin),
            ("OIDC_CLIENT_ID", CLIENT_ID.to_owned()),
            ("OIDC_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("API_URL", format!("{api_origin}/cal")),
            ("SESSION_SECRET", "one secret for all replicas: 32 bytes and more".to_owned()),
            ("RUST_LOG", "tower_oidc=info".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        environment.extend(own.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let replicas = ports.into_iter().map(|port| (port, None)).collect();
        let (url, logs, of_first) = (app_url(port), Vec::new(), Vec::new());
        let mut cluster = Self { net, op, op_door, front, replicas, environment, of_first, url, logs };
        for replica in 0..cluster.replicas.len() {
            cluster.run(replica).await;
        }
        cluster
    }

    /// Starts a replica that does not run.
    pub(super) async fn run(&mut self, replica: usize) {
        let own = self.of_first.iter().filter(|_| replica == 0);
        let environment = self.environment.iter().chain(own).map(|(name, value)| (*name, value.as_str()));
        let environment: Vec<_> = environment.collect();
        let port = self.replicas[replica].0;
        self.replicas[replica].1 = Some(Demo::start_at(port, &environment).await);
    }

    /// Starts the first replica anew with more in its environment.
    pub(super) async fn restart_first_with(&mut self, environment: Vec<(&'static str, String)>) {
        self.of_first = environment;
        self.retire(0).await;
        self.run(0).await;
    }

    /// The time of day by the first replica's clock, in seconds.
    pub(super) async fn time_at_first(&self) -> i64 {
        let page = Client::new().get(&format!("{}/who", app_url(self.replicas[0].0))).await;
        let date = page.headers[DATE].to_str().expect("a printable date");
        let time = date.split(' ').nth(4).expect("a time").split(':');
        time.fold(0, |sum, part| sum * 60 + part.parse::<i64>().expect("a number"))
    }

    /// SIGKILL.
    pub(super) async fn kill(&mut self, replica: usize) {
        if let Some(demo) = self.replicas[replica].1.take() {
            self.logs.push(demo.kill().await);
        }
    }

    /// SIGTERM, which drains. Our own balancer hears of it first; nginx finds out by itself.
    pub(super) async fn replace(&mut self, replica: usize) {
        let others: Vec<u16> = self.ports().into_iter().filter(|port| *port != self.replicas[replica].0).collect();
        self.forward_to(&others);
        // Connections that were on their way arrive: what an orchestrator waits for before it stops a process. They are
        // taken in turn: whatever came before this one has been when it is answered.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Client::new().get(&format!("{}/who", app_url(self.replicas[replica].0))).await;
        self.retire(replica).await;
        self.run(replica).await;
        self.forward_to(&self.ports());
    }

    async fn retire(&mut self, replica: usize) {
        if let Some(demo) = self.replicas[replica].1.take() {
            self.logs.push(demo.retire().await);
        }
    }

    /// Ends it all and tells, for each person, what the provider saw beside what the processes say.
    pub(super) async fn spending(mut self) -> BTreeMap<String, Spending> {
        for replica in 0..self.replicas.len() {
            self.retire(replica).await;
        }
        let mut spending: BTreeMap<String, Spending> = BTreeMap::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for refresh in self.op.refreshes() {
            let token = refresh.refresh_token.expect("a refresh names its token");
            let name = self.op.owner_of_refresh_token(&token).expect("everybody's are known");
            let of = spending.entry(name).or_default();
            of.answered += usize::from(refresh.outcome.is_ok());
            let times = seen.entry(token).or_default();
            of.again += usize::from(*times > 0);
            *times += 1;
        }
        let written = self.logs.iter().flat_map(|log| log.lines()).filter_map(|line| {
            let (_, subject) = line.split_once("code=\"refresh.succeeded\" subject=\"")?;
            subject.split('"').next()
        });
        for name in written {
            spending.entry(name.to_owned()).or_default().written += 1;
        }
        spending
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
