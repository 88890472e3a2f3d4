"""The spec of a comparison: TOML in, validated problems, grid and options out.

Every error is one sentence that names the field, its place in the file and what would be right.
"""

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from jaxloss.errors import InputError
from jaxloss.grids import START, Axis, Grid, Starts, random_directions
from jaxloss.problems import PROBLEMS, Problem, load_problem, load_samples, neuron_problem
from jaxloss.problems.registry import problem_options
from jaxloss.sweeps import RunOptions, validate

COMPARISON = Path(__file__).parent / "specs" / "loss-comparison.toml"
"""The packaged spec: the loss comparison."""

MAX_NUM = 10**8
"""The most values of one axis; the memory of the whole grid is checked besides."""

KeyPath = tuple[str | int, ...]
"""Where a value stands in the document, such as ``("objective", 0, "loss")``."""


def _only_numbers(values: list) -> list:
    for value in values:
        if isinstance(value, list):
            _only_numbers(value)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must hold nothing but numbers, not {_shown(value)}")
    return values


def _is_array_of_tables(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("must be written [[objective]], with two brackets")
    return value


def _is_file_name(name: str) -> str:
    if not re.fullmatch(r"[\w][\w. +-]*", name):
        raise ValueError(f"must be letters, digits, '-', '_' or '.', not {_shown(name)}")
    return name


def _fits_in_64_bits(value: int) -> int:
    if value >= 2**63:
        raise ValueError("must be below 2^63")
    return value


Numbers = Annotated[list, AfterValidator(_only_numbers)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(_Table):
    """The table ``[data]``: samples, a problem by name, or a file."""

    inputs: Numbers | None = None
    targets: Numbers | None = None
    problem: str | None = None
    options: dict[str, Any] = {}
    file: str | None = None
    features: list[str] | None = None
    target: str | None = None
    standardize: bool = False
    bias: bool = True

    @model_validator(mode="after")
    def _one_kind(self):
        required = {"inputs": {"targets"}, "problem": set(), "file": {"features", "target"}}
        optional = {"inputs": {"bias"}, "problem": {"options"}, "file": {"standardize", "bias"}}
        kinds = [kind for kind in required if kind in self.model_fields_set]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            raise ValueError(f"needs exactly one of inputs (with targets), problem and file, not {found}")
        (kind,) = kinds
        if missing := required[kind] - self.model_fields_set:
            raise ValueError(f"needs the key {min(missing)!r} beside {kind!r}")
        if stray := self.model_fields_set - {kind} - required[kind] - optional[kind]:
            raise ValueError(f"has the key {min(stray)!r}, which does not go with {kind!r}")
        return self


class Objective(_Table):
    """One table ``[[objective]]``."""

    activation: str | None = None
    loss: str | None = None


class AxisTable(_Table):
    """One axis of ``[grid]``: a range, or values."""

    start: float | None = None
    stop: float | None = None
    num: int | None = None
    spacing: Literal["linear", "log"] = "linear"
    values: list[float] | None = None

    @model_validator(mode="after")
    def _one_kind(self):
        given = self.model_fields_set
        if "values" in given and given != {"values"}:
            raise ValueError("needs either values, or start, stop and num, not both")
        if "values" not in given:
            for key in ("start", "stop", "num"):
                if key not in given:
                    raise ValueError(f"needs the key {key!r} (or values in place of start, stop and num)")
        return self

    def build(self) -> Axis:
        """The axis of a grid."""
        if self.values is not None:
            return Axis.of(self.values)
        make = Axis.log if self.spacing == "log" else Axis.linear
        return make(self.start, self.stop, self.num)  # pyright: ignore[reportArgumentType]


class StartsTable(_Table):
    """The key ``start`` of ``[grid]``: random initial points."""

    num: int
    distribution: Literal["normal", "uniform"] = "normal"
    scale: float = 1.0

    def build(self) -> Starts:
        """The random starts of a grid."""
        return Starts(self.num, self.distribution, self.scale)


class GridTable(_Table):
    """The table ``[grid]``: axes by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, AxisTable] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]
    start: StartsTable | None = None
    directions: Literal["random", "filter_normalized"] | None = None

    @model_validator(mode="after")
    def _not_empty(self):
        if not self.__pydantic_extra__ and self.start is None:
            raise ValueError("needs at least one axis")
        return self


class Run(_Table):
    """The table ``[run]``: the options of a sweep.

    Those not given have the defaults of `RunOptions`, but a few trajectories are kept for the figures.
    """

    optimizer: str | None = None
    num_steps: int | None = None
    gradient_tolerance: float | None = None
    divergence_bound: float | None = None
    precision: Literal["float32", "float64"] | None = None
    seed: Annotated[int, AfterValidator(_fits_in_64_bits)] | None = None
    learning_rate: float | None = None
    hyperparameters: dict[str, float] | None = None
    batch_size: int | None = None
    replacement: bool | None = None
    gradient_noise: float | None = None
    shared_draws: bool | None = None
    tile_size: int | None = None
    num_paths: int = 6


class Document(_Table):
    """The whole file."""

    name: Annotated[str, AfterValidator(_is_file_name)] = ""
    data: Data
    objective: Annotated[list[Objective], BeforeValidator(_is_array_of_tables)] = []
    grid: GridTable
    run: Run = Run()


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a document came from, to say in errors where a value stands.

    Attributes:
      name: of the file.
      text: the TOML.
      document: the same, parsed, with the overrides.
      overrides: keys of ``[run]`` set outside the file.
    """

    name: str
    text: str
    document: Mapping[str, Any]
    overrides: frozenset[str] = frozenset()

    @functools.cached_property
    def lines(self) -> dict[KeyPath, int]:
        """The first line of each table and key."""
        return statement_lines(self.text)

    def place(self, path: KeyPath) -> str:
        """Where a value stands: its line, or the option that set it."""
        if len(path) > 1 and path[0] == "run" and path[1] in self.overrides:
            return f"--{str(path[1]).replace('_', '-')}"
        line = self.line(path)
        return f"{self.name}, line {line}" if line else self.name

    def line(self, path: KeyPath) -> int:
        """The line of a value, or of the innermost table that is found, or 0."""
        return next((self.lines[path[:k]] for k in range(len(path), 0, -1) if path[:k] in self.lines), 0)

    def locate(self, message: str, tables: Iterable[KeyPath]) -> str:
        """An error with its place: the first key of these tables that it mentions, else the first value."""
        found = []
        for table in tables:
            node: Any = functools.reduce(_child, table, self.document)
            for key, value in node.items() if isinstance(node, Mapping) else ():
                for rank, word in enumerate((key, value)):
                    if isinstance(word, str) and (place := _mention(word, message)) is not None:
                        found.append((rank, place, table, (*table, key)))
            found.append((2, 0 if _mention(str(table[0]), message) is not None else 1, table, table))
        *_, table, path = min(found, key=lambda item: item[:2])
        return f"{self.place(path)}: {_shown_path(table)}: {message}"


@dataclasses.dataclass(frozen=True, eq=False)
class Spec:
    """A validated spec, as `load_spec` gives it.

    Attributes:
      name: of the comparison.
      data: the table ``[data]``.
      objectives: the tables ``[[objective]]``.
      axes: the axes of ``[grid]`` in their order, without ``directions``.
      directions: how the axes ``direction[i]`` are drawn.
      run: the table ``[run]``.
      source: the file.
      folder: what the path of a data file is relative to.
      copy: where the data file lies instead, if it is a copy.
    """

    name: str
    data: Data
    objectives: tuple[Objective, ...]
    axes: Mapping[str, AxisTable | StartsTable]
    directions: str | None
    run: Run
    source: Source = dataclasses.field(repr=False)
    folder: Path = Path()
    copy: Path | None = None

    @property
    def data_file(self) -> Path | None:
        """The file that the data come from, if they come from one."""
        return None if self.data.file is None else self.copy or self.folder / self.data.file

    def problems(self) -> list[tuple[str, Problem]]:
        """Each objective as a problem with its label, ``<activation>-<loss>``.

        Without ``[[objective]]`` the label is the problem's name. Built once: the same objects every time.

        Raises:
          InputError: unknown names, bad data, or an objective that is there twice.
        """
        return self._problems

    @functools.cached_property
    def _problems(self) -> list[tuple[str, Problem]]:
        built: dict[str, Problem] = {}
        if not self.objectives:
            with self._placed(("data",)):
                if self.data.problem is None:
                    raise InputError("the samples need at least one [[objective]] with activation and loss")
                return [(self.data.problem, _load(self.data.problem, self.data.options))]
        for i, objective in enumerate(self.objectives):
            table: KeyPath = ("objective", i)
            with self._placed(table, ("data",)):
                label, problem = self._problem(objective)
                if label in built:
                    raise InputError(f"this objective is there twice: {label}")
                built[label] = problem
        return list(built.items())

    def _problem(self, objective: Objective) -> tuple[str, Problem]:
        name = self.data.problem
        if name is None:
            for key in ("activation", "loss"):
                if getattr(objective, key) is None:
                    raise InputError(f"this objective needs the key {key!r}")
            activation, loss = str(objective.activation), str(objective.loss)
            inputs, targets = self._samples
            problem = neuron_problem(activation, loss, inputs, targets, bias=self.data.bias)
            return f"{activation}-{loss}", problem
        chosen = objective.model_dump(exclude_none=True)
        if twice := chosen.keys() & self.data.options.keys():
            raise InputError(f"{min(twice)} is also in the options of [data]")
        if name in PROBLEMS and (fixed := chosen.keys() - set(problem_options(name))):
            raise InputError(f"{min(fixed)} is fixed by {name}")
        problem = _load(name, {**self.data.options, **chosen})
        signature = inspect.signature(PROBLEMS[name]).parameters
        defaults = {key: signature[key].default for key in problem_options(name)}
        settings = {"activation": name} | defaults | self.data.options | chosen
        return "-".join(str(settings[key]) for key in ("activation", "loss") if key in settings), problem

    @functools.cached_property
    def _samples(self) -> tuple[Any, Any]:
        data = self.data
        if self.data_file is None:
            return data.inputs, data.targets
        return load_samples(
            self.data_file,
            features=data.features or (),
            target=str(data.target),
            standardize=data.standardize,
        )

    def grid(self, problem: Problem) -> Grid:
        """The grid, with directions through the problem's parameters where an axis needs them.

        Raises:
          InputError: an axis without a value, without a length, or with a log scale through zero.
        """
        axes = {}
        for name, axis in self.axes.items():
            with self._placed(("grid",) if name == START else ("grid", name)):
                if axis.num is not None and axis.num > MAX_NUM:
                    raise InputError(f"num must be at most {MAX_NUM:,}, not {axis.num:,}")
                axes[name] = axis.build()
        num = sum(name.startswith("direction[") for name in axes)
        if not num or self.directions is None:
            return Grid(axes)
        filter_normalized = self.directions == "filter_normalized"
        with self._placed(("grid",)):
            if filter_normalized and not any(problem.ravel(problem.params)):
                raise InputError(
                    f"directions: filter_normalized needs parameters of {problem.name} that are not zero"
                )
            # Only here: reading a spec should not start JAX's backend.
            import jax

            key = jax.random.key(self.options().seed)
            return Grid(
                axes, directions=random_directions(problem, key, num=num, filter_normalized=filter_normalized)
            )

    def options(self) -> RunOptions:
        """The options of the sweep.

        Raises:
          InputError: an option outside its range, or an unknown optimiser.
        """
        with self._placed(("run",)):
            return RunOptions(**self.run.model_dump(exclude_none=True))

    def validate(self) -> None:
        """Raises whatever a sweep of any of the objectives would raise, before anything runs.

        Raises:
          InputError: the first thing that is wrong.
        """
        options = self.options()
        for _, problem in self.problems():
            grid = self.grid(problem)
            with self._placed(("grid",), ("run",), ("run", "hyperparameters")):
                validate(problem, grid, options)

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values: equal if and only if the results are.

        The options are written out with their defaults; a data file is named with the digest of its bytes.
        """
        data = self.data.model_dump(exclude_defaults=True)
        if self.data_file is not None:
            data["sha256"] = hashlib.sha256(self.data_file.read_bytes()).hexdigest()
        grid: dict[str, Any] = {name: axis.model_dump(exclude_defaults=True) for name, axis in self.axes.items()}
        document = {
            "name": self.name,
            "data": data,
            "objective": [objective.model_dump(exclude_none=True) for objective in self.objectives],
            "grid": grid | ({"directions": self.directions} if self.directions else {}),
            "run": dataclasses.asdict(self.options()),
        }
        return json.loads(json.dumps(document, default=str))

    @contextlib.contextmanager
    def _placed(self, *tables: KeyPath) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError(self.source.locate(str(error), tables)) from None


def _load(name: str, options: Mapping[str, Any]) -> Problem:
    try:
        return load_problem(name, **options)
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"options do not fit problem {name!r}: {error}") from None


def load_spec(path: str | Path, *, overrides: Mapping[str, Any] | None = None) -> Spec:
    """The spec in a TOML file.

    Args:
      path: the file.
      overrides: values for keys of ``[run]`` that take precedence over the file's.

    Returns:
      The spec. Its problems and its grid are built, and further checked, when they are asked for.

    Raises:
      InputError: no such file, not TOML, an unknown key, or a value of the wrong type.

    Examples:
      >>> [label for label, _ in load_spec(COMPARISON).problems()]
      ['sigmoid-mse', 'relu-mse', 'sigmoid-cross_entropy']
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"no spec file {str(path)!r}") from None
    except IsADirectoryError:
        raise InputError(f"spec {str(path)!r} is a folder, not a file") from None
    except UnicodeDecodeError:
        raise InputError(f"spec {str(path)!r} is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"cannot read spec {str(path)!r}: {error.strerror or error}") from None
    return parse_spec(text, source=path.name, folder=path.parent, overrides=overrides)


def parse_spec(
    text: str,
    *,
    source: str = "spec",
    folder: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Spec:
    r"""The spec in a text.

    Args:
      text: TOML.
      source: what to call it in errors; without its suffix, the default of the spec's name.
      folder: what the path of a data file is relative to.
      overrides: values for keys of ``[run]`` that take precedence over the text's.

    Returns:
      The spec.

    Raises:
      InputError: as for `load_spec`.

    Examples:
      >>> parse_spec("[data]\nproblem = 'iris'\n[grid]\nbias = {values = [0]}\n[run]\nnum_step = 9")
      Traceback (most recent call last):
      jaxloss.errors.InputError: spec, line 6: [run] has no key 'num_step': did you mean 'num_steps'?
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, line = str(error).partition(" (at line ")
        place = f"{source}, line {line.partition(',')[0]}" if line else source
        raise InputError(f"{place}: not valid TOML: {what[0].lower()}{what[1:]}") from None
    overrides = dict(overrides or {})
    if overrides and isinstance(document.setdefault("run", {}), dict):
        document["run"] |= overrides
    return _spec_of(document, Source(source, text, document, frozenset(overrides)), Path(folder or "."))


def _spec_of(document: dict[str, Any], origin: Source, folder: Path) -> Spec:
    try:
        tables = Document.model_validate(document)
    except ValidationError as error:
        raise _first_error(error, origin) from None
    axes = {**(tables.grid.model_extra or {}), START: tables.grid.start}
    return Spec(
        name=tables.name or Path(origin.name).stem,
        data=tables.data,
        objectives=tuple(tables.objective),
        axes={name: axes[name] for name in document["grid"] if name != "directions"},
        directions=tables.grid.directions,
        run=tables.run,
        source=origin,
        folder=folder,
    )


def spec_from_json(document: Mapping[str, Any], data_folder: Path) -> Spec:
    """The spec of which `Spec.to_json` has given the JSON.

    Args:
      document: the JSON.
      data_folder: where a copy of the data file lies.

    Returns:
      The spec.

    Raises:
      InputError: the JSON is no such spec, or the copy of its data file is missing or another file.
    """
    document = {name: dict(table) if isinstance(table, dict) else table for name, table in document.items()}
    digest = document["data"].pop("sha256", None) if isinstance(document.get("data"), dict) else None
    spec = _spec_of(document, Source("spec.json", "", document), data_folder)
    if spec.data.file is not None:
        spec = dataclasses.replace(spec, copy=data_folder / Path(spec.data.file).name)
        content = spec.copy.read_bytes() if spec.copy and spec.copy.is_file() else b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise InputError(f"the data file {str(spec.copy)!r} is missing, or not the one that was swept")
    return spec


def statement_lines(text: str) -> dict[KeyPath, int]:
    r"""The line on which each table header and key of a valid TOML document starts.

    A statement ends where its lines parse by themselves, so that TOML's own parser tells what is a string,
    a comment or a bracket.

    Examples:
      >>> statement_lines("a = [\n  1,\n]\n[[b]]\nc.d = 2")
      {('a',): 1, ('b',): 4, ('b', 0): 4, ('b', 0, 'c'): 5, ('b', 0, 'c', 'd'): 5}
    """
    lines: dict[KeyPath, int] = {}
    latest: dict[KeyPath, int] = {}
    header: KeyPath = ()
    statement, first = "", 1

    def record(path: KeyPath, node: Any) -> None:
        if path:
            lines.setdefault(path, first)
        if isinstance(node, dict):
            for key, child in node.items():
                record((*path, key), child)

    for number, line in enumerate(text.split("\n"), start=1):
        unfinished = bool(statement) and "#" not in line and line.rstrip().endswith(",")
        first = first if statement else number
        statement += line + "\n"
        if unfinished:
            continue
        try:
            tree: Any = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            header = ()
            while tree:
                if isinstance(tree, list):
                    latest[header] = latest.get(header, -1) + 1
                    header, tree = (*header, latest[header]), None
                    break
                ((key, tree),) = tree.items()
                lines.setdefault((*header, key), first)
                header = (*header, key)
                if header in latest and tree and not isinstance(tree, list):
                    header = (*header, latest[header])
            lines.setdefault(header, first)
        else:
            record(header, tree)
        statement = ""
    return lines


_MODELS: dict[str, type[BaseModel]] = {"data": Data, "objective": Objective, "run": Run}
_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "a string",
    "list_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
}


def _first_error(error: ValidationError, source: Source) -> InputError:
    """The first of pydantic's errors in the order of the file, and how many more there are."""
    details = error.errors(include_url=False)
    first = min(details, key=lambda detail: source.line(detail["loc"]))
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return InputError(f"{source.place(first['loc'])}: {_sentence(first)}{more}")


def _sentence(detail: Any) -> str:
    path, kind, value = detail["loc"], detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _no_key(path)
    if kind == "missing":
        where = _shown_path(path[:-1])
        return f"{where} needs the key {path[-1]!r}" if len(path) > 1 else f"{where} needs a table [{path[0]}]"
    # An axis may be meant to be one of the other keys of [grid].
    keys = list(GridTable.model_fields) if path[0] == "grid" and len(path) == 2 else []
    close = [] if path[-1] in keys else difflib.get_close_matches(str(path[-1]), keys, 1, cutoff=0.7)
    hint = f": did you mean {close[0]!r}?" if close else ""
    if kind == "value_error":
        return f"{_shown_path(path)} {detail['ctx']['error']}{hint}"
    wanted = detail["ctx"]["expected"] if kind == "literal_error" else _TYPES.get(kind, detail["msg"])
    return f"{_shown_path(path)} must be {wanted}, not {_shown(value)}{hint}"


def _no_key(path: KeyPath) -> str:
    table = path[:-1]
    if not table:
        model: type[BaseModel] = Document
    elif table[0] == "grid":
        model = StartsTable if table[1:] == (START,) else AxisTable
    else:
        model = _MODELS[str(table[0])]
    valid = list(model.model_fields)
    close = difflib.get_close_matches(str(path[-1]), valid, 1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"it may have {', '.join(valid)}"
    return f"{_shown_path(table)} has no key {path[-1]!r}: {hint}"


def _shown_path(path: KeyPath) -> str:
    """A path as the file writes it: ``[grid] bias.num``."""
    if not path:
        return "the spec"
    head, *rest = path
    if head == "name":
        return "name"
    if head == "objective":
        head, rest = "[objective]", rest[1:]
    tail = ""
    for key in rest:
        tail += f"[{key}]" if isinstance(key, int) else f".{key}" if tail else key
    return f"[{head}] {tail}".rstrip()


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _mention(word: str, message: str) -> int | None:
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message)
    return found.start() if found else None


def _child(node: Any, key: str | int) -> Any:
    try:
        return node[key]
    except (KeyError, IndexError, TypeError):
        return None
