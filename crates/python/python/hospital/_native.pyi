"""The endpoint and the command line of hospital, as Rust has them. What other modules make of this is public, and this is not."""

from collections.abc import Callable, Sequence
from typing import Optional, Protocol, final

_Fields = Sequence[tuple[str, str]]
#: The status, the header fields and the body.
_Answer = tuple[int, list[tuple[str, str]], bytes]

class _Tests(Protocol):
    def collect(self, name: str, /) -> list[tuple[str, str, Optional[float], list[str]]]: ...
    def run(self, id: str, reply: Reply, /) -> None: ...

@final
class Plan:
    """The settings that `hospital serve` would have with these arguments in this environment, verified."""

    def __new__(cls, arguments: Sequence[str]) -> Plan: ...

@final
class Endpoint:
    """The endpoint. It has threads: make it in the process that uses it, after any fork."""

    def __new__(cls, plan: Plan, tests: _Tests) -> Endpoint: ...
    def __call__(self, method: str, target: str, headers: _Fields) -> _Answer: ...
    def begin(self, method: str, target: str, headers: _Fields, done: Callable[[], object]) -> Pending: ...
    def drain(self) -> None: ...

@final
class Pending:
    """A response that is awaited."""

    def poll(self) -> Optional[_Answer]: ...

@final
class Reply:
    """What a run of a test calls, from any thread, when it has found something."""

    def __call__(
        self, status: str, context: Optional[str] = None, parts: Sequence[tuple[str, str, Optional[str]]] = ...
    ) -> None: ...

def main(argv: Sequence[str], again: Sequence[str], version: str) -> int: ...
