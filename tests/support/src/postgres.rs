//! PostgreSQL servers of one's own: a private cluster on an ephemeral port, gone with the test run.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use tokio_postgres::NoTls;

use super::keeper::Keeper;
use super::net::lock;
use super::process::{free_port, missing};

/// What the server asks everybody for, with everything that a URL must percent-encode.
pub const PASSWORD: &str = "the p@ss/w?rd:#100%";
pub const ENCODED_PASSWORD: &str = "the%20p%40ss%2Fw%3Frd%3A%23100%25";

/// `$1`: where the binaries are, `$2`: the port, `$3`: the password, `$4` and `$5`: certificate and key, or nothing,
/// `$6`: whether it waits for the disk, `$7`: the port of the primary that it replicates, or nothing.
/// PostgreSQL refuses root, so that root becomes `postgres` before this runs.
const KEEPER: &str = r#"
trap '' INT TERM HUP
umask 077
dir=$(mktemp -d "${TMPDIR:-/tmp}/tower-oidc-postgres.XXXXXX") && cd "$dir" || exit 1
printf %s "$3" >password
if [ -z "$7" ]; then
  "$1/initdb" -D data -U test -A scram-sha-256 --pwfile=password --no-sync -E UTF8 --locale=C >log 2>&1
else
  PGPASSWORD=$3 "$1/pg_basebackup" -D data -U test -h 127.0.0.1 -p "$7" -R -X stream -c fast --no-sync >log 2>&1
fi || { cat log >&2; cd /; rm -rf "$dir"; exit 1; }
ssl=off
[ -z "$4" ] || { printf %s "$4" >data/server.crt; printf %s "$5" >data/server.key; ssl=on; }
begin() {
  setpriv --pdeathsig QUIT "$1/postgres" -D data -p "$2" -c listen_addresses=127.0.0.1 -c ssl=$ssl \
    -c unix_socket_directories= -c max_connections=1000 -c fsync="$3" >>log 2>&1 </dev/null &
  server=$!
  until "$1/pg_isready" -q -h 127.0.0.1 -p "$2" -t 1; do
    kill -0 $server 2>/dev/null || { cat log >&2; return 1; }
    sleep 0.02
  done
}
end() { [ -z "$server" ] || { kill -s "$1" $server; wait $server; server=; }; }
while read -r command; do
  case $command in
    start) begin "$1" "$2" "$6" && echo done || echo failed ;;
    stop) end INT; echo done ;;
    crash) end QUIT; echo done ;;
    promote) "$1/pg_ctl" promote -w -s -D data && echo done || echo failed ;;
  esac
done
end QUIT
cd /
rm -rf "$dir"
"#;

/// A running server. It ends when this is dropped.
pub struct Postgres {
    port: u16,
    keeper: Keeper,
    databases: AtomicU32,
    /// The names of those that a test has done with.
    free: Mutex<Vec<String>>,
}

impl Postgres {
    /// The server of this test run, started by whoever asks first; `None` and a visible line where PostgreSQL is
    /// not installed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        let binaries = installed()?;
        Some(SHARED.get_or_init(|| Self::begin(&binaries, ["", ""], "off", None)))
    }

    /// A server of one's own, to be stopped and started.
    pub fn start() -> Option<Self> {
        Some(Self::begin(&installed()?, ["", ""], "off", None))
    }

    /// One that offers TLS with this certificate chain and key, in PEM.
    pub fn with_tls(certificate: &str, key: &str) -> Option<Self> {
        Some(Self::begin(&installed()?, [certificate, key], "off", None))
    }

    /// One that waits for the disk as a real one does, to be measured.
    pub fn durable() -> Option<Self> {
        Some(Self::begin(&installed()?, ["", ""], "on", None))
    }

    fn begin(binaries: &Path, tls: [&str; 2], fsync: &str, primary: Option<u16>) -> Self {
        let port = free_port();
        let mut shell = as_ordinary_user();
        shell
            .args(["sh", "-c", KEEPER, "postgres"])
            .arg(binaries)
            .args([&port.to_string(), PASSWORD])
            .args(tls)
            .arg(fsync)
            .arg(primary.map(|port| port.to_string()).unwrap_or_default());
        Self {
            port,
            keeper: Keeper::start("PostgreSQL", &mut shell),
            databases: AtomicU32::new(0),
            free: Mutex::default(),
        }
    }

    /// An empty database, by its URL: one that a test has given back, or a new one. A new one is ten megabytes on the disk, and
    /// a disk that is busy with those of a thousand tests answers some of them too late.
    pub async fn database(&self) -> String {
        let given_back = lock(&self.free).pop();
        if let Some(name) = given_back {
            let others =
                format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'");
            self.execute("postgres", &others).await;
            self.execute(&name, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            return self.url(&name);
        }
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Takes back a database of [`database`](Self::database), for the next test.
    pub fn give_back(&self, url: &str) {
        let name = url.rsplit('/').next().expect("a URL names its database");
        lock(&self.free).push(name.to_owned());
    }

    /// A replica of this server. Each commit here waits from now on until it is there, too.
    pub async fn replica(&self) -> Self {
        let binaries = installed().expect("this server was started from there");
        let replica = Self::begin(&binaries, ["", ""], "off", Some(self.port));
        for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            self.execute("postgres", statement).await;
        }
        replica
    }

    /// Makes a replica the primary.
    pub fn promote(&self) {
        self.keeper.tell("promote");
    }

    async fn execute(&self, database: &str, statements: &str) {
        let (client, connection) =
            tokio_postgres::connect(&self.url(database), NoTls).await.expect("the server is there");
        let connection = tokio::spawn(connection);
        client.batch_execute(statements).await.expect("the statements are right");
        drop(client);
        connection.await.expect("no panic").expect("a clean end");
    }

    /// The URL of the named database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://test:{ENCODED_PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as an operator does: connections are told, transactions rolled back. Its data stays.
    pub fn stop(&self) {
        self.keeper.tell("stop");
    }

    /// Stops it as a crash does. What was committed stays.
    pub fn crash(&self) {
        self.keeper.tell("crash");
    }

    /// Starts it again after [`stop`](Self::stop) or [`crash`](Self::crash), and returns when it answers.
    pub fn resume(&self) {
        self.keeper.tell("start");
    }
}

/// Where the binaries are; `None` and a visible line where they are not.
fn installed() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    // Debian keeps them apart, a folder for each version.
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    let found = on_path
        .into_iter()
        .chain(versions.into_iter().rev())
        .find(|bin| ["initdb", "postgres", "pg_isready"].iter().all(|name| bin.join(name).is_file()));
    found.or_else(|| missing("PostgreSQL"))
}

pub(super) fn as_ordinary_user() -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.env_remove("PGOPTIONS").env("LC_ALL", "C");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id is there");
    OsStr::new(String::from_utf8_lossy(&id.stdout).trim()) == "0"
}
