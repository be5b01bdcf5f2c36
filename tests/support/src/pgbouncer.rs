//! A pgBouncer of one's own before a PostgreSQL: in transaction mode, on an ephemeral port, gone with the test.

use super::keeper::Keeper;
use super::postgres::{PASSWORD, Postgres, as_ordinary_user};
use super::process::{free_port, missing};

/// `$1`: its port, `$2`: the server's port, `$3`: the password. pgBouncer refuses root, as PostgreSQL does.
/// Versions before 1.21 know no prepared statements, and refuse the setting.
const KEEPER: &str = r#"
trap '' INT TERM HUP
umask 077
PATH=$PATH:/usr/sbin
dir=$(mktemp -d "${TMPDIR:-/tmp}/tower-oidc-pgbouncer.XXXXXX") && cd "$dir" || exit 1
: >log
printf '"test" "%s"\n' "$3" >users
cat >ini <<END
[databases]
* = host=127.0.0.1 port=$2
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $1
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users
pool_mode = transaction
default_pool_size = 2
END
case $(pgbouncer --version) in
  *' 1.1'[0-9].* | *' 1.20.'*) ;;
  *) echo 'max_prepared_statements = 0' >>ini ;;
esac
begin() {
  setpriv --pdeathsig KILL pgbouncer ini >log 2>&1 </dev/null &
  server=$!
  until grep -q 'process up' log; do
    kill -0 $server 2>/dev/null || { cat log >&2; return 1; }
    sleep 0.02
  done
}
end() { [ -z "$server" ] || { kill -s KILL $server; wait $server; server=; }; } 2>/dev/null
while read -r command; do
  case $command in
    start) begin "$@" && echo done || echo failed ;;
  esac
done
end
cd /
rm -rf "$dir"
"#;

/// A running pgBouncer with two connections to the server for each database: whoever leaves something on a connection is
/// soon found out. It ends when this is dropped.
pub struct PgBouncer {
    port: u16,
    server: u16,
    _keeper: Keeper,
}

impl PgBouncer {
    /// `None` and a visible line where pgBouncer is not installed.
    pub fn before(server: &Postgres) -> Option<Self> {
        let installed = std::process::Command::new("sh")
            .args(["-c", "PATH=$PATH:/usr/sbin; command -v pgbouncer"])
            .output()
            .is_ok_and(|found| found.status.success());
        if !installed {
            return missing("pgBouncer");
        }
        let port = free_port();
        let mut shell = as_ordinary_user();
        shell.args(["sh", "-c", KEEPER, "pgbouncer", &port.to_string(), &server.port().to_string(), PASSWORD]);
        Some(Self { port, server: server.port(), _keeper: Keeper::start("pgBouncer", &mut shell) })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database of the server, led through here.
    pub fn url(&self, url: &str) -> String {
        let led = url.replace(&format!(":{}/", self.server), &format!(":{}/", self.port));
        assert_ne!(led, url, "the URL names the port");
        led
    }
}
