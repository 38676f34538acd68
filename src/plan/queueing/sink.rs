//! What becomes of the requests of a run: kept one by one, or only counted.

/// Takes the fate of every request.
pub(super) trait Sink {
    /// The request was served after waiting for `wait` seconds and answered
    /// `latency` seconds after its arrival.
    fn served(&mut self, request: usize, wait: f64, latency: f64);

    /// The request was rejected on arrival.
    fn rejected(&mut self, request: usize);

    /// The request waited longer than it may.
    fn timed_out(&mut self, request: usize);

    /// Whether the rest of the run can no longer change the answer.
    #[inline]
    fn settled(&self) -> bool {
        false
    }
}

/// Which time of a request is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quantity {
    /// From arrival to answer.
    #[default]
    Latency,
    /// From arrival to the start of its batch.
    Waiting,
}

/// Keeps the time of every request, in order of arrival; infinite for one that
/// was not served.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub quantity: Quantity,
    pub times: Vec<f64>,
    pub rejected: u64,
    pub timed_out: u64,
    /// Requests before this one are not counted as rejected or timed out.
    pub warm_up: usize,
}

impl Record {
    pub(super) fn new(quantity: Quantity, requests: usize, warm_up: usize) -> Self {
        Self {
            quantity,
            times: vec![f64::INFINITY; requests],
            rejected: 0,
            timed_out: 0,
            warm_up,
        }
    }
}

impl Sink for Record {
    #[inline]
    fn served(&mut self, request: usize, wait: f64, latency: f64) {
        self.times[request] = match self.quantity {
            Quantity::Latency => latency,
            Quantity::Waiting => wait,
        };
    }

    fn rejected(&mut self, request: usize) {
        self.rejected += u64::from(request >= self.warm_up);
    }

    fn timed_out(&mut self, request: usize) {
        self.timed_out += u64::from(request >= self.warm_up);
    }
}

/// Counts the requests over each of several limits, by stretch of the run.
#[derive(Debug, Clone)]
pub(super) struct Count {
    limits: Vec<Limit>,
    warm_up: usize,
    stretch: usize,
    /// The first request of the next stretch.
    boundary: usize,
    /// The last request that was counted.
    latest: usize,
    hopeless: bool,
}

/// One limit with what was counted against it.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub seconds: f64,
    /// How many misses there may be before the objective is lost.
    pub allowed: u64,
    /// With more misses than this the objective is lost for certain.
    lost: u64,
    pub missed: u64,
    /// Misses at the end of each stretch so far.
    pub by_stretch: Vec<u64>,
}

impl Count {
    /// `limits` holds seconds and the misses that are allowed; the run after
    /// `warm_up` requests is divided into `stretches` of equal length.
    pub(super) fn new(
        limits: impl Iterator<Item = (f64, u64)>,
        requests: usize,
        warm_up: usize,
        stretches: usize,
    ) -> Self {
        let stretch = ((requests - warm_up) / stretches).max(1);
        Self {
            limits: limits
                .map(|(seconds, allowed)| Limit {
                    seconds,
                    allowed,
                    lost: 2 * allowed + 16,
                    missed: 0,
                    by_stretch: Vec::with_capacity(stretches + 1),
                })
                .collect(),
            warm_up,
            stretch,
            boundary: warm_up + stretch,
            latest: warm_up,
            hopeless: false,
        }
    }

    pub(super) fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// How many requests were measured before the run ended.
    pub(super) fn measured(&self) -> usize {
        self.latest + 1 - self.warm_up
    }

    #[inline]
    fn count(&mut self, request: usize, latency: f64) {
        if request < self.warm_up {
            return;
        }
        self.latest = request;
        // Requests of a batch come in order, batches of several instances
        // nearly so; a request that crosses a boundary late counts in the next
        // stretch, which moves a handful of counts out of thousands.
        if request >= self.boundary {
            self.boundary += self.stretch;
            for limit in &mut self.limits {
                limit.by_stretch.push(limit.missed);
            }
        }
        for limit in &mut self.limits {
            limit.missed += u64::from(latency > limit.seconds);
            self.hopeless |= limit.missed > limit.lost;
        }
    }
}

impl Sink for Count {
    #[inline]
    fn served(&mut self, request: usize, _wait: f64, latency: f64) {
        self.count(request, latency);
    }

    fn rejected(&mut self, request: usize) {
        self.count(request, f64::INFINITY);
    }

    fn timed_out(&mut self, request: usize) {
        self.count(request, f64::INFINITY);
    }

    /// A run with twice the misses that are allowed is lost for certain: it
    /// need not be finished.
    #[inline]
    fn settled(&self) -> bool {
        self.hopeless
    }
}
