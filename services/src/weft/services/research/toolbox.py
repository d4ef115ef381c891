"""What a model may call for one question: the corpus, methods of the mesh, plug-ins. A call that fails is told to the model, and costs no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from weft.rpc import bounded_json
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.rpc.visible import one_line
from weft.services.models.v1 import models_pb2
from weft.services.research.corpus_process import CorpusFault
from weft.services.research.corpus_reader import CorpusReader, Passage
from weft.services.research.evidence import Evidence, numbered
from weft.services.research.method_tools import MethodTools
from weft.services.research.plug_ins import ResearchTool
from weft.services.research.v1 import research_pb2 as pb

_log = get_logger("weft.services.research")
ANSWER = "answer"
PASSAGES = 6
# What a model is told of one call.
_MAX_CHARS = 12_000
_MAX_FOUND = 8
_CALL_S = 30.0
_DETAIL = 200
_NUMBER = {"type": "integer", "minimum": 1}


def _tool(name: str, description: str, required: list[str], **properties: Any) -> models_pb2.Tool:
    schema = {"type": "object", "properties": properties, "required": required}
    return models_pb2.Tool(name=name, description=description, parameters_json=json.dumps(schema))


_TEXT = {"type": "string"}
ANSWER_TOOL = _tool(
    ANSWER,
    "Gives the final answer. [1] in the text is the first citation. A quote is copied word by word from these lines.",
    ["text", "citations"],
    text=_TEXT,
    citations={
        "type": "array",
        "items": {
            "type": "object",
            "required": ["source", "first_line", "last_line", "quote"],
            "properties": {
                "source": _TEXT,
                "first_line": _NUMBER,
                "last_line": _NUMBER,
                "quote": _TEXT,
            },
        },
    },
    nothing_found={"type": "boolean"},
)
_CORPUS_TOOLS = (
    _tool("search", "Searches the corpus for words. Gives the best passages.", ["query"], query=_TEXT),
    _tool(
        "read",
        "Reads lines of a file of the corpus.",
        ["path"],
        path=_TEXT,
        first_line=_NUMBER,
        last_line=_NUMBER,
    ),
    _tool("list_files", "Lists the files of the corpus whose paths have a text.", [], match=_TEXT),
)


class Toolbox:
    """The tools for one question."""

    def __init__(
        self,
        corpus: CorpusReader,
        evidence: Evidence,
        of_mesh: MethodTools,
        plug_ins: Mapping[str, ResearchTool],
    ) -> None:
        self._corpus = corpus
        self._evidence = evidence
        self._of_mesh = of_mesh
        self._plug_ins = plug_ins
        self.tools = [
            *_CORPUS_TOOLS,
            *of_mesh.tools,
            *(
                models_pb2.Tool(name=name, description=each.description, parameters_json=each.parameters_json)
                for name, each in plug_ins.items()
            ),
            ANSWER_TOOL,
        ]

    async def search(self, query: str) -> tuple[list[Passage], str]:
        """The best passages, and how a model is shown them."""
        found = await self._corpus.search(query, PASSAGES)
        for each in found:
            self._evidence.show_lines(each.path, each.first, each.last)
        told = [f"{each.path}\n{numbered(each.text.split(chr(10)), each.first)}" for each in found]
        return found, "\n\n".join(told) or "Nothing found."

    def progress_of(self, call: models_pb2.ToolCall) -> pb.Progress:
        """What a call begins."""
        arguments = _arguments(call.arguments_json)
        if call.name == "search":
            activity, detail = pb.ACTIVITY_SEARCHING, arguments.get("query")
        elif call.name in {"read", "list_files"}:
            activity, detail = pb.ACTIVITY_READING, arguments.get("path", arguments.get("match"))
        else:
            activity, detail = pb.ACTIVITY_CALLING_TOOL, self._of_mesh.method_of(call.name) or call.name
        return pb.Progress(activity=activity, detail=detail_of(str(detail or "")))

    async def run(self, call: models_pb2.ToolCall, left_s: float) -> str:
        """What a model is told of its call.

        Raises:
            ResearchError: the corpus cannot be read any more.
        """
        try:
            async with asyncio.timeout(min(_CALL_S, left_s)):
                told = await self._told(call, min(_CALL_S, left_s))
        except CorpusFault as error:
            told = f"error: {error}"
        except WeftError as error:
            told = f"error: {error.message}"
        except TimeoutError:
            told = "error: it took too long"
        return told if len(told) <= _MAX_CHARS else f"{told[:_MAX_CHARS]}\n(cut)"

    async def _told(self, call: models_pb2.ToolCall, left_s: float) -> str:
        arguments = _arguments(call.arguments_json)
        match call.name:
            case "search":
                return (await self.search(str(arguments.get("query", ""))[:4096]))[1]
            case "read":
                return await self._read(arguments)
            case "list_files":
                paths, more = await self._corpus.files(str(arguments.get("match") or "")[:1024])
                return "\n".join([*paths, "(and more)"] if more else paths) or "There is none."
        if self._of_mesh.method_of(call.name) is not None:
            text = await self._of_mesh.call(call.name, call.arguments_json, left_s)
            return self._shown(f"{self._of_mesh.method_of(call.name)}#1", text)
        if call.name in self._plug_ins:
            return await self._plugged(call.name, arguments)
        return f"error: there is no tool {one_line(call.name)}"

    async def _read(self, arguments: dict[str, Any]) -> str:
        path = str(arguments.get("path", ""))[:4096]
        first, last = (_number(arguments.get(name)) for name in ("first_line", "last_line"))
        first, lines, total = await self._corpus.read(path, first, last)
        if not lines:
            return f"{path} has {total} lines."
        self._evidence.show_lines(path, first, first + len(lines) - 1)
        return f"{path}, lines {first}-{first + len(lines) - 1} of {total}\n{numbered(lines, first)}"

    async def _plugged(self, name: str, arguments: dict[str, Any]) -> str:
        try:
            found = list(await self._plug_ins[name].call(arguments))[:_MAX_FOUND]
            shown = [self._shown(str(each.source)[:1024], str(each.text)) for each in found]
        except TimeoutError:
            raise
        except Exception as error:
            # Without its text: the question may be in it.
            _log.warning("research.tool_failed", tool=name, error=type(error).__name__)
            return f"error: the tool failed ({type(error).__name__})"
        return "\n\n".join(shown) or "Nothing found."

    def _shown(self, source: str, text: str) -> str:
        text = text.encode("utf-8", "replace").decode()[:_MAX_CHARS]
        source = one_line(source.encode("utf-8", "replace").decode())
        name = self._evidence.show_text(source, text)
        return f"{name}\n{numbered(text.split(chr(10)), 1)}"


def detail_of(text: str) -> str:
    """A text as progress tells it."""
    return one_line(text.encode("utf-8", "replace").decode())[:_DETAIL]


def _arguments(arguments_json: str) -> dict[str, Any]:
    """The arguments of a call; what is no object is none."""
    try:
        found = bounded_json.loads(arguments_json or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
