//! `advisor verify`, where it needs no ONNX Runtime: bad input, servers that
//! fail, the ledger.

use crate::run::advisor;
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
};

const METADATA: &str = r#"{"name":"m","platform":"p","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[]}"#;
const ANSWER: &str =
    r#"{"model_name":"m","outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[1.0]}]}"#;

/// Serves `metadata` to GET and, to the n-th POST, what `infer` says: a status
/// line and a body, or nothing, which closes the connection.
fn server(
    infer: impl Fn(usize) -> Option<(&'static str, &'static str)> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let infer = std::sync::Arc::new(infer);
    let posts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (infer, posts) = (infer.clone(), posts.clone());
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Some(is_post) = request(&mut reader) {
                    let answer = if is_post {
                        infer(posts.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                    } else {
                        Some(("200 OK", METADATA))
                    };
                    let Some((status, body)) = answer else { break };
                    if !reply(&mut stream, status, body) {
                        break;
                    }
                }
            });
        }
    });
    url
}

fn request(reader: &mut impl BufRead) -> Option<bool> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(first.starts_with("POST"))
}

fn reply(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).is_ok()
}

fn drive(url: &str, more: &[&str]) -> crate::run::Advisor {
    let mut args = vec![
        "verify",
        "--url",
        url,
        "--server-model",
        "m",
        "--qps",
        "100",
        "--time",
        "1s",
    ];
    args.extend(more);
    advisor(&args)
}

#[test]
fn a_good_server_is_measured_and_objectives_are_counted() {
    let url = server(|_| Some(("200 OK", ANSWER)));
    let run = drive(&url, &["--p95", "500ms", "--format", "json"]).exits(0);
    let json = run.json();
    crate::schema::check("verify", &json);
    assert_eq!(json["measured"]["requests"], 100);
    assert_eq!(json["measured"]["failed"], 0);
    assert_eq!(json["judgement"], "UNJUDGED");
    assert_eq!(json["objectives"][0]["verdict"], "HELD");
    let run = drive(&url, &["--p95", "1us"]).exits(1);
    assert!(run.stdout().contains("MISSED"), "{}", run.report());
}

#[test]
fn a_binary_request_is_answered_too() {
    let url = server(|_| Some(("200 OK", ANSWER)));
    drive(&url, &["--tensors", "binary"]).exits(0);
}

#[test]
fn answers_of_500_are_misses_with_what_the_server_said() {
    let url = server(|n| {
        Some(if n % 2 == 0 {
            ("500 Internal Server Error", r#"{"error":"out of memory"}"#)
        } else {
            ("200 OK", ANSWER)
        })
    });
    let run = drive(&url, &["--format", "json"]).exits(1);
    let json = run.json();
    let caveats = json["caveats"].to_string();
    assert!(
        caveats.contains("status 500") && caveats.contains("out of memory"),
        "{caveats}"
    );
    assert!(
        json["measured"]["failed"].as_u64().unwrap() >= 45,
        "{}",
        run.report()
    );
}

#[test]
fn a_server_that_dies_costs_the_rest_and_ends_in_time() {
    let url = server(|n| (n < 30).then_some(("200 OK", ANSWER)));
    let begin = std::time::Instant::now();
    let run = drive(&url, &["--timeout", "1s", "--format", "json"]).exits(1);
    let failed = run.json()["measured"]["failed"].as_u64().unwrap();
    assert!((60..=75).contains(&failed), "{}", run.report());
    assert!(begin.elapsed().as_secs() < 20);
}

#[test]
fn a_server_slower_than_the_load_is_told() {
    let url = server(|_| {
        std::thread::sleep(std::time::Duration::from_millis(400));
        Some(("200 OK", ANSWER))
    });
    let run = drive(&url, &["--timeout", "300ms"]).exits(1);
    assert!(run.stdout().contains("timed out"), "{}", run.report());
}

#[test]
fn nobody_there_is_a_failure_of_the_machine() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    drive(&url, &[])
        .exits(3)
        .complains(&["connection refused", "Open Inference Protocol"]);
}

#[test]
fn what_cannot_be_verified_is_refused_with_what_to_do() {
    for (args, parts) in [
        (&["verify"][..], &["no load", "--qps"][..]),
        (&["verify", "--qps", "0"], &["rate of 0"]),
        (
            &["verify", "--qps", "5", "--model", "no-such"],
            &["no-such"],
        ),
        (&["verify", "--plan", "no.json"], &["cannot read `no.json`"]),
        (
            &[
                "verify",
                "--qps",
                "5",
                "--url",
                "localhost:1",
                "--server-model",
                "m",
            ],
            &["http://localhost:8000"],
        ),
        (
            &[
                "verify",
                "--qps",
                "5",
                "--url",
                "https://x",
                "--server-model",
                "m",
            ],
            &["https"],
        ),
    ] {
        advisor(args).exits(2).complains(parts);
    }
}

#[test]
fn a_plan_for_other_machines_asks_for_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    std::fs::write(
        &path,
        r#"{"question":{"slos":[]},"model":{"name":"mlp","hash":"x"},"options":[{
            "machine":{"provider":"aws","instance_type":"c7i.large"},
            "setup":{"instances":1,"intra_op_threads":1,"max_batch":1,"batch_window_s":0.0},
            "offered_load_per_s":5.0}]}"#,
    )
    .unwrap();
    let plan = path.to_str().unwrap();
    advisor(&["verify", "--plan", plan])
        .exits(2)
        .complains(&["no option for this machine", "--row"]);
    advisor(&["verify", "--plan", plan, "--row", "2"])
        .exits(2)
        .complains(&["1 options"]);
    // The model here is another one than the plan's.
    advisor(&["verify", "--plan", plan, "--row", "1"])
        .exits(2)
        .complains(&["another content"]);
}

#[test]
fn an_empty_ledger_says_how_to_begin_and_verifications_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().to_str().unwrap();
    let history = ["verify", "--history", "--data-dir", data];
    let run = advisor(&history).exits(0);
    assert!(run.stdout().contains("Nothing has been verified yet"));
    let url = server(|_| Some(("200 OK", ANSWER)));
    drive(&url, &["--data-dir", data]).exits(0);
    let run = advisor(&history).exits(0);
    assert!(run.stdout().contains("UNJUDGED"), "{}", run.report());
    let mut json = history.to_vec();
    json.extend(["--format", "json"]);
    let entries = advisor(&json).exits(0).json();
    assert_eq!(entries.as_array().unwrap().len(), 1);
}
