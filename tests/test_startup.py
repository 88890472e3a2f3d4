import json
import os
import subprocess
import sys
import time

import pytest

from jaxloss import startup

DAY = 24 * 3600
OURS = ("JAX_", "JAXLOSS_", "XLA_", "XDG_", "TF_CPP")


class TestCacheFolder:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        return tmp_path / "home"

    def test_in_the_home(self, home):
        assert startup.cache_folder() == home / ".cache" / "jaxloss"
        assert (home / ".cache" / "jaxloss").stat().st_mode & 0o777 == 0o700
        assert os.listdir(home / ".cache" / "jaxloss") == []

    def test_by_the_standard(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert startup.cache_folder() == tmp_path / "xdg" / "jaxloss"

    @pytest.mark.parametrize("value", ["", "relative/path"])
    def test_a_relative_path_is_ignored(self, home, monkeypatch, value):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert startup.cache_folder() == home / ".cache" / "jaxloss"

    def test_not_writable(self, home, tmp_path, monkeypatch):
        home.write_text("a file")
        assert startup.cache_folder() is None
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
        assert startup.cache_folder() is None

    def test_no_home(self, monkeypatch):
        def fail():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(startup.Path, "home", fail)
        assert startup.cache_folder() is None

    def test_old_entries_go(self, home):
        folder = startup.cache_folder()
        for name, days in {"new": 1, "old": startup.MAX_AGE_DAYS + 1}.items():
            (folder / name).write_bytes(b"")
            os.utime(folder / name, (time.time(), time.time() - days * DAY))
        (folder / "folder").mkdir()
        os.utime(folder / "folder", (0, 0))
        assert startup.cache_folder() == folder
        assert sorted(os.listdir(folder)) == ["folder", "new"]


@pytest.mark.parametrize(("value", "off"), [("off", True), ("OFF", True), ("0", True), ("", False), ("on", False)])
def test_switch(monkeypatch, value, off):
    monkeypatch.setenv(startup.SWITCH, value)
    assert startup.cache_is_off() is off


def test_a_jax_that_is_imported_is_left_alone(monkeypatch):
    import jax

    before = dict(os.environ), jax.config.jax_compilation_cache_dir, jax.config.jax_num_cpu_devices
    assert startup.start_jax() is False
    assert (dict(os.environ), jax.config.jax_compilation_cache_dir, jax.config.jax_num_cpu_devices) == before


class TestStartJax:
    CODE = """
import json, os
from jaxloss.startup import start_jax
assert start_jax()
import jax
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rsplit("/", 1)[-1]))
values = [float(jax.jit(lambda x: (x * 3).sum())(jax.device_put(2.0, d))) for d in jax.devices()]
config = jax.config
print(json.dumps({
    "values": values, "hits": events.count("cache_hits"), "misses": events.count("cache_misses"),
    "folder": config.jax_compilation_cache_dir, "least": config.jax_persistent_cache_min_compile_time_secs,
}))
"""

    def start(self, tmp_path, **environment):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        environment = {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu", **environment}
        argv = [sys.executable, "-W", "error", "-c", self.CODE]
        run = subprocess.run(argv, env=kept | environment, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        return json.loads(run.stdout)

    def test_the_second_process_compiles_nothing_and_damage_is_harmless(self, tmp_path):
        folder = tmp_path / "jaxloss"
        first = self.start(tmp_path)
        assert (first["values"], first["folder"], first["least"]) == ([6.0], str(folder), 0)
        assert (first["hits"], first["misses"]) == (0, len(os.listdir(folder)))
        second = self.start(tmp_path)
        assert (second["values"], second["misses"]) == (first["values"], 0)
        assert second["hits"] >= 1
        for i, entry in enumerate(sorted(folder.iterdir())):
            whole = entry.read_bytes()
            entry.write_bytes((b"", whole[: len(whole) // 2], whole[:99] + b"\0" + whole[100:])[i % 3])
        damaged = self.start(tmp_path)
        assert (damaged["values"], damaged["hits"]) == (first["values"], 0)

    def test_switched_off(self, tmp_path):
        off = self.start(tmp_path, JAXLOSS_CACHE="off", XLA_FLAGS="--xla_force_host_platform_device_count=3")
        assert (len(off["values"]), off["folder"], os.listdir(tmp_path)) == (3, None, [])

    def test_what_the_user_chose_stays(self, tmp_path):
        (tmp_path / "jaxloss").write_text("a file, where our folder would be")
        own = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own"), "JAX_NUM_CPU_DEVICES": "3"}
        kept = self.start(tmp_path, **own, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="7")
        assert (len(kept["values"]), kept["folder"], kept["least"]) == (3, str(tmp_path / "own"), 7)

    def test_nowhere_to_write(self, tmp_path):
        (tmp_path / "jaxloss").write_text("a file, where our folder would be")
        assert self.start(tmp_path)["folder"] is None
