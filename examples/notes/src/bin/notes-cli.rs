//! The JSON API on the command line, with an access token in place of a session:
//!
//! ```text
//! export NOTES_URL=http://localhost:3000 NOTES_TOKEN=…
//! notes-cli list
//! notes-cli add "buy milk"
//! notes-cli delete 7
//! ```
//!
//! The token is one that the provider issued to a client of its own, for the audience and scopes of this API. Its user must have
//! signed in with a browser once.

use std::process::ExitCode;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("notes-cli: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<String, Error> {
    let url = std::env::var("NOTES_URL").unwrap_or_else(|_| "http://localhost:3000".to_owned());
    let token = std::env::var("NOTES_TOKEN").map_err(|_| "NOTES_TOKEN is not set: it is the access token")?;
    let (notes, authorization) = (format!("{url}/api/notes"), format!("Bearer {token}"));
    // An answer that is no success has a reason in it, which is read below.
    let agent = Agent::new_with_config(Agent::config_builder().http_status_as_error(false).build());
    match arguments {
        ["list"] => {
            let list = read(agent.get(&notes).header("authorization", &authorization).call()?)?;
            let line = |note: &Value| format!("{} {}\n", note["id"], note["text"].as_str().unwrap_or_default());
            Ok(list.as_array().into_iter().flatten().map(line).collect())
        }
        ["add", text] => {
            let request = agent.post(&notes).header("authorization", &authorization);
            Ok(format!("{}\n", read(request.send_json(json!({ "text": text }))?)?["id"]))
        }
        ["delete", id] => {
            let request = agent.delete(format!("{notes}/{id}")).header("authorization", &authorization);
            read(request.call()?).map(|_| String::new())
        }
        _ => Err("expected `list`, `add TEXT` or `delete ID`".into()),
    }
}

/// The JSON of an answer, or why it is none: the `detail` of the problem document (RFC 9457).
fn read(mut answer: Response<ureq::Body>) -> Result<Value, Error> {
    let (status, text) = (answer.status(), answer.body_mut().read_to_string()?);
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    match status.is_success() {
        true => Ok(body),
        false => Err(format!("{status}: {}", body["detail"].as_str().unwrap_or("no reason is given")).into()),
    }
}
