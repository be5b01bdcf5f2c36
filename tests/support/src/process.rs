//! Real processes that end with the test that started them: the demo and `oidc-provider`.
//!
//! Nothing here sleeps for luck: a process is ready when it says or answers so, within a deadline.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::folder::repository;
use super::http::Client;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the named variable of `tests/run.sh` says, or `None` and a visible line: this test is skipped.
pub fn requirement(variable: &str, what: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty()).or_else(|| missing(what))
}

/// Says that this test is skipped. Under `TOWER_OIDC_REQUIRE_ALL` a skip is a failure.
pub fn missing<T>(what: &str) -> Option<T> {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: needs {what}; run tests/run.sh\n", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("TOWER_OIDC_REQUIRE_ALL").is_none(), "{line}");
    // Not `eprintln!`, which the test harness swallows when a test passes.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
    None
}

/// A port of 127.0.0.1 that nobody listens on and that no other call of this process is given. It lies
/// below the range from which the system picks the ports of outgoing connections.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side start in different places.
    let start = u16::try_from(std::process::id().wrapping_mul(101) % u32::from(COUNT)).expect("fits");
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port")
}

/// Tries until `attempt` yields something, at most `limit`.
pub async fn eventually<T>(what: &str, limit: Duration, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A child process with its output; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    _stdin: Option<ChildStdin>,
    output: watch::Receiver<String>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let (sender, output) = watch::channel(String::new());
        let sender = Arc::new(sender);
        tokio::spawn(pump(child.stdout.take().expect("piped"), sender.clone()));
        tokio::spawn(pump(child.stderr.take().expect("piped"), sender));
        Self { name, _stdin: child.stdin.take(), child, output }
    }

    /// Everything it has written, stdout and stderr together.
    pub fn output(&self) -> String {
        self.output.borrow().clone()
    }

    /// Waits until `find` finds something in what it has written.
    pub async fn says<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let said = self.says_within(PATIENCE, find).await;
        said.unwrap_or_else(|| panic!("{} is not ready:\n{}", self.name, self.output()))
    }

    async fn says_within<T>(&mut self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let ready = async { self.output.wait_for(|text| find(text).is_some()).await.is_ok() };
        let _ = timeout(limit, ready).await;
        find(&self.output())
    }

    /// Kills it and waits until it is gone.
    pub async fn stop(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Everything that it has written, once it has ended.
    async fn last_words(mut self) -> String {
        while self.output.changed().await.is_ok() {}
        self.output()
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, to: Arc<watch::Sender<String>>) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        to.send_modify(|text| text.push_str(&String::from_utf8_lossy(&buffer[..count])));
    }
}

/// `examples/demo` as a process, with the environment its documentation names.
pub struct Demo {
    process: Process,
    url: String,
}

impl Demo {
    pub async fn start(env: &[(&str, &str)]) -> Self {
        Self::start_at(free_port(), env).await
    }

    /// At a chosen port, where the provider has to know the application's URL first.
    pub async fn start_at(port: u16, env: &[(&str, &str)]) -> Self {
        let mut demo = Self { process: Process::start(&mut demo_command(port, env)), url: app_url(port) };
        let who = demo.at("/who");
        eventually("the demo answers", PATIENCE, async || {
            let ended = demo.process.child.try_wait().expect("a process has a state");
            assert!(ended.is_none(), "the demo ended, {ended:?}:\n{}", demo.output());
            Client::new().try_get(&who).await.ok()
        })
        .await;
        demo
    }

    /// The URL of one of its paths.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
        port.expect("its URL names a port")
    }

    /// Tells it to stop, as a deploy does.
    pub fn terminate(&self) {
        let id = self.process.child.id().expect("it is running").to_string();
        let told = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.expect("kill is there").success());
    }

    /// How long processors have worked for it so far.
    pub fn processor_time(&self) -> Duration {
        let id = self.process.child.id().expect("it is running");
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("Linux says");
        // Behind the name in brackets: `utime` and `stime` are the 12th and 13th, in hundredths of a second.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>());
        Duration::from_millis(10 * ticks.sum::<Result<u64, _>>().expect("numbers"))
    }

    pub fn is_running(&mut self) -> bool {
        self.process.child.try_wait().expect("a process has a state").is_none()
    }

    /// Waits until it has ended by itself, and returns its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(PATIENCE, self.process.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.output()));
        ended.expect("a process has a state").code()
    }

    /// Its log, at the level `trace`.
    pub fn output(&self) -> String {
        self.process.output()
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }

    /// Kills it, and returns all of its log.
    pub async fn kill(mut self) -> String {
        self.process.child.kill().await.expect("it can be killed");
        self.process.last_words().await
    }

    /// Tells it to stop, as a deploy does, and returns all of its log.
    pub async fn retire(mut self) -> String {
        self.terminate();
        assert_eq!(self.ended().await, Some(0), "it drains and ends:\n{}", self.output());
        self.process.last_words().await
    }
}

