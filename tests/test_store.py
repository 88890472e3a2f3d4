import json
import os

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import GzipCodec

from jaxloss import store
from jaxloss.errors import InputError
from jaxloss.store import folder as folder_module
from jaxloss.store import result as store_result
from jaxloss.store.files import locked
from jaxloss.store.result import small_files
from jaxloss.store.signature import sign

SPEC = {"name": "tiny", "grid": {"w": {"num": 4}, "b": {"num": 3}}}


def result(num_points=2):
    numbers = np.arange(24.0).reshape(4, 3, 2)
    return xr.Dataset(
        {
            "outcome": (("w", "b", "learning_rate"), numbers.astype(np.int8)),
            "loss": (("w", "b", "learning_rate"), np.where(numbers > 20, np.nan, numbers).astype(np.float32)),
            "initial_loss": (("w", "b"), np.zeros((4, 3))),
            "location": (("critical_point", "parameter"), np.ones((num_points, 2))),
            "kind": ("critical_point", np.array(["strict minimum", "strict saddle"][:num_points], dtype=str)),
            "certified": ("critical_point", np.array([True, False][:num_points], dtype=bool)),
            "scalar": ((), np.float64(3.0), {"units": "1"}),
        },
        coords={
            "w": np.linspace(-1, 1, 4),
            "b": np.arange(3),
            "learning_rate": [0.1, 1.0],
            "parameter": ["b", "w"],
        },
        attrs={"name": "tiny", "seed": np.int64(3), "infimum": -np.inf, "note": "gr\u00fcn", "spec": "{}"},
    )


