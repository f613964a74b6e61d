"""The constrained arm: only what a call syntax's grammar allows can be written.

outlines builds the engine (its llguidance backend: tokenizer and compiled grammar); its matcher is
then driven token by token, since outlines' own loop compiles a grammar per completion.

What is promised: a completion parses as clean, names only tools that were offered, and its
arguments fit their schemas. One that comes near max_completion_length is brought to an end in time
(see ending.py). Only where no end is found within the length, for a pattern without a short match
say, it is cut and has `finished=False`, which is how evaluation counts it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetool.calls.json_text import dumps
from edgetool.calls.prompt.thinking import ThinkingSyntax, plain_syntax
from edgetool.calls.schema.parts import SchemaError
from edgetool.calls.schema.tree import PATH
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.syntaxes.rules import answering, one_call
from edgetool.calls.tools.grammar_faults import complaint
from edgetool.calls.tools.tools import ToolError, require_sound
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import EngineError
from edgetool.grammar.ending import Ender, ThoughtWatch
from edgetool.grammar.loops import MAX_DIGITS, Loops

# Tool lists whose compiled grammar is kept; one takes some hundred KB.
CACHED_GRAMMARS = 64


class Counting:
    """How hard a grammar pushes: see `calls.runtime.Constraint`."""

    def __init__(self) -> None:
        self.shortened, self.forced = False, 0
        self.cut: float | None = 0.0
        self.unconstrained: str | None = None

    def _note(self, logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> None:
        """Count a token without a choice, and add up the probability that is cut away."""
        weights = np.exp(logits - logits.max())
        kept = float(weights[: len(allowed)][allowed].sum() / weights.sum())
        self.cut = (self.cut or 0.0) + max(0.0, 1.0 - kept)
        self.forced += int(self._is_forced(allowed))

    def _is_forced(self, allowed: NDArray[np.bool_]) -> bool:
        return int(np.count_nonzero(allowed)) == 1

    def forced_next(self, remaining: int) -> list[int]:
        return []


class GrammarConstraint(Counting):
    """What one completion may say next, by a matcher of its own."""

    def __init__(self, matcher: Any, ender: Ender, thought: ThoughtWatch | None = None) -> None:
        super().__init__()
        self._matcher, self._ender, self._thought = matcher, ender, thought
        self._way: list[int] | None = None  # an end that could be written from where it was found
        self._ending: list[int] = []  # what remains to be written once the end is forced
        self._bounded = True
        self._loops = Loops(ender.pieces)

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [V] -> new logits [V], -inf where the grammar does not allow a token.

        A stop token is allowed exactly where the grammar may end. Raises EngineError when the
        grammar engine gives up (a limit of its own).
        """
        allowed = self._allowed()[: len(logits)]
        self._note(logits, allowed)
        masked = np.full_like(logits, -np.inf)  # embeddings may be padded beyond the vocabulary
        np.copyto(masked[: len(allowed)], logits[: len(allowed)], where=allowed)
        return masked

    def _is_forced(self, allowed: NDArray[np.bool_]) -> bool:
        """One token, or nothing but an end, by whichever of the stop tokens."""
        count = int(np.count_nonzero(allowed))
        return count == 1 or (count > 0 and count == np.count_nonzero(allowed[self._ender.stops]))

    def _allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next: [V], or a few more as the engine rounds up."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise EngineError(f"the grammar engine gave up: {self._matcher.get_error()}")
        allowed = np.unpackbits(bits, bitorder="little").view(bool)
        if self._ender.worded and not self._matcher.is_accepting():
            allowed[self._ender.worded] = False
        return self._without_more_digits(allowed)

    def _without_more_digits(self, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A number that has MAX_DIGITS has to end, where the grammar lets it."""
        if self._loops.digits < MAX_DIGITS or self._ender.in_string(self._matcher):
            return allowed
        fewer = allowed.copy()
        fewer[self._ender.digits] = False
        return fewer if fewer.any() else allowed

    def forced_next(self, remaining: int) -> list[int]:
        """The tokens of the text that has to come next, in the tokenizer's own spelling.

        Where that text ends inside what may be one token with what follows, the engine leaves the
        last of it to the model.
        """
        found: list[int] = []
        if self._ending:
            found, self._ending = [self._consume(token) for token in self._ending], []
            return found
        while len(found) < remaining and not self._matcher.is_stopped():
            tokens = self._only_way()[: remaining - len(found)]
            before = self._thought
            if not tokens or not self._matcher.consume_tokens(tokens):
                break
            self._watch(tokens)
            if self._bounded and not self._can_end(remaining - len(found) - len(tokens)):
                self._matcher.rollback(len(tokens))
                self._thought = before
                break
            found += tokens
            for token in tokens:
                self._loops.note(token)
        self.forced += len(found)
        return found

    def _only_way(self) -> list[int]:
        tokens: list[int] = self._matcher.compute_ff_tokens()
        if tokens:
            return tokens
        allowed = self._allowed()  # the end is no text, and so not among those
        if not self._is_forced(allowed):
            return []
        return [next((s for s in self._ender.stops if allowed[s]), int(allowed.argmax()))]

    def advance(self, token: int, remaining: int) -> int:
        """Write `token`, or what has to stand there for the completion to end in time.

        remaining   tokens that may still follow

        Returns the token that was written. Raises EngineError for one the grammar does not allow.
        """
        if self._ending:
            return self._consume(self._ending.pop(0))
        before = self._thought
        self._consume(token)
        if not self._bounded or token in self._ender.stops or self._can_end(remaining):
            self._loops.note(token)
            if not self._loops.looping or token in self._ender.stops:
                return token
        self._matcher.rollback(1)
        self._thought = before
        self._end(remaining + 1)
        self._bounded = self.shortened
        return self._consume(self._ending.pop(0) if self._ending else token)

    def _end(self, remaining: int) -> None:
        """Write what ends the completion within `remaining` tokens from here, if anything does."""
        self._ending = self._find(remaining) or []
        self.shortened = bool(self._ending)

    def _can_end(self, remaining: int) -> bool:
        """The completion can be ended within `remaining` tokens from here.

        The way found last is tried first: inside a string it stays the same from token to token,
        and looking for one costs more than a token of a small model does.
        """
        way = self._way
        if not way or len(way) > remaining or self._matcher.validate_tokens(way) < len(way):
            self._way = self._find(remaining)
        return self._way is not None

    def _find(self, remaining: int) -> list[int] | None:
        closing = () if self._thought is None else self._thought.closing
        return self._ender.find(self._matcher, remaining, closing)

    def _consume(self, token: int) -> int:
        if not self._matcher.consume_token(token):
            raise EngineError(f"token {token} breaks the grammar: {self._matcher.get_error()}")
        self._watch([token])
        return token

    def _watch(self, tokens: Sequence[int]) -> None:
        if self._thought is not None:
            self._thought = self._thought.after(tokens)


class ConstraintMaker:
    """Makes constraints for one model; the engine's tokenizer is built once, grammars are kept."""

    def __init__(self, tokenizer: Any, syntax: CallSyntax, markers: Mapping[str, int]) -> None:
        self._tokenizer, self._markers = tokenizer, markers
        self._ender = Ender(tokenizer)
        self._kept: OrderedDict[str, Any]
        self._use(syntax)

    def for_syntax(self, syntax: CallSyntax) -> ConstraintMaker:
        """The same vocabulary's maker for another way to write calls."""
        other = copy(self)
        other._use(syntax)
        return other

    def _use(self, syntax: CallSyntax) -> None:
        self._syntax, self._kept = syntax, OrderedDict()
        self._thought: ThoughtWatch | None = None
        if isinstance(syntax, ThinkingSyntax):
            close = syntax.thought.close
            number = self._markers.get(close)
            closing = self._tokenizer.tokenize_str(close) if number is None else [number]
            texts = {number: text.encode() for text, number in self._markers.items()}
            self._thought = ThoughtWatch(syntax.thought, closing, texts, self._ender.pieces)

    def __call__(
        self, tools: Sequence[Tool], *, required: bool = False, parallel: bool = True
    ) -> GrammarConstraint:
        """The constraint of a completion: calls to `tools`, or no call unless one is required.

        parallel   several calls are allowed

        Raises SchemaError, naming tool and place, when a tool's schema cannot be compiled.
        """
        key = dumps([required, parallel, [tool.as_openai() for tool in tools]])
        if key not in self._kept:
            self._keep(key, self._compile(tools, required, parallel))
        self._kept.move_to_end(key)
        return GrammarConstraint(self._kept[key].deep_copy(), self._ender, self._thought)

    def for_schema(
        self, schema: JsonObject, tools: Sequence[Tool] = (), *, parallel: bool = True
    ) -> GrammarConstraint:
        """The constraint of a completion that is a JSON value of this schema, or calls to `tools`.

        Raises SchemaError when it cannot be compiled.
        """
        key = dumps([schema, parallel, [tool.as_openai() for tool in tools]])
        if key not in self._kept:
            matcher = self._answering(schema, tools, parallel)
            self._keep(key, matcher)
        self._kept.move_to_end(key)
        return GrammarConstraint(self._kept[key].deep_copy(), self._ender)

    def _answering(self, schema: JsonObject, tools: Sequence[Tool], parallel: bool) -> Any:
        # A client reads the value as it comes: no thought stands before it.
        syntax = plain_syntax(self._syntax)
        calls = self._grammar(tools, parallel=parallel, syntax=syntax) if tools else ""
        try:
            matcher = self._matcher_of(answering(schema, calls))
        except SchemaError as error:
            raise SchemaError(f"response_format: {error}; mend the schema") from None
        if matcher.is_error():
            message = complaint(schema, matcher.get_error(), self._problem_of, "schema")
            raise SchemaError(f"response_format: {message}")
        return matcher

    def _keep(self, key: str, matcher: Any) -> None:
        self._kept[key] = matcher
        if len(self._kept) > CACHED_GRAMMARS:
            self._kept.popitem(last=False)

    def _compile(self, tools: Sequence[Tool], required: bool, parallel: bool) -> Any:
        for tool in tools:
            try:
                require_sound(tool)
            except ToolError as error:
                raise SchemaError(f"{error}; mend its schema") from error
        matcher = self._matcher_of(self._grammar(tools, required=required, parallel=parallel))
        if not matcher.is_error():
            return matcher
        # One tool's schema is at fault as a rule; find it, so that its owner can mend it.
        faulty = next((tool for tool in tools if self._faulty(tool)), None)
        if faulty is None:
            names = ", ".join(tool.name for tool in tools)
            raise SchemaError(f"the tools {names} are too much for one grammar; offer fewer")
        message = complaint(faulty.parameters, matcher.get_error(), self._problem_of, PATH)
        raise SchemaError(f"tool '{faulty.name}': {message}")

    def _faulty(self, tool: Tool) -> bool:
        return bool(self._matcher_of(self._syntax.grammar([tool])).is_error())

    def _problem_of(self, text: str) -> str | None:
        matcher = self._matcher_of(text)
        return str(matcher.get_error()) if matcher.is_error() else None

    def _grammar(
        self,
        tools: Sequence[Tool],
        *,
        required: bool = False,
        parallel: bool,
        syntax: CallSyntax | None = None,
    ) -> str:
        text = (syntax or self._syntax).grammar(tools, required=required)
        return text if parallel else one_call(text)

    def _matcher_of(self, text: str) -> Any:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_lark(spell_markers(text, self._markers))
        return LLMatcher(self._tokenizer, grammar, log_level=0)


class OpenModel(Protocol):
    """A model in llama.cpp, as far as a grammar asks for it: `llama.session.LlamaSession`."""

    @property
    def engine(self) -> Any: ...
    @property
    def syntax(self) -> CallSyntax: ...
    @property
    def vocabulary(self) -> Any: ...


def for_llama(session: OpenModel) -> ConstraintMaker:
    """Constraints for a GGUF file's vocabulary. They may end with any of its stop ids."""
    import llama_cpp
    import llguidance.llamacpp
    import outlines
    from outlines.backends.llguidance import LLGuidanceBackend

    stops = list(session.vocabulary.stop_ids)

    class Backend(LLGuidanceBackend):
        """Its own tokenizer knows of one token that ends a text."""

        def _create_llg_tokenizer(self, model: Any) -> Any:
            vocab = llama_cpp.llama_model_get_vocab(model.model.model)
            return llguidance.llamacpp.lltokenizer_from_vocab(vocab, eos_token=stops)

    backend = Backend(outlines.from_llamacpp(session.engine.llama))
    return ConstraintMaker(backend.llg_tokenizer, session.syntax, session.vocabulary.markers)


def for_tokenizer(
    hf_tokenizer: Any, syntax: CallSyntax, stop_ids: Sequence[int]
) -> ConstraintMaker:
    """Constraints for a transformers fast tokenizer (the torch policy's).

    stop_ids   the tokens that end a completion, the preferred one first
    """
    import llguidance.hf

    added = hf_tokenizer.added_tokens_decoder.items()
    markers = {token.content: number for number, token in added}
    tokenizer = llguidance.hf.from_tokenizer(hf_tokenizer, eos_token=list(stop_ids))
    return ConstraintMaker(tokenizer, syntax, markers)


_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')


def spell_markers(grammar: str, markers: Mapping[str, int]) -> str:
    """The grammar with markers inside literals named by token id: "<tool_call>\\n" -> <[7]> "\\n".

    The model was trained on the single token; as text, the engine would match its letters instead.
    JSON schemas are left alone, there a marker is text.
    """
    # As a literal spells them: one marker of Gemma 4 holds a quote.
    spelled = {dumps(marker)[1:-1]: number for marker, number in markers.items()}
    found = [marker for marker in spelled if marker and marker in grammar]
    if not found:
        return grammar
    split = re.compile("(" + "|".join(sorted(map(re.escape, found), key=len, reverse=True)) + ")")

    def spell(literal: re.Match[str]) -> str:
        parts = [part for part in split.split(literal[0][1:-1]) if part]
        if not any(part in spelled for part in parts):
            return literal[0]
        return " ".join(f"<[{spelled[p]}]>" if p in spelled else f'"{p}"' for p in parts)

    return "\n".join(
        line if "%json" in line else _LITERAL.sub(spell, line) for line in grammar.splitlines()
    )
