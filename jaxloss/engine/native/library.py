"""Native code compiled for this machine, and handed to XLA as a function of its own."""

import ctypes
import functools
import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.kernel import Kernel
from jaxloss.engine.native.objects import fingerprint, kept

# What XLA calls, after `xla/ffi/api/c_api.h`: it asks once for the version of the interface, and then hands over a
# frame with pointers to the buffers. The first of them holds the numbers of lanes and of those that are used.
_HANDLER = """
define ptr @handler(ptr %frame) nounwind {{
entry:
  %extension.at = getelementptr i8, ptr %frame, i64 8
  %extension = load ptr, ptr %extension.at
  %none = icmp eq ptr %extension, null
  br i1 %none, label %execute, label %extended
extended:
  %type.at = getelementptr i8, ptr %extension, i64 8
  %type = load i32, ptr %type.at
  %asks = icmp eq i32 %type, 1
  br i1 %asks, label %metadata, label %execute
metadata:
  %metadata.at = getelementptr i8, ptr %extension, i64 24
  %metadata.is = load ptr, ptr %metadata.at
  %major = getelementptr i8, ptr %metadata.is, i64 24
  store i32 0, ptr %major
  %minor = getelementptr i8, ptr %metadata.is, i64 28
  store i32 1, ptr %minor
  %traits = getelementptr i8, ptr %metadata.is, i64 32
  store i32 0, ptr %traits
  ret ptr null
execute:
  %args.at = getelementptr i8, ptr %frame, i64 72
  %args = load ptr, ptr %args.at
  %rets.at = getelementptr i8, ptr %frame, i64 112
  %rets = load ptr, ptr %rets.at
{buffers}
  %lanes.is = load i32, ptr %args0
  %used.at = getelementptr i8, ptr %args0, i64 4
  %used.is = load i32, ptr %used.at
  %lanes = sext i32 %lanes.is to i64
  %used = sext i32 %used.is to i64
  call void @kernel(i64 %lanes, i64 %used, {passed})
  ret ptr null
}}
"""


def _handler(num_inputs: int, num_outputs: int) -> str:
    names = [("args", i) for i in range(num_inputs + 1)] + [("rets", i) for i in range(num_outputs)]
    buffers = "\n".join(
        f"  %{kind}{i}.p = getelementptr ptr, ptr %{kind}, i64 {i}\n"
        f"  %{kind}{i}.b = load ptr, ptr %{kind}{i}.p\n"
        f"  %{kind}{i}.d = getelementptr i8, ptr %{kind}{i}.b, i64 24\n"
        f"  %{kind}{i} = load ptr, ptr %{kind}{i}.d"
        for kind, i in names
    )
    return _HANDLER.format(buffers=buffers, passed=", ".join(f"ptr %{kind}{i}" for kind, i in names[1:]))


def call(
    kernel: Kernel,
    counts: tuple[Any, Any],
    inputs: Sequence[jax.Array],
    outputs: Sequence[Any],
    aliases: dict[int, int],
) -> list[jax.Array]:
    """Applies a kernel.

    Args:
      kernel: what is to be done.
      counts: how many lanes the arrays have, in whole multiples of ``kernel.lanes``, and how many of them matter.
      inputs: what it is given, in the order of its layout.
      outputs: shapes and dtypes of what it returns.
      aliases: which input may be written over with which output.

    Returns:
      The outputs.
    """
    target = _registered(kernel)
    aliases = {1 + i: k for i, k in aliases.items()}
    return list(
        jax.ffi.ffi_call(target, outputs, input_output_aliases=aliases)(
            jnp.stack([jnp.asarray(count, jnp.int32) for count in counts]), *inputs
        )
    )


@functools.cache
def register_bytes() -> int:
    """The length of the vectors that this processor computes with.

    Raises:
      Unsupported: there is no compiler for it.
    """
    features = _llvm().get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


@functools.cache
def _llvm() -> Any:
    try:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    except Exception as error:  # there is none for this platform, or none that works
        raise Unsupported(f"llvmlite is not there: {error}") from None
    return llvm


def _registered(kernel: Kernel) -> str:
    """Makes a kernel known to XLA, once, by a name that stands for all that it does."""
    fixed, own = kernel.layout
    name = f"jaxloss_{fingerprint(kernel.items, [*fixed, *own], kernel.outputs)}"
    with _lock:
        if name not in _engines:
            engine = _loaded(kept(name, functools.partial(_compiled, kernel)))
            handler = ctypes.CFUNCTYPE(ctypes.c_void_p)(engine.get_function_address("handler"))
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
            _engines[name] = engine
    return name


def _machine() -> Any:
    llvm = _llvm()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


def _compiled(kernel: Kernel) -> bytes:
    """Its machine code, with the handler that XLA calls."""
    llvm, machine, layout = _llvm(), _machine(), kernel.layout
    handler = _handler(len(layout.fixed) + len(layout.own), len(kernel.outputs))
    module = llvm.parse_assembly(kernel.code() + handler)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False  # it is written in vectors
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def _loaded(code: bytes) -> Any:
    llvm = _llvm()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


_lock = threading.Lock()
_engines: dict[str, Any] = {}
"""The compiled code of this process, by name; it must live as long as the programs that call it."""
