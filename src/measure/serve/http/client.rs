//! An open-loop load over HTTP.
//!
//! One thread keeps the schedule and hands each request, when its time has
//! come, to a connection that is free; where none is, a further one is opened,
//! up to a limit beyond which requests wait for one, at their own cost: latency
//! counts from the scheduled arrival. A request that has waited or run for
//! longer than the timeout is a miss, so a server that hangs, dies or falls
//! behind ends the run at most two timeouts after the last arrival.

use crate::{
    error::{Error, Result},
    measure::replica::{
        Clock,
        http_server::INFERENCE_HEADER,
        protocol::{HEADER_LENGTH, ModelMetadata, Payload, is_answer},
        sleep_precisely,
    },
    units::Time,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::Scope,
    time::{Duration, Instant},
};

/// Connections at most.
const MOST_CONNECTIONS: usize = 256;

/// Before the first arrival connections are made ready.
const LEAD_IN: Duration = Duration::from_millis(50);

/// Answers up to this size are parsed to see that they are answers.
const PARSED: usize = 64 << 10;

/// An answer larger than this is refused.
const LARGEST: u64 = 1 << 30;

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://localhost:8000`, without a path.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// After this long a request is a miss.
    pub timeout: Time,
}

/// What a load came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpLoad {
    /// The latency of each request that was due, in order of arrival; none
    /// without a right answer.
    pub latencies: Vec<Option<Time>>,
    /// How long after it was due each request was sent; of those that were.
    pub late: Vec<Time>,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Connections that were opened.
    pub connections: usize,
}

/// One request and its answer, with nothing else under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundTrip {
    /// From before the request to after the answer.
    pub latency: Time,
    /// What the server says that the inference took; only ours does.
    pub inference: Option<Time>,
}

impl Target {
    /// # Errors
    /// A URL that is not `http://HOST[:PORT]`.
    pub fn new(url: &str, model: &str, timeout: Time) -> Result<Self> {
        let url = url.trim_end_matches('/');
        if url.starts_with("https://") {
            return Err(Error::bad_input("--url: https is not spoken here")
                .hint("drive the server itself over plain http, inside your network"));
        }
        let rest = url.strip_prefix("http://").unwrap_or_default();
        if rest.is_empty() || rest.contains(['/', ' ', '?', '#']) {
            return Err(Error::bad_input(format!("--url: `{url}` is not a server"))
                .hint("give it as `http://localhost:8000`"));
        }
        Ok(Self {
            url: url.to_owned(),
            model: model.to_owned(),
            timeout,
        })
    }

    fn agent(&self) -> ureq::Agent {
        ureq::Agent::config_builder()
            .timeout_global(Some(self.timeout.to_std()))
            .http_status_as_error(false)
            .no_delay(true)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .user_agent("advisor")
            .build()
            .new_agent()
    }

    fn infer_url(&self) -> String {
        format!("{}/v2/models/{}/infer", self.url, self.model)
    }
}

/// Asks a server about the model.
///
/// # Errors
/// Nothing answers there, or there is no such model, or the answer is none.
pub fn metadata(target: &Target) -> Result<ModelMetadata> {
    let url = format!("{}/v2/models/{}", target.url, target.model);
    let mut response = target.agent().get(&url).call().map_err(|error| {
        Error::machine(format!(
            "`{}` does not answer: {}",
            target.url,
            describe(&error)
        ))
        .hint("start the server first; it must speak the Open Inference Protocol over HTTP")
    })?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .read_to_string()
        .map_err(|error| Error::machine(format!("`{url}`: {}", describe(&error))))?;
    if status != 200 {
        return Err(Error::machine(format!(
            "`{url}` answers with status {status}{}",
            said(&text)
        ))
        .hint("give the model's name on the server with `--server-model NAME`"));
    }
    serde_json::from_str(&text).map_err(|error| {
        Error::machine(format!(
            "`{url}` does not answer as the Open Inference Protocol says: {error}"
        ))
    })
}

/// The start of what a server said, for a message.
fn said(text: &str) -> String {
    let line: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(120)
        .collect();
    if line.is_empty() {
        line
    } else {
        format!(": {line}")
    }
}

/// A failure in a few words, the same for the same kind of failure.
fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "timed out".to_owned(),
        ureq::Error::HostNotFound => "the host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => "timed out".to_owned(),
            std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::UnexpectedEof => "the connection broke".to_owned(),
            _ => error.to_string(),
        },
        other => other.to_string(),
    }
}

