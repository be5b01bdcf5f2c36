//! The proxy in front of a server that says back what it hears.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::proxy::{Proxy, Wire};

const LONG: Duration = Duration::from_secs(30);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(200);

async fn proxy() -> Proxy {
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = copy(&mut from, &mut to).await;
            });
        }
    });
    Proxy::before(port).await
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    say(&mut stream, "hello").await;
    hears(&mut stream, "hello").await;
    stream
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hears(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    timeout(LONG, stream.read_exact(&mut heard)).await.expect("in time").expect("it is open");
    assert_eq!(String::from_utf8(heard).unwrap(), text);
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(SILENCE, stream.read(&mut byte)).await.is_err(), "{byte:?}");
}

#[tokio::test]
async fn what_freezes_arrives_when_it_thaws() {
    let proxy = proxy().await;
    let mut stands = connect(&proxy).await;
    proxy.set(Wire::Frozen);
    say(&mut stands, "late").await;
    let mut new = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    say(&mut new, "too").await;
    hears_nothing(&mut stands).await;
    hears_nothing(&mut new).await;
    proxy.heal();
    hears(&mut stands, "late").await;
    hears(&mut new, "too").await;
    assert_eq!(proxy.made(), 2);
}

#[tokio::test]
async fn what_stands_freezes_for_good_and_new_connections_pass() {
    let proxy = proxy().await;
    let mut stands = connect(&proxy).await;
    proxy.freeze_standing();
    say(&mut stands, "never").await;
    connect(&proxy).await;
    proxy.heal();
    hears_nothing(&mut stands).await;
}

#[tokio::test]
async fn connections_are_reset_until_it_heals() {
    let proxy = proxy().await;
    let mut stands = connect(&proxy).await;
    proxy.set(Wire::Reset);
    let gone = timeout(LONG, stands.read(&mut [0])).await.unwrap();
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut new = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let gone = timeout(LONG, new.read(&mut [0])).await.unwrap();
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.heal();
    connect(&proxy).await;
}

#[tokio::test]
async fn answers_to_what_is_named_are_dropped() {
    let proxy = proxy().await;
    let mut stands = connect(&proxy).await;
    proxy.set(Wire::AnswersDropped(&["secret word"]));
    say(&mut stands, "other words").await;
    hears(&mut stands, "other words").await;
    say(&mut stands, "the secret").await;
    hears(&mut stands, "the secret").await;
    say(&mut stands, " word").await;
    assert_eq!(timeout(LONG, stands.read(&mut [0])).await.unwrap().unwrap(), 0, "it is closed");
}

#[tokio::test]
async fn what_is_slow_arrives_later() {
    let proxy = proxy().await;
    let mut stands = connect(&proxy).await;
    proxy.set(Wire::Delayed(Duration::from_millis(100)));
    let began = Instant::now();
    say(&mut stands, "there and back").await;
    hears(&mut stands, "there and back").await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    proxy.set(Wire::Trickling);
    let began = Instant::now();
    say(&mut stands, "12345678").await;
    hears(&mut stands, "12345678").await;
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}
