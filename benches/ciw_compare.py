"""Speed against the Python library ciw, on the same two queues, turn and turn about.

    cargo bench --bench simulator --no-run     # prints the path of the program
    pip install ciw
    python benches/ciw_compare.py PATH-OF-THE-PROGRAM [ROUNDS]

Both simulate M/M/2 (mean service 10 ms, 140 requests per second) and one server
that takes up to 8 waiting requests as a batch when it is free (4 + b ms for a
batch of b, 500 requests per second). ciw has no batch service of its own, so it
gets a node of a dozen lines that does just this. Mean latencies are printed side
by side, so that a fast wrong answer shows.
"""

import json
import statistics
import subprocess
import sys
import time

import ciw

OURS, CIW = 2_000_000, 20_000


class BatchNode(ciw.Node):
    """Takes up to 8 waiting individuals at once when nobody is in service."""

    def begin_service_if_possible_accept(self, next_individual):
        next_individual.arrival_date = self.now
        self.begin_batch()

    def begin_service_if_possible_release(self, next_individual, newly_free_server):
        self.begin_batch()

    def begin_batch(self):
        if self.number_in_service > 0:
            return
        waiting = [i for i in self.all_individuals if i.service_start_date is False][:8]
        service = 0.004 + 0.001 * len(waiting)
        for individual in waiting:
            individual.service_start_date = self.now
            individual.service_time = service
            individual.service_end_date = self.now + service
            self.number_in_service += 1


def ciw_run(case, seed):
    ciw.seed(seed)
    if case == "mm2":
        rate, servers, service, node = 140.0, 2, ciw.dists.Exponential(100.0), ciw.Node
    else:
        rate, servers, service, node = 500.0, float("inf"), ciw.dists.Deterministic(0.0), BatchNode
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate)],
        service_distributions=[service],
        number_of_servers=[servers],
    )
    begin = time.perf_counter()
    simulation = ciw.Simulation(network, node_class=node)
    simulation.simulate_until_max_customers(CIW)
    seconds = time.perf_counter() - begin
    records = [r for r in simulation.get_all_records() if r.arrival_date > 0.05 * CIW / rate]
    latency = statistics.fmean(r.exit_date - r.arrival_date for r in records)
    return CIW / seconds, latency


def our_run(program, case):
    output = subprocess.run(
        [program, "once", case, str(OURS)], check=True, capture_output=True, text=True
    ).stdout
    result = json.loads(output)
    return OURS / result["seconds"], result["mean_latency"]


def main():
    program = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print(f"ciw {ciw.__version__}, median of {rounds} rounds, requests per second")
    for case in ("mm2", "batch"):
        ours, theirs = [], []
        for seed in range(rounds):
            ours.append(our_run(program, case))
            theirs.append(ciw_run(case, seed))
        fast = statistics.median(r[0] for r in ours)
        slow = statistics.median(r[0] for r in theirs)
        latency = statistics.fmean(r[1] for r in theirs)
        print(
            f"{case:6} ours {fast:12,.0f}   ciw {slow:8,.0f}   ratio {fast / slow:6,.0f}   "
            f"mean latency {1e3 * ours[0][1]:.3f} ms, ciw {1e3 * latency:.3f} ms"
        )


if __name__ == "__main__":
    main()
