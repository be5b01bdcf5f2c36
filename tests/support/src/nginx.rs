//! The real nginx before processes, with the configuration that the documentation gives.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use super::process::{Process, eventually, requirement};

/// nginx in the foreground, in a directory of its own; it ends with the test.
pub struct Nginx {
    process: Process,
    directory: PathBuf,
    pub port: u16,
}

impl Nginx {
    /// With the `nginx` block of a page of the documentation: on plain HTTP at a free port, before these processes.
    /// `None` where nginx is not installed.
    pub async fn documented(page: &str, ports: &[u16], port: u16) -> Option<Self> {
        requirement("TOWER_OIDC_NGINX", "nginx")?;
        let (_, block) = page.split_once("```nginx\n").expect("a page with a configuration");
        let (block, _) = block.split_once("\n```").expect("a block that ends");
        let servers = ports.iter().map(|port| format!("    server 127.0.0.1:{port} max_fails=0;\n"));
        let servers: String = servers.collect();
        let mut lines = Vec::new();
        let mut servers = Some(servers);
        for line in block.lines() {
            match line.trim() {
                line if line.starts_with("server 127.0.0.1:") => lines.extend(servers.take()),
                line if line.starts_with("ssl_certificate") => {}
                "listen 443 ssl;" => lines.push(format!("    listen 127.0.0.1:{port};")),
                _ => lines.push(line.to_owned()),
            }
        }
        assert!(servers.is_none(), "the page names servers: {block}");
        Some(Self::start(port, &lines.join("\n")).await)
    }

    /// With this configuration inside `http`.
    pub async fn start(port: u16, http: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tower-oidc-nginx-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {}/{kind};\n", directory.display()))
            .concat();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log stderr warn;\nevents {{}}\nhttp {{\n    access_log off;\n\
             {paths}{http}\n}}\n",
            directory.display()
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&directory).arg("-c").arg(&file).arg("-e").arg("stderr");
        let process = Process::start(&mut command);
        eventually("nginx listens", Duration::from_secs(10), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { process, directory, port }
    }

    /// What it has complained of.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
