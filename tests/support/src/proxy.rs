//! A TCP proxy that spoils what passes, in front of a real server.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// What happens to every connection while it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Everything passes.
    Sound,
    /// Nothing passes, and no connection ends. What was on its way arrives once this is over.
    Frozen,
    /// Connections are reset, and so is each new one.
    Reset,
    /// Each piece arrives this much later.
    Delayed(Duration),
    /// A request that contains one of these texts reaches the server. Its connection closes when the answer comes.
    AnswersDropped(&'static [&'static str]),
    /// The same for one answer. Everything passes afterwards.
    AnswerDropped(&'static [&'static str]),
    /// Eight bytes pass in a second, each way.
    Trickling,
}

/// The proxy. It ends, with every connection through it, when this is dropped.
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy)]
struct State {
    wire: Wire,
    /// The port to which new connections lead.
    server: u16,
    /// How many connections were made.
    made: u64,
    /// Connections with a lower number are frozen for good.
    frozen_below: u64,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

impl Proxy {
    /// A sound one, in front of this port of 127.0.0.1.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = watch::Sender::new(State { wire: Wire::Sound, server, made: 0, frozen_below: 0 });
        let accepting = accept(listener, state.clone());
        Self { port, state, _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a server on `port`, led through here.
    pub fn url(&self, url: &str, port: u16) -> String {
        let led = url.replace(&format!(":{port}/"), &format!(":{}/", self.port));
        assert_ne!(led, url, "the URL names the port");
        led
    }

    /// From now on this happens to every connection.
    pub fn set(&self, wire: Wire) {
        self.state.send_modify(|state| state.wire = wire);
    }

    /// From now on everything passes, except on connections that [`freeze_standing`](Self::freeze_standing) met.
    pub fn heal(&self) {
        self.set(Wire::Sound);
    }

    /// Freezes the connections that stand, for good. What they send is acknowledged and goes nowhere. New connections
    /// are not concerned.
    pub fn freeze_standing(&self) {
        self.state.send_modify(|state| state.frozen_below = state.made);
    }

    /// Leads new connections to the server on this port, as a name does that is changed.
    pub fn lead_to(&self, server: u16) {
        self.state.send_modify(|state| state.server = server);
    }

    /// How many connections were made so far.
    pub fn made(&self) -> u64 {
        self.state.borrow().made
    }
}

async fn accept(listener: TcpListener, state: watch::Sender<State>) {
    let mut connections = JoinSet::new();
    while let Ok((outside, _)) = listener.accept().await {
        let (mut number, mut server) = (0, 0);
        state.send_modify(|state| {
            (number, server) = (state.made, state.server);
            state.made += 1;
        });
        let line = Line { number, state: state.clone(), spoiled: watch::Sender::new(false) };
        connections.spawn(connect(outside, server, line));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(mut outside: TcpStream, server: u16, line: Line) {
    let Ok(mut inside) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let _ = (outside.set_nodelay(true), inside.set_nodelay(true));
    let reset = {
        let (from_outside, to_outside) = outside.split();
        let (from_inside, to_inside) = inside.split();
        let mut state = line.state.subscribe();
        tokio::select! {
            _ = line.pass(from_outside, to_inside, Way::Request) => false,
            _ = line.pass(from_inside, to_outside, Way::Answer) => false,
            _ = state.wait_for(|state| state.wire == Wire::Reset) => true,
        }
    };
    if reset {
        let _ = outside.set_zero_linger();
    }
}

/// One connection through the proxy.
struct Line {
    number: u64,
    state: watch::Sender<State>,
    /// The next answer is to be dropped.
    spoiled: watch::Sender<bool>,
}

impl Line {
    async fn pass(
        &self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, way: Way,
    ) -> io::Result<()> {
        let mut state = self.state.subscribe();
        let mut buffer = [0; 16 * 1024];
        // The end of what came before: a text may arrive in two pieces.
        let mut seen = Vec::new();
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            let piece = &buffer[..count];
            let now = state.wait_for(|state| state.wire != Wire::Frozen).await;
            let now = *now.map_err(io::Error::other)?;
            if self.number < now.frozen_below {
                // What comes is taken and goes nowhere; the end of the connection is noticed.
                continue;
            }
            match now.wire {
                Wire::Delayed(by) => sleep(by).await,
                Wire::AnswersDropped(texts) | Wire::AnswerDropped(texts) if way == Way::Request => {
                    seen.extend_from_slice(piece);
                    let holds = |text: &&str| seen.windows(text.len()).any(|part| part == text.as_bytes());
                    if texts.iter().any(holds) {
                        self.spoiled.send_replace(true);
                    }
                    seen.drain(..seen.len().saturating_sub(32));
                }
                Wire::AnswersDropped(_) if *self.spoiled.borrow() => return Ok(()),
                Wire::AnswerDropped(_) if *self.spoiled.borrow() => {
                    self.state.send_modify(|state| state.wire = Wire::Sound);
                    return Ok(());
                }
                _ => {}
            }
            for part in piece.chunks(if now.wire == Wire::Trickling { 4 } else { piece.len() }) {
                to.write_all(part).await?;
                if now.wire == Wire::Trickling {
                    // It goes on as soon as this is over.
                    let over = state.wait_for(|state| state.wire != Wire::Trickling);
                    let _ = tokio::time::timeout(Duration::from_millis(500), over).await;
                }
            }
        }
    }
}
