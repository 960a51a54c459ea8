"""How the tests compile, what they hold in memory, float64, and run-time checks of every annotation: all set
before the package is imported.

The tests compile thousands of small programs that run for milliseconds: they are compiled with hardly any
optimisation and kept in a cache on disk. Both are set in the environment, so that the processes that a test
starts do the same. ``SPIKEJAX_TESTS_OPTIMISED=1`` turns both off; a test of what optimised code does (its
memory, its speed) is marked ``optimised``.
"""

import ctypes
import gc
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

assert "jax" not in sys.modules, "JAX reads its environment when it is imported"
OPTIMISED = os.environ.get("SPIKEJAX_TESTS_OPTIMISED", "0") not in ("", "0")
QUICK = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parents[1] / ".pytest_cache" / "jax"),
    # Without these two, programs that compile in less than a second are not kept: nearly all.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
# The emitters of fused loops take most of the time that is left: 4.5 s of compiling become 3.6 without
# optimisation, and 1.2 without the emitters too.
EMITTERS = "--xla_cpu_use_fusion_emitters=false"
# A small program is not worth being cut up to be compiled by several threads.
WHOLE = "--xla_cpu_parallel_codegen_split_count=1"


def _known(flag: str) -> bool:
    """Whether this version of XLA has the flag: it ends the process at one that it does not know."""
    client = "from jaxlib import xla_client; xla_client.make_cpu_client()"
    environment = os.environ | {"XLA_FLAGS": flag}
    return (
        subprocess.run([sys.executable, "-c", client], env=environment, capture_output=True).returncode == 0
    )


# Without the tests' own cache, none: not the one that the command line keeps for its user.
os.environ.setdefault("SPIKEJAX_NO_COMPILE_CACHE", "1" if OPTIMISED else "0")
if not OPTIMISED and "PYTEST_XDIST_WORKER" not in os.environ:  # the workers inherit it
    os.environ.update({name: os.environ.get(name, value) for name, value in QUICK.items()})
    for flag in (EMITTERS, WHOLE):
        if flag not in os.environ.get("XLA_FLAGS", "") and _known(flag):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

import jax  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

jax.config.update("jax_enable_x64", True)
install_import_hook("spikejax", "beartype.beartype")

PEAK = 2.0
"""Most memory that a worker may ever hold, GB."""
PEAKS = pytest.StashKey[dict[str, float]]()


def forget():
    """Drop compiled programs, which pile up: several GB of them."""
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":  # glibc keeps what was freed, in pieces
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True, scope="module")
def forget_after_a_file():
    yield
    forget()


@pytest.fixture(autouse=True)
def forget_when_it_is_much():
    yield
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") > 0.5e9 * PEAK:
            forget()


@pytest.fixture(autouse=True)
def optimise(request):
    """Tests marked ``optimised`` compile as a user does."""
    if OPTIMISED or request.node.get_closest_marker("optimised") is None:
        yield
        return
    before = {
        # JAX reads the one as a flag and the other as an attribute.
        "jax_disable_most_optimizations": jax.config.read("jax_disable_most_optimizations"),
        "jax_enable_compilation_cache": jax.config.jax_enable_compilation_cache,
    }
    jax.clear_caches()
    for name, value in zip(before, (False, False), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax.clear_caches()


def peak() -> float:
    """Most memory that this process ever held, GB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1e9 if sys.platform == "darwin" else 1e6)


def pytest_configure(config):
    config.stash[PEAKS] = {}


def pytest_collection_finish(session):
    """Modules and tests are there to the end: not looked through at every collection of garbage, of which
    there are fewer, since tracing makes many short-lived objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """In the process that started the workers, as one ends."""
    if "peak" in getattr(node, "workeroutput", {}):
        node.config.stash[PEAKS][node.gateway.id] = node.workeroutput["peak"]


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = peak()
        return
    peaks = session.config.stash[PEAKS]
    peaks.setdefault("this process", peak())
    if max(peaks.values()) > PEAK and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    peaks = config.stash[PEAKS]
    terminalreporter.write_line(
        "peak memory: " + ", ".join(f"{name} {size:.2f} GB" for name, size in peaks.items())
    )
    if max(peaks.values(), default=0) > PEAK:
        terminalreporter.write_line(f"a process of the tests held more than {PEAK} GB", red=True)


def _relative(found, expected) -> float:
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert [x.shape for x in found] == [x.shape for x in expected]
    pairs = [(abs(a - b).max(), abs(b).max()) for a, b in zip(found, expected, strict=True) if b.size]
    floor = 1e-3 * max(float(size) for _, size in pairs)
    return max(float(error) / max(float(size), floor) for error, size in pairs)


@pytest.fixture(scope="session")
def relative():
    """Largest difference between two pytrees, relative to the largest entry of each expected leaf (with a
    floor of 1e-3 of the tree's)."""
    return _relative


@pytest.fixture(scope="session")
def quick_jit():
    """`jax.jit`, for the tests of fits."""
    return jax.jit
