use super::*;
use crate::{
    measure::replica::protocol::Encoding,
    model::{ElementType, Fill, InputSpec},
};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

const ANSWER: &str =
    r#"{"model_name":"m","outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[1.0]}]}"#;

/// What a server of a test does with the n-th request it reads.
type Behaviour = dyn Fn(usize, &mut TcpStream) -> bool + Send + Sync;

/// Serves HTTP on a thread per connection; a behaviour that returns false
/// closes its connection.
fn server(behaviour: Arc<Behaviour>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (behaviour, count) = (Arc::clone(&behaviour), Arc::clone(&count));
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while read_request(&mut reader) {
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    if !behaviour(n, &mut stream) {
                        break;
                    }
                }
            });
        }
    });
    url
}

fn read_request(reader: &mut impl BufRead) -> bool {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).is_ok()
}

fn reply(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).is_ok()
}

fn payloads() -> Vec<Payload> {
    let spec = InputSpec {
        name: "x".into(),
        element: ElementType::Float32,
        dims: vec![1, 4],
        batch_axis: Some(0),
        fill: Fill::Normal,
    };
    vec![Payload::new(&[spec], 1, Encoding::Json).unwrap()]
}

fn arrivals(count: u32, every_ms: f64) -> Vec<Time> {
    (0..count)
        .map(|i| Time::from_millis(f64::from(i) * every_ms))
        .collect()
}

fn target(url: &str, timeout_ms: f64) -> Target {
    Target::new(url, "m", Time::from_millis(timeout_ms)).unwrap()
}

fn load(behaviour: Arc<Behaviour>, count: u32, timeout_ms: f64) -> HttpLoad {
    let url = server(behaviour);
    let never = AtomicBool::new(false);
    drive(
        &target(&url, timeout_ms),
        &payloads(),
        &arrivals(count, 5.0),
        &never,
    )
}

#[test]
fn answers_are_timed_from_their_scheduled_arrival() {
    let slow = Arc::new(|_: usize, stream: &mut TcpStream| {
        std::thread::sleep(Duration::from_millis(30));
        reply(stream, "200 OK", ANSWER)
    });
    let load = load(slow, 40, 2000.0);
    assert_eq!(load.errors, BTreeMap::new());
    assert_eq!(load.latencies.len(), 40);
    assert!(
        load.latencies
            .iter()
            .all(|l| l.unwrap().as_millis() >= 30.0)
    );
    // Open loop: several are under way at once.
    assert!(load.connections > 3, "{}", load.connections);
}

#[test]
fn failures_of_the_server_are_misses_with_their_reason() {
    let moody = Arc::new(|n: usize, stream: &mut TcpStream| {
        if n.is_multiple_of(4) {
            reply(
                stream,
                "500 Internal Server Error",
                "{\"error\":\"out of memory\"}",
            )
        } else if n % 4 == 1 {
            reply(stream, "200 OK", "{}")
        } else {
            reply(stream, "200 OK", ANSWER)
        }
    });
    let load = load(moody, 40, 2000.0);
    let answered = load.latencies.iter().flatten().count();
    assert_eq!(answered, 20);
    assert_eq!(load.errors["an answer without outputs"], 10);
    let told = load
        .errors
        .keys()
        .any(|k| k.contains("500") && k.contains("out of memory"));
    assert!(told, "{:?}", load.errors);
}

#[test]
fn a_server_that_hangs_or_falls_behind_ends_the_run_in_time() {
    let begin = Instant::now();
    let hanging = Arc::new(|_: usize, _: &mut TcpStream| {
        std::thread::sleep(Duration::from_secs(30));
        true
    });
    let load = load(hanging, 100, 300.0);
    assert_eq!(load.latencies.iter().flatten().count(), 0);
    assert_eq!(load.errors.values().sum::<u64>(), 100);
    assert!(
        load.errors.keys().all(|k| k.starts_with("timed out")),
        "{:?}",
        load.errors
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_is_killed_costs_the_rest() {
    // Closes every connection from the 20th request on, like a process that dies.
    let dying =
        Arc::new(|n: usize, stream: &mut TcpStream| n < 20 && reply(stream, "200 OK", ANSWER));
    let load = load(dying, 60, 1000.0);
    let answered = load.latencies.iter().flatten().count();
    assert!((15..=20).contains(&answered), "{answered}");
    assert_eq!(load.errors.values().sum::<u64>() as usize, 60 - answered);
}

#[test]
fn nobody_there_is_told_before_the_run_and_a_miss_in_it() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let target = target(&url, 500.0);
    let error = metadata(&target).unwrap_err();
    assert!(error.message().contains("refused"), "{error}");
    let load = drive(
        &target,
        &payloads(),
        &arrivals(20, 2.0),
        &AtomicBool::new(false),
    );
    assert_eq!(load.errors["connection refused"], 20);
}

#[test]
fn a_stop_ends_it_with_what_was_sent() {
    let quick = Arc::new(|_: usize, stream: &mut TcpStream| reply(stream, "200 OK", ANSWER));
    let url = server(quick);
    let stop = AtomicBool::new(false);
    let load = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(250));
            stop.store(true, Ordering::Relaxed);
        });
        drive(
            &target(&url, 500.0),
            &payloads(),
            &arrivals(10_000, 10.0),
            &stop,
        )
    });
    assert!(
        (5..200).contains(&load.latencies.len()),
        "{}",
        load.latencies.len()
    );
}

#[test]
fn metadata_is_read_and_strange_urls_refused() {
    let said =
        r#"{"name":"m","platform":"p","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}]}"#;
    let url = server(Arc::new(move |_: usize, stream: &mut TcpStream| {
        reply(stream, "200 OK", said)
    }));
    assert_eq!(metadata(&target(&url, 500.0)).unwrap().inputs.len(), 1);
    for bad in [
        "localhost:8000",
        "https://x",
        "http://",
        "http://x/v2",
        "ftp://x",
    ] {
        assert!(
            Target::new(bad, "m", Time::from_millis(1.0)).is_err(),
            "{bad}"
        );
    }
}
