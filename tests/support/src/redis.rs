//! Redis servers of one's own: on an ephemeral port, gone with the test run.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use redis::aio::MultiplexedConnection;

use super::keeper::Keeper;
use super::process::{free_port, missing};

/// What the server asks everybody for, with everything that a URL must percent-encode.
pub const PASSWORD: &str = "the p@ss/w?rd:#100%";
pub const ENCODED_PASSWORD: &str = "the%20p%40ss%2Fw%3Frd%3A%23100%25";

/// `$1`: the port, `$2`: the password, `$3` and `$4`: certificate and key, or nothing; then options of the server.
const KEEPER: &str = r#"
trap '' INT TERM HUP
umask 077
dir=$(mktemp -d "${TMPDIR:-/tmp}/tower-oidc-redis.XXXXXX") && cd "$dir" || exit 1
port=$1 password=$2
listen="--port $port" tls=
[ -z "$3" ] || {
  printf %s "$3" >server.crt; printf %s "$4" >server.key
  listen="--port 0 --tls-port $port --tls-cert-file server.crt --tls-key-file server.key --tls-auth-clients no"
  tls='--tls --insecure --cert server.crt --key server.key'
}
shift 4
begin() {
  setpriv --pdeathsig KILL redis-server $listen --bind 127.0.0.1 --save '' --appendonly yes --databases 4096 \
    --requirepass "$password" "$@" >>log 2>&1 </dev/null &
  server=$!
  until [ "$(REDISCLI_AUTH=$password redis-cli $tls -p "$port" ping 2>/dev/null)" = PONG ]; do
    kill -0 $server 2>/dev/null || { cat log >&2; return 1; }
    sleep 0.02
  done
}
end() { [ -z "$server" ] || { kill -s "$1" $server; wait $server; server=; }; } 2>/dev/null
while read -r command; do
  case $command in
    start) begin "$@" && echo done || echo failed ;;
    stop) end TERM; echo done ;;
    crash) end KILL; echo done ;;
  esac
done
end KILL
cd /
rm -rf "$dir"
"#;

/// A running server that writes everything to its append-only file. It ends when this is dropped.
pub struct Redis {
    port: u16,
    keeper: Keeper,
    databases: AtomicU32,
}

impl Redis {
    /// The server of this test run, started by whoever asks first; `None` and a visible line where Redis is not
    /// installed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        is_installed().then(|| SHARED.get_or_init(|| Self::begin(["", ""], &[])))
    }

    /// A server of one's own, to be stopped and started.
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// One with options of one's own.
    pub fn with(options: &[&str]) -> Option<Self> {
        is_installed().then(|| Self::begin(["", ""], options))
    }

    /// One that speaks TLS only, with this certificate and key, in PEM.
    pub fn with_tls(certificate: &str, key: &str) -> Option<Self> {
        is_installed().then(|| Self::begin([certificate, key], &[]))
    }

    /// One that wants this certificate of its clients, too.
    pub fn with_client_certificate(certificate: &str, key: &str) -> Option<Self> {
        let options = ["--tls-auth-clients", "yes", "--tls-ca-cert-file", "server.crt"];
        is_installed().then(|| Self::begin([certificate, key], &options))
    }

    fn begin(tls: [&str; 2], options: &[&str]) -> Self {
        let port = free_port();
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, "redis", &port.to_string(), PASSWORD]).args(tls).args(options);
        Self { port, keeper: Keeper::start("Redis", &mut shell), databases: AtomicU32::new(0) }
    }

    /// A new, empty database, by its URL.
    pub fn database(&self) -> String {
        self.url(self.databases.fetch_add(1, Ordering::Relaxed))
    }

    /// The URL of a database.
    pub fn url(&self, database: u32) -> String {
        format!("redis://:{ENCODED_PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as an operator does.
    pub fn stop(&self) {
        self.keeper.tell("stop");
    }

    /// Stops it as a crash does.
    pub fn crash(&self) {
        self.keeper.tell("crash");
    }

    /// Starts it again after [`stop`](Self::stop) or [`crash`](Self::crash), and returns when it answers.
    pub fn resume(&self) {
        self.keeper.tell("start");
    }
}

/// A connection of the test's own to a database.
pub async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("the server is there")
}

fn is_installed() -> bool {
    let found = ["redis-server", "redis-cli"].iter().all(|name| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
    });
    found || missing::<()>("Redis").is_some()
}