/// What the demo says when it does not start with this environment.
pub async fn demo_refuses(env: &[(&str, &str)]) -> String {
    let output = timeout(PATIENCE, demo_command(free_port(), env).kill_on_drop(true).output());
    let output = output.await.expect("it ends").expect("it starts");
    let says = [output.stdout, output.stderr].concat();
    let says = String::from_utf8_lossy(&says).into_owned();
    assert!(!output.status.success(), "it ended in peace: {says}");
    says
}

/// The status with which the demo ends after it was called so, and what it says on the standard output.
pub async fn demo_checks(arguments: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = demo_command(free_port(), env);
    let output = timeout(PATIENCE, command.args(arguments).kill_on_drop(true).output());
    let output = output.await.expect("it ends").expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn demo_command(port: u16, env: &[(&str, &str)]) -> Command {
    const INHERITED: [&str; 5] = ["HOME", "LLVM_PROFILE_FILE", "PATH", "RUST_BACKTRACE", "TMPDIR"];
    let mut command = Command::new(example("demo"));
    command.env_clear().envs(std::env::vars().filter(|(name, _)| INHERITED.contains(&name.as_str())));
    command.env("BIND", format!("127.0.0.1:{port}")).env("PUBLIC_URL", app_url(port)).env("RUST_LOG", "trace");
    command.envs(env.iter().copied());
    command
}

/// Where a demo at this port is reached. Providers live on `localhost`, which is another site.
pub fn app_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// An example that `cargo build --examples` has built. (`cargo test -p tower-oidc-tests` alone builds none.)
fn example(name: &str) -> PathBuf {
    let this_test = std::env::current_exe().expect("a test is a file");
    let profile = this_test.ancestors().nth(2).expect("target/PROFILE/deps/it");
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: cargo build --all-features --example {name}", path.display());
    path
}

/// The npm package `oidc-provider`, configured in `real_provider/oidc-provider.mjs`.
pub struct RealProvider {
    process: Process,
    /// Its issuer identifier, on `localhost`.
    pub issuer: String,
}

impl RealProvider {
    /// Starts it for an application at `app_url`; `None` where `tests/run.sh` has not installed it.
    pub async fn start(app_url: &str, env: &[(&str, &str)]) -> Option<Self> {
        let modules = requirement("TOWER_OIDC_NODE_MODULES", "node and the npm package oidc-provider")?;
        let script = repository().join("tests/it/real_provider/oidc-provider.mjs");
        let mut command = Command::new("node");
        command.arg(script).env("NODE_MODULES", modules).env("APP_URL", app_url).envs(env.iter().copied());
        // Now and then node hangs at its start on a busy machine; that is not what is tested here.
        for _ in 0..2 {
            let mut process = Process::start(&mut command);
            if let Some(issuer) = process.says_within(PATIENCE / 3, issuer_in).await {
                return Some(Self { process, issuer });
            }
        }
        let mut process = Process::start(&mut command);
        let issuer = process.says(issuer_in).await;
        Some(Self { process, issuer })
    }

    /// What it saw of one kind, in order: objects with `event`, `client` and what belongs to the kind.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        self.all_events().await.into_iter().filter(|event| event["event"] == kind).collect()
    }

    /// Everything it refused, a refresh token that came twice included.
    pub async fn complaints(&self) -> Vec<Value> {
        self.all_events().await.into_iter().filter(|event| event.get("error").is_some()).collect()
    }

    async fn all_events(&self) -> Vec<Value> {
        let page = Client::new().get(&format!("{}/events", self.issuer)).await;
        serde_json::from_value(page.json()).expect("a list")
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// The issuer in the provider's readiness line.
fn issuer_in(output: &str) -> Option<String> {
    let ready: Value = output.lines().find_map(|line| serde_json::from_str(line).ok())?;
    Some(ready["issuer"].as_str()?.to_owned())
}