@pytest.fixture
def written(tmp_path):
    store.write_result(result(), tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


class TestResult:
    @pytest.mark.parametrize("num_points", [0, 1, 2])
    def test_round_trip_is_identical(self, tmp_path, num_points):
        original = result(num_points)
        store.write_result(original, tmp_path / "a.zarr")
        read = store.read_result(tmp_path / "a.zarr")
        xr.testing.assert_identical(original, read)
        assert {k: v.dtype.kind for k, v in read.variables.items()} == {
            k: v.dtype.kind for k, v in original.variables.items()
        }
        assert read.outcome.dtype == np.int8
        assert read.loss.dtype == np.float32

    def test_many_chunks(self, tmp_path, monkeypatch):
        monkeypatch.setattr(store_result, "CHUNK_BYTES", 64)
        store.write_result(result(), tmp_path / "a.zarr")
        assert len(list((tmp_path / "a.zarr" / "loss" / "c").iterdir())) == 2
        xr.testing.assert_identical(result(), store.read_result(tmp_path / "a.zarr"))

    def test_object_strings(self, tmp_path):
        names = result().assign(kind=("critical_point", np.array(["a", "bc"], dtype=object)))
        store.write_result(names, tmp_path / "a.zarr")
        xr.testing.assert_identical(names, store.read_result(tmp_path / "a.zarr"))

    def test_xarray_opens_it(self, written):
        with xr.open_zarr(written, consolidated=False) as opened:
            np.testing.assert_array_equal(opened.outcome, result().outcome)
            assert opened.attrs["name"] == "tiny"

    def test_will_not_replace(self, written):
        with pytest.raises(InputError, match="exists already"):
            store.write_result(result(), written)

    def test_failed_write_leaves_nothing(self, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(store_result, "flush", fail)
        with pytest.raises(KeyboardInterrupt):
            store.write_result(result(), tmp_path / "a.zarr")
        assert list(tmp_path.iterdir()) == []

    def test_leftovers_of_a_killed_write_do_not_matter(self, tmp_path):
        (tmp_path / ".a.zarr.partial" / "loss").mkdir(parents=True)
        store.write_result(result(), tmp_path / "a.zarr")
        assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]

    def test_missing_store(self, tmp_path):
        with pytest.raises(InputError, match="no result"):
            store.read_result(tmp_path / "a.zarr")

    def test_foreign_folder(self, tmp_path):
        with pytest.raises(InputError, match="not a zarr store"):
            store.read_result(tmp_path)

    def test_another_store_of_zarr(self, tmp_path):
        zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
        with pytest.raises(InputError, match="not a result of jaxloss"):
            store.read_result(tmp_path / "a.zarr")

    @pytest.mark.parametrize("name", ["loss/c/0/0/0", "loss/zarr.json", "w/c/0"])
    def test_lost_file(self, written, name):
        (written / name).unlink()
        with pytest.raises(InputError, match=f"{name} is missing"):
            store.read_result(written)

    @pytest.mark.parametrize("name", ["loss/c/0/0/0", "loss/zarr.json", "w/c/0"])
    def test_flipped_bit(self, written, name):
        data = bytearray((written / name).read_bytes())
        data[10] ^= 1
        (written / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name} is not what was written"):
            store.read_result(written)

    def test_other_attributes(self, written):
        root = json.loads((written / "zarr.json").read_text())
        root["attributes"]["infimum"] = 0.5
        (written / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(InputError, match=r"zarr.json is not what was written"):
            store.read_result(written)

    def test_a_codec_that_is_never_written_is_not_run(self, tmp_path):
        path = tmp_path / "a.zarr"
        group = zarr.create_group(path, zarr_format=3)
        array = group.create_array("loss", shape=(3,), dtype="float32", compressors=[GzipCodec()])
        array[...] = np.zeros(3)
        facts = {"variables": ["loss"], "coordinates": [], "strings": {}}
        sign(path, small_files(path), done=True, **facts)
        with pytest.raises(InputError, match="uses the codec 'gzip'"):
            store.read_result(path)


SUMMARY = {"spec": SPEC, "objectives": {"b": {}, "a": {}}}


class TestFolder:
    def filled(self, folder, labels="ab"):
        store.begin_folder(folder, SPEC)
        for label in labels:
            store.write_result(result(), folder / f"{label}.zarr")

    def test_grows_and_completes(self, tmp_path):
        folder = tmp_path / "deep" / "out"
        assert store.check_folder(folder, SPEC) == store.Stored(None, ())
        assert not folder.parent.exists()
        self.filled(folder, "a")
        assert store.check_folder(folder, SPEC) == store.Stored(None, ("a",))
        with pytest.raises(InputError, match="no complete result"):
            store.open_folder(folder)
        store.write_result(result(), folder / "b.zarr")
        store.finish_folder(folder, SUMMARY)
        assert store.check_folder(folder, SPEC) == store.Stored(SUMMARY, ("a", "b"))
        results, read = store.open_folder(folder)
        assert (list(results), read) == (["b", "a"], SUMMARY)
        xr.testing.assert_identical(results["a"].load(), result())
        assert store.read_spec(folder) == SPEC

    def test_an_empty_folder_will_do(self, tmp_path):
        assert store.check_folder(tmp_path, SPEC) == store.Stored(None, ())

    def test_a_lost_result_is_to_be_written_again(self, tmp_path):
        self.filled(tmp_path)
        store.finish_folder(tmp_path, SUMMARY)
        os.rename(tmp_path / "a.zarr", tmp_path / ".a.zarr.partial")
        assert store.check_folder(tmp_path, SPEC) == store.Stored(None, ("b",))

    def test_another_spec_is_refused_by_name(self, tmp_path):
        self.filled(tmp_path)
        other = SPEC | {"grid": {"w": {"num": 4}, "b": {"num": 5}}}
        with pytest.raises(InputError, match=r"grid.b.num is 3 there and 5 here"):
            store.check_folder(tmp_path, other)

    def test_another_order_of_axes_is_another_spec(self, tmp_path):
        self.filled(tmp_path)
        other = SPEC | {"grid": {"b": {"num": 3}, "w": {"num": 4}}}
        with pytest.raises(InputError, match="the order of grid is another"):
            store.check_folder(tmp_path, other)

    def test_other_files(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(InputError, match="other files"):
            store.check_folder(tmp_path, SPEC)

    @pytest.mark.parametrize("inside", ["", "out"])
    def test_a_file(self, tmp_path, inside):
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"is a file|cannot write"):
            store.check_folder(tmp_path / "file" / inside, SPEC)

    def test_failed_first_write_leaves_no_folder(self, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(folder_module, "write_json", fail)
        with pytest.raises(InputError, match="No space left on device"):
            store.begin_folder(tmp_path / "out", SPEC)
        assert not (tmp_path / "out").exists()

    def test_no_folder(self, tmp_path):
        with pytest.raises(InputError, match="no folder"):
            store.open_folder(tmp_path / "out")


class TestLock:
    def test_two_writers_are_one_too_many(self, tmp_path):
        with locked(tmp_path), pytest.raises(InputError, match="another process"), locked(tmp_path):
            pass
        with locked(tmp_path):
            pass
