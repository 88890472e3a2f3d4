"""The pages of the site say what the code says; the site itself is built by ``sphinx-build -W``, see docs/conf.py."""

import importlib.util
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jaxloss import OUTCOMES, activations, outcomes, spec
from jaxloss.results import RESERVED
from jaxloss.sweeps import RunOptions

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


def extension(name):
    """One of the site's own Sphinx extensions; those used here need no Sphinx to be imported."""
    found = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


complete, facts, generated, offline = map(extension, ("complete", "facts", "generated", "offline"))


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def section(text, title):
    """What stands below a heading, up to the next one of any level."""
    (found,) = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return found


def table(text):
    """The rows of the first table, without the heading, cells stripped of backticks."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


class TestDocstrings:
    @pytest.mark.parametrize("module", complete.modules(), ids=lambda module: module.__name__)
    def test_every_public_name_has_one(self, module):
        assert complete.undocumented(module) == []

    def test_one_that_is_missing_is_found(self):
        module = types.ModuleType("undocumented", "A module.")
        code = "def bare(): ...\ndef _private(): ...\nclass Thing:\n  'Doc.'\n  @property\n  def value(self): ...\n"
        exec(code, vars(module))
        for thing in (module.bare, module.Thing):
            thing.__module__ = "undocumented"
        assert complete.undocumented(module) == ["undocumented.bare", "undocumented.Thing.value"]

    def test_objects_made_of_functions_are_listed_by_themselves(self):
        assert complete.wrapped(activations) == ["softplus", "softmax"]


class TestSpecReference:
    MODELS = (
        ("The whole file", spec.Document),
        ("`[data]`", spec.Data),
        ("`[[objective]]`", spec.Objective),
        ("`[grid]`", spec.GridTable),
        ("An axis", spec.AxisTable),
        ("Random starts", spec.StartsTable),
        ("`[run]`", spec.Run),
    )

    @pytest.mark.parametrize(("title", "model"), MODELS, ids=[model.__name__ for _, model in MODELS])
    def test_has_every_key_with_its_default(self, title, model):
        rows = {key: default for key, _, default, _ in table(section(page("specs.md"), title))}
        assert list(rows) == list(model.model_fields)
        defaults = vars(RunOptions()) if model is spec.Run else {}
        for key, field in model.model_fields.items():
            default = field.default if key == "num_paths" else defaults.get(key, field.default)
            if field.is_required():
                assert rows[key] == "", key
            elif default is None or default in ({}, []):
                assert rows[key] == "none", key
            elif not isinstance(default, spec.Run) and key != "name":
                assert json.loads(rows[key]) == default, key

    def test_every_model_has_a_table(self):
        models = {m for m in vars(spec).values() if isinstance(m, type) and issubclass(m, spec._Table)}
        assert models - {spec._Table} == {model for _, model in self.MODELS}

    def test_examples_are_valid(self):
        examples = re.findall(r"^```toml\n(.*?)^```", page("specs.md"), flags=re.MULTILINE | re.DOTALL)
        assert len(examples) >= 3
        for example in examples:
            spec.parse_spec(example).validate()

    def test_lists_every_variable_of_a_result(self):
        rows = table(section(page("specs.md"), "The result"))
        listed = {name.strip("` ") for names, _ in rows for name in names.split(",")}
        dimensions = {"parameter", "critical_point", "eigenvalue", "start", "learning_rate", "trajectory"}
        assert listed == RESERVED - dimensions


class TestOutcomesPage:
    def test_lists_every_outcome_with_its_code(self):
        rows = table(section(page("outcomes.md"), "The ten outcomes"))
        assert {name: int(code) for code, name, _ in rows} == OUTCOMES

    @pytest.mark.parametrize("group", ["solved", "trapped", "unstable"])
    def test_groups_are_those_of_the_code(self, group):
        (line,) = re.findall(rf"^{group}\n: (.*?):", page("outcomes.md"), flags=re.MULTILINE)
        assert set(map(int, re.findall(r"\d", line))) == getattr(outcomes, group.upper())


class TestFacts:
    @pytest.mark.parametrize("name", PAGES)
    def test_a_page_quotes_what_there_is(self, name):
        assert set(re.findall(r"\{\{ (\w+) \}\}", page(name))) <= set(facts.all_facts())

    def test_all_of_them_are_quoted(self):
        quoted = set(re.findall(r"\{\{ (\w+) \}\}", "".join(map(page, PAGES))))
        assert set(facts.all_facts()) == quoted

    def test_the_table_of_trapped_runs_is_the_committed_one(self):
        first, *_, last = table(facts.trapped_table())
        assert first[:2] == ["sigmoid + MSE", "393,216"]
        share, low, high = map(float, re.findall(r"[\d.]+", first[2]))
        assert low <= share <= high
        assert share == pytest.approx(sum(map(float, first[3:])), abs=0.1)
        assert last[0] == "sigmoid + cross-entropy"
        assert last[2].startswith("0 [0, ")


class TestGenerated:
    PAGE = ":::{generated} results/a.md\n# Until then\n\nNothing yet.\n:::\n"

    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        monkeypatch.setattr(generated, "ROOT", tmp_path)
        (tmp_path / "results").mkdir()
        (tmp_path / "docs").mkdir()
        return tmp_path

    def expand(self, root):
        return generated.expand(self.PAGE, root / "docs" / "a.md")

    def test_says_something_until_the_file_is_there(self, root):
        assert self.expand(root) == ("# Until then\n\nNothing yet.\n\n", [])

    def test_takes_the_file_once_it_is(self, root):
        (root / "results" / "a.md").write_text("# Title\n\nText.\n")
        text, used = self.expand(root)
        assert text == "# Title\n\nText.\n\n"
        assert used == [root / "results" / "a.md"]

    def test_a_file_without_a_title_gets_the_page_s(self, root):
        (root / "results" / "a.md").write_text("Text.\n")
        assert self.expand(root)[0].startswith("# Until then\n\nText.")

    def test_links_lead_to_the_same_files(self, root):
        for name in ("a.csv", "b.png"):
            (root / "results" / name).touch()
        links = (
            "![b](b.png) [a](a.csv) [`a`](a.csv) [![b](b.png)](a.csv) [out](https://example.org) `[code](a.csv)` "
            "[gone](c.csv) [here](.)"
        )
        (root / "results" / "a.md").write_text(f"# T\n{links}\n")
        assert self.expand(root)[0].splitlines()[1] == (
            "![b](../results/b.png) [a](../results/a.csv) [`a`](../results/a.csv) "
            "[![b](../results/b.png)](../results/a.csv) [out](https://example.org) `[code](a.csv)` gone here"
        )

    def test_every_block_names_one_page_and_has_its_title(self):
        blocks = [block for name in PAGES for block in generated.BLOCK.findall(page(name))]
        assert len(blocks) == 5
        assert all(path.endswith(".md") and text.startswith("# ") for path, text in blocks)


class TestOffline:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.html", '<script src="https://cdn.example/x.js"></script>'),
            ("a.html", '<link rel="stylesheet" href="//fonts.example/x.css">'),
            ("a.html", '<img src="http://example.org/x.png">'),
            ("a.html", "<style>@import url('https://fonts.example/x.css');</style>"),
            ("a.css", "body { background: url(https://example.org/x.png) }"),
        ],
    )
    def test_what_a_browser_would_fetch_is_found(self, tmp_path, name, text):
        (tmp_path / name).write_text(text)
        ((found, addresses),) = offline.fetched_from_elsewhere(tmp_path).items()
        assert found == name
        assert len(addresses) == 1
        assert "example" in addresses[0]

    def test_links_and_own_files_are_not(self, tmp_path):
        text = '<a href="https://example.org">x</a> <img src="_images/x.png"> <script src="_static/x.js"></script>'
        (tmp_path / "a.html").write_text(f'{text} <link rel="canonical" href="https://example.org">')
        (tmp_path / "a.css").write_text('body { background: url("x.png") }')
        assert offline.fetched_from_elsewhere(tmp_path) == {}


class TestPages:
    def test_every_page_is_in_the_table_of_contents(self):
        listed = re.findall(r"^```\{toctree\}\n(.*?)^```", page("index.md"), flags=re.MULTILINE | re.DOTALL)
        entries = {f"{line}.md" for block in listed for line in block.splitlines() if re.fullmatch(r"\w+", line)}
        assert entries == set(PAGES) - {"index.md"}

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["getting_started.md", "extending.md"])
    def test_its_program_runs(self, name, tmp_path):
        cells = re.findall(r"^```\{code-cell\}\n\n?(?!:)(.*?)^```", page(name), flags=re.MULTILINE | re.DOTALL)
        assert len(cells) >= 5
        # A process of its own: it starts JAX, and it adds to the registries.
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", "\n".join(cells)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
