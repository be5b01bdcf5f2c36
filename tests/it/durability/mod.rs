//! What survives: processes that are restarted, killed or given other secrets, and databases that stop, hang, are read,
//! changed or lost. On every database.

mod kill;
mod outage;
mod restart;
mod rotation;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::support::database::Database;
use crate::support::http::Client;
use crate::support::net::Net;
use crate::support::process::{Demo, app_url, eventually, free_port};
use crate::support::provider::keys::Alg;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::resource::ResourceServer;
use crate::support::socket::expose;

const SECRET: &str = "the sealing secret A of the tests of 32 bytes and more";
/// For what takes as long as it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A provider and an API on real sockets, with the machine's time, and a database: what processes of the demo need.
struct Town {
    op: LyingProvider,
    api_url: String,
    store: String,
    /// Where all of its processes believe to be reached.
    public_port: u16,
    _database: Option<Database>,
}

impl Town {
    async fn new(database: Database) -> Self {
        let store = database.url.clone();
        Self { _database: Some(database), ..Self::over(store).await }
    }

    /// Over what a `TOKEN_STORE` names.
    async fn over(store: String) -> Self {
        let net = Net::new();
        let [issuer, api_at] = [(); 2].map(|()| format!("http://localhost:{}", free_port()));
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let op = LyingProvider::with_clock(&net, &issuer, Arc::new(now));
        op.set(|op| {
            // The provider counts in whole seconds, so that a token could end one earlier than it says, and a busy
            // machine may need another between two calls.
            op.leeway = 5;
            // RSA signs a hundred times slower.
            op.signing = Alg::Es256;
        });
        ResourceServer::start(&net, &api_at, op.resource_owners());
        expose(&net, &issuer).await;
        expose(&net, &api_at).await;
        Self { op, api_url: format!("{api_at}/cal/"), store, public_port: free_port(), _database: None }
    }

    /// The process that everybody knows.
    async fn demo(&self, secrets: &str, env: &[(&str, &str)]) -> Demo {
        self.demo_at(self.public_port, secrets, env).await
    }

    /// Another process of the same application.
    async fn demo_at(&self, port: u16, secrets: &str, env: &[(&str, &str)]) -> Demo {
        let public_url = app_url(self.public_port);
        let common = [
            ("PUBLIC_URL", public_url.as_str()),
            ("OIDC_ISSUER", self.op.issuer()),
            ("OIDC_CLIENT_ID", CLIENT_ID),
            ("OIDC_CLIENT_SECRET", CLIENT_SECRET),
            ("API_URL", &self.api_url),
            ("TOKEN_STORE", &self.store),
            ("SESSION_SECRET", secrets),
            ("RUST_LOG", "tower_oidc=info"),
        ];
        Demo::start_at(port, &[&common, env].concat()).await
    }

    /// A browser in which this person is signed in, at the provider too.
    async fn sign_in(&self, demo: &Demo, name: &str) -> Person {
        self.op.user(name, |user| user.sub = format!("subject-of-{name}"));
        let mut client = Client::new();
        client.visit(&format!("{}/signin?user={name}", self.op.issuer())).await;
        let mut person = Person { name: name.to_owned(), client };
        let page = person.client.visit(&demo.at("/auth/login?return_to=/who")).await;
        assert_eq!(page.json()["sub"], person.subject(), "{page:?}");
        assert_eq!(person.api(demo.at("")).await, "fetched");
        person
    }

    async fn people(&self, demo: &Demo, count: usize) -> Vec<Person> {
        let mut people = Vec::new();
        for number in 0..count {
            people.push(self.sign_in(demo, &format!("person{number}")).await);
        }
        people
    }
}

/// Somebody with a browser.
struct Person {
    name: String,
    client: Client,
}

impl Person {
    fn subject(&self) -> String {
        format!("subject-of-{}", self.name)
    }

    /// What `/who` says at this process, in a word: `known`, `nobody`, or what else it is.
    async fn who(&mut self, process: String) -> String {
        let subject = self.subject();
        match self.client.try_get(&format!("{process}/who")).await {
            Err(_) => "no process".to_owned(),
            Ok(page) if page.status == 503 && page.headers.contains_key("retry-after") => "away".to_owned(),
            Ok(page) if page.status == 200 && page.json().is_null() => "nobody".to_owned(),
            Ok(page) if page.status == 200 && page.json()["sub"] == subject => "known".to_owned(),
            Ok(page) => format!("{page:?}"),
        }
    }

    /// What comes of a call to the API with their token: `fetched`, `away`, a problem's code, or what else it is.
    async fn api(&mut self, process: String) -> String {
        match self.client.try_get(&format!("{process}/api")).await {
            Err(_) => "no process".to_owned(),
            Ok(page) if page.status == 503 && page.headers.contains_key("retry-after") => "away".to_owned(),
            Ok(page) if page.status == 200 && page.json()["owner"] == *self.name => "fetched".to_owned(),
            Ok(page) if matches!(page.status.as_u16(), 401 | 403) => page.json()["code"].to_string(),
            Ok(page) => format!("{page:?}"),
        }
    }
}

/// How often what was said.
type Tally = BTreeMap<String, usize>;

/// People who ask all processes in turn, again and again, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<(Person, Tally)>>,
}

impl Load {
    fn of(people: Vec<Person>, processes: &[&Demo]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let processes: Vec<String> = processes.iter().map(|demo| demo.at("")).collect();
        let asks = |mut person: Person| {
            let (stop, processes) = (Arc::clone(&stop), processes.clone());
            async move {
                let mut tally = Tally::new();
                for process in processes.iter().cycle() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    for said in [person.who(process.clone()).await, person.api(process.clone()).await] {
                        if said == "no process" {
                            // It is being restarted. A balancer asks another one, and so does this loop.
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        *tally.entry(said).or_default() += 1;
                    }
                }
                (person, tally)
            }
        };
        let tasks = people.into_iter().map(|person| tokio::spawn(asks(person))).collect();
        Self { stop, tasks }
    }

    /// What all of them were told.
    async fn end(self) -> (Vec<Person>, Tally) {
        self.stop.store(true, Ordering::SeqCst);
        let (mut people, mut total) = (Vec::new(), Tally::new());
        for task in self.tasks {
            let (person, tally) = task.await.expect("no panic");
            people.push(person);
            for (said, count) in tally {
                *total.entry(said).or_default() += count;
            }
        }
        (people, total)
    }
}

impl Town {
    /// Until this many more tokens were refreshed.
    async fn refreshes(&self, more: usize) {
        let before = self.op.refreshes().len();
        let what = format!("{more} refreshes");
        eventually(&what, PATIENCE, async || (self.op.refreshes().len() >= before + more).then_some(())).await;
    }
}

/// A deploy: it finishes what it has begun.
async fn retire(mut demo: Demo) {
    demo.terminate();
    assert_eq!(demo.ended().await, Some(0), "{}", demo.output());
}
