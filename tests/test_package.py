import ast
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import jaxloss

ROOT = Path(jaxloss.__file__).parents[1]
SOURCES = sorted((ROOT / "jaxloss").rglob("*.py"))

# The house, from the ground up: a module may import from its own floor and from those above it in this list.
FLOORS = (
    {"errors", "checks", "timing"},
    {"activations", "losses", "information", "models", "gradients"},
    {"problems"},
    {"optimizers"},
    {"blocks"},
    {"grids"},
    {"descent", "orbits"},
    {"iteration"},
    {"engine"},
    {"critical_points"},
    {"surface", "stability"},
    {"outcomes"},
    {"runs", "evidence", "limit_sets"},
    {"results"},
    {"sweeps", "maps"},
    {"labellers"},
    {"basins"},
    {"bifurcation", "flow", "refinement"},
    {"store"},
    {"stored"},
    {"spec"},
    {"reproduce", "lecture"},
    {"figures"},
    {"startup"},
    {"cluster"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Full names of everything that a file imports, also inside functions."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def rooms_used(path):
    """The rooms of the house that a file imports from."""
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "jaxloss" and len(parts) > 1 and parts[1] in FLOOR:
            yield parts[1]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def locked():
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]


class TestImports:
    def test_every_module_has_its_floor(self):
        rooms = {path.relative_to(ROOT / "jaxloss").parts[0].removesuffix(".py") for path in SOURCES}
        assert rooms - {"__init__"} <= set(FLOOR)

    @pytest.mark.parametrize("path", SOURCES, ids=module_name)
    def test_point_upwards_never_back(self, path):
        room = path.relative_to(ROOT / "jaxloss").parts[0].removesuffix(".py")
        if room == "__init__":
            return
        below = {used for used in rooms_used(path) if FLOOR[used] > FLOOR[room]}
        assert not below, f"{module_name(path)} imports from rooms below it: {sorted(below)}"

    def test_nothing_but_the_package_itself_goes_through_the_package(self):
        # ``from jaxloss import sweep`` inside a module would hide which room it uses.
        for path in SOURCES:
            if path.parent != ROOT / "jaxloss" or path.name in ("__init__.py",):
                continue
            names = {name.removeprefix("jaxloss.") for name in imported(path) if name.startswith("jaxloss.")}
            assert {name for name in names if name.split(".")[0] not in FLOOR} <= {"__version__"}

    @pytest.mark.parametrize("path", SOURCES, ids=module_name)
    def test_only_figures_import_matplotlib(self, path):
        if "figures" not in path.relative_to(ROOT / "jaxloss").parts:
            assert not any(name.split(".")[0] in ("matplotlib", "mpl_toolkits") for name in imported(path))

    def test_the_reader_of_imports_sees_what_is_there(self):
        used = set(rooms_used(ROOT / "jaxloss" / "sweeps.py"))
        assert {"engine", "outcomes", "grids", "problems", "runs"} <= used
        assert "figures" in set(rooms_used(ROOT / "jaxloss" / "__init__.py"))


class TestMetadata:
    def test_version(self, project):
        assert project["version"] == jaxloss.__version__

    def test_public_names_exist(self):
        assert all(hasattr(jaxloss, name) for name in jaxloss.__all__)

    @pytest.mark.parametrize("name", ["jax", "jaxlib"])
    def test_excludes_the_builds_that_sum_wrongly(self, project, name):
        requirements = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
        allowed = {v for v in ("0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.2", "0.12.0") if v in requirements[name]}
        assert allowed == {"0.10.1", "0.11.2", "0.12.0"}

    def test_every_dependency_has_a_lower_bound(self, project):
        for requirement in map(Requirement, project["dependencies"]):
            assert any(s.operator == ">=" for s in requirement.specifier), requirement.name


class TestLock:
    def test_names_the_public_index_alone(self, locked):
        for package in locked:
            if package["name"] == "jaxloss":
                assert package["source"] == {"editable": "."}
            else:
                assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]

    def test_every_file_lies_on_the_public_host(self, locked):
        files = [f for p in locked for f in [*p.get("wheels", []), *([p["sdist"]] if "sdist" in p else [])]]
        assert len(files) > 100
        assert all(f["url"].startswith("https://files.pythonhosted.org/packages/") for f in files)
        assert all(f["hash"].startswith("sha256:") for f in files)

    def test_holds_no_local_path(self):
        text = (ROOT / "uv.lock").read_text(encoding="utf-8")
        for word in ("file://", "path =", "directory =", "virtual =", "/home/", "/root/", "/tmp/", "localhost"):
            assert word not in text, word

    @pytest.mark.parametrize("name", ["jax", "jaxlib"])
    def test_has_none_of_the_builds_that_sum_wrongly(self, locked, name):
        versions = {package["version"] for package in locked if package["name"] == name}
        # One for Python 3.11, one for later.
        assert len(versions) == 2
        assert not versions & {"0.10.2", "0.11.0"}

    def test_the_lock_is_of_this_version(self, locked, project):
        assert {p["version"] for p in locked if p["name"] == "jaxloss"} == {project["version"]}
