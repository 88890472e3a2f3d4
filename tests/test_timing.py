import itertools
import re
import subprocess
import sys
import time

import jax
import pytest

from jaxloss import timing


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told the time."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(timing.time, "perf_counter", lambda: Clock.now)
    return Clock


class TestStopwatch:
    def test_phases_within_phases_count_once(self, clock):
        watch = timing.Stopwatch("import", elapsed=2.0)
        for clock.now, name in ((1.0, "run"), (4.0, "labels"), (9.0, "run")):
            watch.enter(name)
        clock.now = 11.0
        assert watch.seconds == {"import": 3.0, "compile": 0.0, "run": 5.0, "labels": 5.0}
        assert str(watch) == "import 3.0 s, compile 0.0 s, run 5.0 s, labels 5.0 s; 13.0 s in all"

    def test_enter_returns_the_former(self):
        watch = timing.Stopwatch("import")
        assert [watch.enter("run"), watch.enter("draw")] == ["import", "run"]

    # Spans of 3 to 5, one inside it, one beside it in another thread, and one across two phases, in any order.
    @pytest.mark.parametrize("spans", list(itertools.permutations([(3, 5), (3.5, 4), (4, 6), (9, 11)])))
    def test_compilation_is_taken_from_where_it_fell(self, clock, spans):
        watch = timing.Stopwatch("run")
        for start, clock.now in spans:
            watch.compiled(clock.now - start)
        clock.now = 10.0
        watch.enter("labels")
        clock.now = 12.0
        assert watch.seconds == {"run": 6.0, "compile": 5.0, "labels": 1.0}


class TestPhase:
    def test_nobody_measures(self):
        with timing.phase("run"):
            pass

    def test_nested(self):
        with timing.stopwatch("import") as watch:
            with timing.phase("run"), timing.phase("labels"):
                pass
            with pytest.raises(ValueError, match="x"), timing.phase("draw"):
                raise ValueError("x")
            assert watch.enter("import") == "import"
        assert list(watch.seconds) == ["import", "compile", "run", "labels", "draw"]

    def test_what_jax_compiles_is_measured_until_the_end(self):
        def compile_one(constant):
            jax.jit(lambda x: x * constant)(1.0)

        with timing.stopwatch("run", elapsed=100.0) as watch:
            compile_one(2.5)
            spent = watch.seconds["compile"]
            assert 0 < spent < sum(watch.seconds.values()) - 100
        compile_one(3.5)
        assert watch.seconds["compile"] == pytest.approx(spent)


def test_process_age():
    assert 0 < timing.process_age() < 24 * 3600


def test_process_age_of_a_new_process():
    code = "import time; from jaxloss import timing; first = timing.process_age(); time.sleep(0.3); print(first, "
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + "timing.process_age())"], capture_output=True, text=True, check=True
    )
    first, second = map(float, done.stdout.split())
    # Linux counts in hundredths of a second; elsewhere psutil may be off by one second.
    slack = 0.02 if sys.platform == "linux" else 1.0
    assert first <= time.perf_counter() - started - 0.3 + slack
    assert second - first == pytest.approx(0.3, abs=0.2)


def test_form(clock):
    assert re.fullmatch(r"import 1\.5 s, compile 0\.0 s; 1\.5 s in all", str(timing.Stopwatch("import", 1.5)))
