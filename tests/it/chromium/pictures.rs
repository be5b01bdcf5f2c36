//! The demo's pages in the order in which a newcomer meets them. `tests/run.sh pictures` keeps them beside the demo, whose
//! README shows them.

use std::path::{Path, PathBuf};

use super::{Browser, SIGN_IN, SIGN_OUT, in_chromium};
use crate::support::process::{Demo, free_port, requirement};

/// The viewport, in CSS pixels.
const WIDTH: u32 = 800;
const HEIGHT: u32 = 600;

#[tokio::test]
async fn of_the_pages_that_a_newcomer_meets() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    // The pictures that are kept show the address that the documentation names. Elsewhere it may be in use.
    let kept = std::env::var_os("TOWER_OIDC_PICTURES").map(PathBuf::from);
    let port = if kept.is_some() { 3000 } else { free_port() };
    let folder = kept.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots"));
    let url = format!("http://localhost:{port}");
    let demo = Demo::start_at(port, &[("PUBLIC_URL", &url)]).await;
    in_chromium(async |browser| {
        let taken = async |name: &str| browser.picture(&folder, name).await;
        browser.set_viewport().await;

        browser.goto(&url).await;
        browser.find(SIGN_IN).await;
        taken("1-start").await;

        browser.click(SIGN_IN).await;
        browser.fill("#email", "ann@example.org").await;
        taken("2-sign-in").await;

        browser.click("#sign-in").await;
        browser.find("#connect-calendar").await;
        taken("3-signed-in").await;

        browser.click("#connect-calendar").await;
        browser.find("#grant").await;
        taken("4-grant-access").await;

        browser.click("#grant").await;
        browser.find("#connection-calendar .good").await;
        taken("5-connected").await;

        browser.click(SIGN_OUT).await;
        browser.click(SIGN_IN).await;
        browser.click("#deny").await;
        browser.find(SIGN_IN).await;
        taken("6-denied").await;
    })
    .await;
    demo.stop().await;
}

impl Browser {
    /// Makes the window as large as it must be for the viewport.
    async fn set_viewport(&self) {
        const FRAME: &str = "return [window.outerWidth - window.innerWidth, window.outerHeight - window.innerHeight]";
        let frame = self.0.execute(FRAME, Vec::new()).await.expect("a script");
        let side = |index: usize| u32::try_from(frame[index].as_u64().expect("a number")).expect("a small one");
        self.0.set_window_size(WIDTH + side(0), HEIGHT + side(1)).await.expect("a window");
    }

    /// Keeps what the viewport shows, in a file with this name.
    async fn picture(&self, folder: &Path, name: &str) {
        // Neither a blinking caret nor a ring around what has the focus.
        const STILL: &str = "document.activeElement?.blur()";
        self.0.execute(STILL, Vec::new()).await.expect("a script");
        std::fs::create_dir_all(folder).expect("a folder");
        let image = self.0.screenshot().await.expect("a screenshot");
        std::fs::write(folder.join(name).with_extension("png"), image).expect("a file");
    }
}
