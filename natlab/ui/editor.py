"""The editor at the lab's prompt: a line that can be edited, with what helps the learner in sight below it.

prompt_toolkit does the editing. It is loaded with this module, which only a lesson at a capable terminal imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.completion import Completer
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import completion_is_selected, has_completions, has_focus
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style
from rich.console import Console

from natlab.ui.keys import CONTINUED, Keybar, Woken, continues
from natlab.ui.toolbar import render_toolbar

_STYLE = Style([("bottom-toolbar", "noreverse"), ("prompt", "bold")])
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Struck(Exception):
    """A signal came while a line was read; whoever handles it does so once the terminal is as it was."""


class _Terminal(Vt100_Output):
    """The terminal, which is never asked where its cursor is: an answer that is late would be read as typed."""

    def get_rows_below_cursor_position(self) -> int:
        """Return what is certain: the row that the cursor is in."""
        return 1


def terminal_output(stream: TextIO, console: Console) -> Output:
    """Return the terminal that natlab runs at, in the colours that any has, or in none as `console` has none."""
    depth = ColorDepth.DEPTH_1_BIT if console.no_color else ColorDepth.DEPTH_4_BIT
    return _Terminal.from_pty(stream, default_color_depth=depth, enable_bell=False)


class PromptEditor:
    """Reads lines at a capable terminal. All but `read` may be called from any thread; it is natlab.ui.keys.Editor."""

    def __init__(
        self,
        console: Console,
        history: History,
        completer: Completer | None = None,
        *,
        typed: Input | None = None,
        shown: Output | None = None,
    ) -> None:
        """Draw the toolbar as `console` would. `typed` and `shown` stand in for the terminal."""
        self._console = console
        self._lock = threading.RLock()
        self._news: deque[Callable[[], None]] = deque()
        self._keys: Keybar | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.copy_context()
        self._struck: int | None = None
        self._session: PromptSession[str] = PromptSession(
            multiline=True,  # Enter ends a line all the same, but for one that a backslash continues
            history=history,
            completer=completer,
            complete_while_typing=False,
            key_bindings=_bindings(),
            prompt_continuation=CONTINUED,
            style=_STYLE,
            include_default_pygments_style=False,
            input=typed,
            output=shown if shown is not None else terminal_output(sys.stdout, console),
        )
        app = self._session.app
        app.terminal_size_polling_interval = None  # the kernel tells when it changes
        app.before_render += lambda _: self._lay_out()

    # --- what the lesson asks for -----------------------------------------------------------------------------------

    def read(self, prompt: str, keys: Keybar) -> str:
        """Return the line typed, or the lines that a backslash joins, or those that were pasted."""
        self._keys = keys
        self._tell_news()
        self._session.app.erase_when_done = False
        with self._signals_kept():
            try:
                line = self._session.prompt(
                    [("class:prompt", prompt)], handle_sigint=False, set_exception_handler=False, pre_run=self._begin
                )
            except (OSError, termios.error) as error:  # the terminal is gone
                raise EOFError from error
            finally:
                with self._lock:
                    self._loop = None
        return line

    def above(self, show: Callable[[], None]) -> None:
        """Run `show` above the line that is being typed; if none is, just before the next one is."""
        with self._lock:
            self._news.append(show)
            self._soon(self._interject)

    def show(self, keys: Keybar) -> None:
        """Replace what is in sight below the line."""
        with self._lock:
            self._keys = keys
            self._soon(self._session.app.invalidate)

    def interrupt(self) -> None:
        """End the read at once if nothing has been typed yet."""
        with self._lock:
            self._soon(self._wake)

    @property
    def typed(self) -> str:
        """What has been typed so far."""
        return self._session.default_buffer.text

    # --- in the thread that reads -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Let the other threads in, now that there is a loop that they can call."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._failed)
        with self._lock:
            self._loop, self._context = loop, contextvars.copy_context()
            if self._news:
                self._soon(self._interject)
            if self._struck is not None:
                self._soon(self._end, _Struck())

    def _soon(self, act: Callable[..., object], *args: object) -> None:
        """Have the reading thread do something, if one reads."""
        with self._lock, contextlib.suppress(RuntimeError):  # the loop was closed just now, and `read` returns
            if self._loop is not None:
                self._loop.call_soon_threadsafe(act, *args, context=self._context.copy())

    def _interject(self) -> None:
        run_in_terminal(self._tell_news_or_end)

    def _tell_news_or_end(self) -> None:
        try:
            self._tell_news()
        except Exception as error:  # noqa: BLE001  a task would keep it to itself; `read` raises it
            self._end(error)

    def _tell_news(self) -> None:
        while self._news:
            self._news.popleft()()

    def _wake(self) -> None:
        app = self._session.app
        if not self.typed and not app.layout.is_searching:
            app.erase_when_done = True
            self._end(Woken())

    def _failed(self, _loop: object, context: dict[str, Any]) -> None:
        """Have `read` raise what went wrong in a callback, be it that the terminal is gone."""
        if isinstance(error := context.get("exception"), Exception):
            self._end(error)

    def _end(self, error: Exception) -> None:
        app = self._session.app
        if app.future is not None and not app.future.done():
            app.exit(exception=error)

    def _lay_out(self) -> None:
        size = self._session.output.get_size()
        drawn = render_toolbar(self._console, self._keys, size.columns, size.rows) if self._keys is not None else ""
        self._session.bottom_toolbar = ANSI(drawn) if drawn else None

    @contextlib.contextmanager
    def _signals_kept(self) -> Iterator[None]:
        """Keep signals until the terminal is as it was: an exception in the midst of asyncio may be lost."""
        self._struck = None
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in before:
            signal.signal(number, self._note)
        try:
            yield
        except _Struck:
            pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._struck is not None:
                signal.raise_signal(self._struck)
        if self._struck is not None:  # a signal that nobody minds, as far as the line goes
            raise Woken

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._struck is None:
            self._struck = number
        self._soon(self._end, _Struck())


def _bindings() -> KeyBindings:
    """Return what Enter and Tab do; everything else is as in readline's Emacs mode."""
    bindings = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @bindings.add("enter", filter=typing)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if continues(buffer.text):
            buffer.cursor_position = len(buffer.text)
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("enter", filter=typing & completion_is_selected)
    def _take(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @bindings.add("tab", filter=typing & ~has_completions)
    def _complete(event: KeyPressEvent) -> None:
        event.current_buffer.start_completion(insert_common_part=True)

    @bindings.add("c-z", filter=typing)
    def _stay(_event: KeyPressEvent) -> None:
        get_app().invalidate()  # there is no job control at this prompt; the letter itself is no use either

    return bindings