/// Sends one request and waits for the answer.
fn infer(
    agent: &ureq::Agent,
    url: &str,
    payload: &Payload,
) -> std::result::Result<Option<Time>, String> {
    let mut request = agent.post(url).header(
        "content-type",
        if payload.json_length.is_some() {
            "application/octet-stream"
        } else {
            "application/json"
        },
    );
    if let Some(length) = payload.json_length {
        request = request.header(HEADER_LENGTH, length.to_string());
    }
    let mut response = request
        .send(payload.bytes.as_slice())
        .map_err(|error| describe(&error))?;
    let json_length = response
        .headers()
        .get(HEADER_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let inference = response
        .headers()
        .get(INFERENCE_HEADER)
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
        .map(|nanoseconds| Time::saturating(nanoseconds * 1e-9));
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(LARGEST)
        .read_to_vec()
        .map_err(|error| describe(&error))?;
    if status != 200 {
        return Err(format!(
            "status {status}{}",
            said(&String::from_utf8_lossy(body.get(..400).unwrap_or(&body)))
        ));
    }
    if body.is_empty() || (body.len() <= PARSED && !is_answer(&body, json_length)) {
        return Err("an answer without outputs".to_owned());
    }
    Ok(inference)
}

/// Sends requests one after the other, each when the last is answered.
///
/// # Errors
/// The first that fails.
pub fn one_by_one(target: &Target, payloads: &[Payload], count: usize) -> Result<Vec<RoundTrip>> {
    let (agent, url) = (target.agent(), target.infer_url());
    payloads
        .iter()
        .cycle()
        .take(count)
        .map(|payload| {
            let begin = Instant::now();
            infer(&agent, &url, payload)
                .map(|inference| RoundTrip {
                    latency: Time::from(begin.elapsed()),
                    inference,
                })
                .map_err(|error| Error::machine(format!("`{url}`: {error}")))
        })
        .collect()
}

/// Drives a server with these arrivals; a set `stop` ends it early.
#[must_use]
pub fn drive(
    target: &Target,
    payloads: &[Payload],
    arrivals: &[Time],
    stop: &AtomicBool,
) -> HttpLoad {
    let shared = Shared {
        target,
        payloads,
        arrivals,
        clock: Clock::without_spin(Instant::now() + LEAD_IN),
        state: Mutex::new(State::default()),
        news: Condvar::new(),
    };
    shared.lock().load.latencies = vec![None; arrivals.len()];
    let sent = std::thread::scope(|scope| {
        let shared = &shared;
        shared.connect(scope);
        let sent = shared.keep_the_schedule(scope, stop);
        shared.lock().closed = true;
        shared.news.notify_all();
        sent
    });
    let state = shared
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let mut load = state.load;
    load.latencies.truncate(sent);
    load
}

#[derive(Debug, Default)]
struct State {
    /// Requests that are due and not sent.
    due: VecDeque<usize>,
    /// Connections without a request.
    free: usize,
    connections: usize,
    closed: bool,
    load: HttpLoad,
}

#[derive(Debug)]
struct Shared<'s> {
    target: &'s Target,
    payloads: &'s [Payload],
    arrivals: &'s [Time],
    clock: Clock,
    state: Mutex<State>,
    news: Condvar,
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands requests over as their time comes; returns how many were.
    fn keep_the_schedule<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stop: &AtomicBool,
    ) -> usize {
        sleep_precisely();
        for (request, arrival) in self.arrivals.iter().enumerate() {
            while self.clock.sleep_before(arrival.get()) > Duration::from_millis(100) {
                std::thread::sleep(Duration::from_millis(100));
                if stop.load(Ordering::Relaxed) {
                    return request;
                }
            }
            if stop.load(Ordering::Relaxed) {
                return request;
            }
            self.clock.wait_until(arrival.get());
            let mut state = self.lock();
            state.due.push_back(request);
            let short = state.due.len() > state.free && state.connections < MOST_CONNECTIONS;
            drop(state);
            self.news.notify_one();
            if short {
                self.connect(scope);
            }
        }
        self.arrivals.len()
    }

    /// Opens a further connection.
    fn connect<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        {
            let mut state = self.lock();
            state.connections += 1;
            state.free += 1;
            state.load.connections = state.connections;
        }
        scope.spawn(move || self.answer_for());
    }

    /// One connection's work.
    fn answer_for(&self) {
        sleep_precisely();
        let (agent, url) = (self.target.agent(), self.target.infer_url());
        let timeout = self.target.timeout.get();
        while let Some(request) = self.next() {
            let arrival = self.arrivals.get(request).map_or(0.0, |time| time.get());
            let sent = self.clock.now();
            let payload = self.payloads.get(request % self.payloads.len().max(1));
            let outcome = match payload {
                Some(_) if sent - arrival > timeout => {
                    Err("timed out before it was sent".to_owned())
                }
                Some(payload) => infer(&agent, &url, payload),
                None => Err("nothing to send".to_owned()),
            };
            let took = self.clock.now() - arrival;
            let outcome = outcome.and_then(|_| {
                if took > timeout {
                    Err("timed out".to_owned())
                } else {
                    Ok(Time::saturating(took))
                }
            });
            let mut state = self.lock();
            state.load.late.push(Time::saturating(sent - arrival));
            match outcome {
                Ok(latency) => {
                    if let Some(slot) = state.load.latencies.get_mut(request) {
                        *slot = Some(latency);
                    }
                }
                Err(error) => *state.load.errors.entry(error).or_default() += 1,
            }
            state.free += 1;
        }
    }

    /// The next request that is due; none when there will be no more.
    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if let Some(request) = state.due.pop_front() {
                state.free -= 1;
                return Some(request);
            }
            if state.closed {
                return None;
            }
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests;
