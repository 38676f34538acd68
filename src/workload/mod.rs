//! What is asked: how requests arrive, how fast they must be answered, and how
//! a replica is set up to serve them.

mod arrivals;
mod demand;
mod serving;
mod slo;
mod traffic;

pub use arrivals::{Arrivals, Timestamps};
pub use demand::Demand;
pub use serving::{Balancer, Batcher, QueuePolicy, ServingConfiguration};
pub use slo::{Percentile, Slo, Slos};
pub use traffic::Traffic;
