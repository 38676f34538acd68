//! Which cells there are.

use advisor::{
    profile::machine::Machine,
    units::Time,
    workload::{Batcher, ServingConfiguration},
};

/// A cell to be run.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub model: String,
    pub configuration: ServingConfiguration,
    pub utilisation: f64,
}

/// The models, and the thread counts that make sense for each: an inference of
/// microseconds is slower on two threads, so nobody would serve it like that.
const MODELS: [(&str, &[u32]); 5] = [
    ("gradient-boosting", &[1]),
    ("mlp", &[1]),
    ("mobilenet-v2", &[1, 2]),
    ("resnet50", &[1, 2]),
    ("bert-base", &[1, 2]),
];

const UTILISATIONS: [f64; 4] = [0.3, 0.5, 0.7, 0.85];

/// Max batch and window in milliseconds.
const BATCHING: [(u32, f64); 3] = [(1, 0.0), (8, 0.0), (8, 5.0)];

/// All cells, model by model. Models with one thread count have fewer
/// configurations and get two utilisations of each; over the models every
/// configuration meets every utilisation.
pub fn cells(machine: &Machine, only: &[String]) -> Vec<Wanted> {
    let processors = machine.usable_threads();
    let mut cells = Vec::new();
    for (m, (model, threads)) in MODELS.iter().enumerate() {
        if !only.is_empty() && !only.iter().any(|name| name == model) {
            continue;
        }
        let mut c = 0;
        let times = if threads.len() == 1 { 2 } else { 1 };
        for &threads in *threads {
            for instances in [1, 2] {
                if instances * threads > processors {
                    continue;
                }
                for (max_batch, window) in BATCHING {
                    for k in 0..times {
                        let utilisation = UTILISATIONS[(c + m + 2 * k) % UTILISATIONS.len()];
                        let configuration = ServingConfiguration::when_free(
                            instances,
                            max_batch,
                            Time::from_millis(window),
                        )
                        .with_threads(threads)
                        .with_batcher(Batcher::WhenFree);
                        cells.push(Wanted {
                            model: (*model).to_owned(),
                            configuration,
                            utilisation,
                        });
                    }
                    c += 1;
                }
            }
        }
    }
    cells
}

/// `most` of the cells, evenly spread over the list.
pub fn spread(cells: Vec<Wanted>, most: usize) -> Vec<Wanted> {
    let n = cells.len();
    let most = most.clamp(1, n.max(1));
    let mut last = None;
    cells
        .into_iter()
        .enumerate()
        .filter(|(i, _)| {
            let slot = i * most / n.max(1);
            let first = last != Some(slot);
            last = Some(slot);
            first
        })
        .map(|(_, cell)| cell)
        .collect()
}
