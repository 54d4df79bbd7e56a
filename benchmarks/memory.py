"""What a worker's warm trainer holds in memory after many trials.

    python benchmarks/memory.py [--quick]

Fifty trials of varied configurations; `--quick`: six. What the worker itself costs is measured in `coordination.py`.
"""

import argparse
import os
import platform

from hpsearch import scratch
from hpsearch.spec import loader
from hpsearch.training import protocol, requests
from hpsearch.worker import resources, trainer_process
from hpsearch.worker.wakeup import WakeupPipe

TINY = {"filters": 8, "dense_units": 64, "batch_size": 64}


def trainer_memory(trials: int) -> None:
    """Print a warm trainer's resident memory after 5 and after `trials` trainings of varied configurations."""
    process, alarm = trainer_process.TrainerProcess(None), WakeupPipe()
    memories = []
    activations, optimizers = ("relu", "prelu", "maxout", "tanh", "elu"), ("sgd", "adam", "rmsprop")
    described = {"study": {"name": "memory"}, "data": {"name": "digits"}, "fixed": TINY}
    base = loader.from_dict(described)
    with scratch.make_directory("trial") as directory:
        for number in range(trials):
            chosen = {
                **base.resolve_params({}),
                "activation": activations[number % len(activations)],
                "optimizer": optimizers[number % len(optimizers)],
                "batch_norm": bool(number % 2),
            }
            data = requests.DataRequest("digits", 500, 200, 0)
            process.send(protocol.Train(chosen, data, number, 2, "val_accuracy", 9, None, str(directory)))
            while not isinstance(message := process.receive(alarm, 600), protocol.Ended):
                if isinstance(message, protocol.Loaded | protocol.EpochReport):
                    process.send(protocol.GoOn())
            memories.append(message.end.memory / 2**20)
    process.close()
    early, late = memories[min(4, trials - 1)], memories[-1]
    print(
        f"trainer memory: {early:.0f} MB after 5 trials, {late:.0f} MB after {trials}: "
        f"{100 * (late / early - 1):+.1f}% (replaced beyond {resources.MEMORY_GROWTH:g}×)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    trainer_memory(6 if options.quick else 50)


if __name__ == "__main__":
    main()
