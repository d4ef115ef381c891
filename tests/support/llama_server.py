"""A real server of models, llama.cpp's, in a process of its own, with a model that the tests write: it speaks OpenAI's API.

As a program it serves until its input ends: `python -m tests.support.llama_server MODEL.gguf`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from tests.support.processes import ROOT
from tests.support.tiny_gguf import WINDOW_TOKENS, write_tiny_model


class LlamaServer:
    """The process. `url` is that of the API."""

    def __init__(
        self, folder: Path, *, width: int = 32, layers: int = 2, window: int = WINDOW_TOKENS
    ) -> None:
        pytest.importorskip("xllamacpp")
        self._model = folder / f"tiny-{width}.gguf"
        if not self._model.exists():
            write_tiny_model(self._model, width=width, layers=layers, window=window)
        self._log = folder / "llama.log"
        self.url = ""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.llama_server", str(self._model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(b"serves "):
                self.url = line.split()[1].decode() + "/v1"
                return self
        self.__exit__()
        raise AssertionError(f"llama.cpp does not start\n{self._log.read_text(errors='replace')[-4000:]}")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


def main() -> None:
    """Serve."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = 0
    params.port = 0
    params.n_parallel = 2
    params.warmup = False
    # It would take a thread for each core of the machine, and they spin for each other.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print("serves", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
