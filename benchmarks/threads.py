"""How many threads take part.

Libraries read these variables once, when they are imported. So they are set before anything else is imported,
and comparing two settings takes two processes.

Any framework's threads wait for one another by spinning, and lose a factor of ten for a moment whenever another
process takes a core. So a control runs beside the contenders: a solver that is the framework's alone and calls
no BLAS of SciPy's. What slows the control too is the machine's doing; what slows a contender beside it is not.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median

FRAMEWORKS = ("torch", "jax", "tf")
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
CONTROLS = {"torch": "torch.optim.LBFGS"}
ROUNDS_A_PROCESS = 5


def limit(count: int) -> None:
    """Hold every library imported from now on to `count` threads."""
    os.environ.update(dict.fromkeys(VARIABLES, str(count)))
    if count == 1:  # XLA knows no other number
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA_ONE_THREAD}".strip()


def environment(count: int | None) -> dict[str, str]:
    """The environment with `count` threads, or with whatever the libraries choose for themselves."""
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return others if count is None else others | dict.fromkeys(VARIABLES, str(count))


def figures(arguments: list[str], count: int | None) -> dict:
    """What `compare.py` measures in a process of its own with that many threads."""
    compare = Path(__file__).with_name("compare.py")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figures.json")
        command = [sys.executable, str(compare), *arguments, "--threads", "keep", "--json", str(file)]
        subprocess.run(command, env=environment(count), check=True, stdout=subprocess.DEVNULL)
        return json.loads(file.read_text())


def measured(found: dict, control: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Seconds, and seconds over the control's in the same rounds, by contender and task."""
    return {
        (contender, name): (each["seconds"], each["ratios"][control]["in_all"])
        for name, task in found["tasks"].items()
        for contender, each in task["contenders"].items()
    }


def compare(framework: str, tasks: Iterable[str], contenders: Iterable[str], pairs: int) -> dict:
    """One thread against the default, in alternate processes: by contender and task, and who is left out."""
    control = CONTROLS[framework]
    names = ",".join(dict.fromkeys([*contenders, control]))
    arguments = ["--framework", framework, "--tasks", ",".join(tasks), "--contenders", names]
    arguments += ["--rounds", str(ROUNDS_A_PROCESS)]
    found = [(figures(arguments, 1), figures(arguments, None)) for _ in range(pairs)]
    times = [(measured(one, control), measured(default, control)) for one, default in found]
    compared: dict[str, dict] = {}
    for contender, task in times[0][0]:
        key = (contender, task)
        compared.setdefault(contender, {})[task] = summary([(one[key], default[key]) for one, default in times])
    return {"contenders": compared, "left_out": found[0][0]["left_out"], "control": control}


def summary(pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> dict[str, float]:
    """Medians over pairs of processes, one thread and default threads, of what `measured` says."""
    return {
        "one": median(one for (one, _), _ in pairs),
        "default": median(default for _, (default, _) in pairs),
        "ratio": median(default / one for (one, _), (default, _) in pairs),
        "beside_control": median(default / one for (_, one), (_, default) in pairs),
    }
