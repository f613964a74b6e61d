"""A GGUF file ready to write completions: prompt, decoding loop and text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetool.calls import syntaxes
from edgetool.calls.prompt import turns
from edgetool.calls.prompt.prompt import Prompter
from edgetool.calls.prompt.template_choice import ChatTemplate, choose, select
from edgetool.calls.prompt.thinking import THINKING_KEY
from edgetool.calls.syntaxes import SYNTAX_KEY
from edgetool.llama.engine import Engine
from edgetool.llama.generate import Generation, OnToken
from edgetool.llama.load import CHUNK
from edgetool.llama.prompt_limit import Room, shows_users
from edgetool.llama.vocab import Vocabulary, read_vocabulary
from edgetool.runtime import Completion, Constraint, Sampling

# Room for a dozen tools and a long conversation; the KV cache of a 4 B model takes 0.6 GB of it.
CONTEXT = 4096
TEMPLATE_KEY = "tokenizer.chat_template"  # in a GGUF file's metadata


class LlamaSession:
    """One model in llama.cpp: one completion at a time, or several with a `BatchGenerator`.

    prompter     makes prompt ids with the model's own chat template
    template     as `template_choice.choose` is asked for one
    tools        prompts will have tools: a template that shows none will not do
    syntax       call_syntax, or the one the file names, or the one that template teaches
    limit        tokens a prompt and its completion may have together
    room         tells early what is beyond that
    call_token   the token that opens a call, where the syntax has one of its own
    sequences    completions a BatchGenerator can write together
    thinking     the model thinks before it answers; None: as the file was trained to
    adapter      a LoRA adapter's GGUF file, added to the model's weights
    gpu          put layers on a GPU, as many as fit, where llama.cpp has a backend for one

    Raises ModelError for a file that is no whole GGUF, or one without a chat template, and
    UsageError for a call_syntax nobody knows.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        context: int | None = None,
        threads: int | None = None,
        call_syntax: str | None = None,
        template: str | None = None,
        tools: bool = True,
        thinking: bool | None = None,
        sequences: int = 1,
        adapter: Path | str | None = None,
        gpu: bool = False,
    ) -> None:
        import llama_cpp

        self.path = Path(model_path)
        context = CONTEXT if context is None else context
        self.engine = Engine(self.path, context, threads, sequences, gpu=gpu)
        self.adapter = Path(adapter) if adapter else None
        if self.adapter:
            self.engine.use_adapter(self.adapter)
        self.limit = self.engine.context
        vocabulary = read_vocabulary(llama_cpp.llama_model_get_vocab(self.engine.llama.model))
        self.prompter = prompter_of(
            self.path,
            self.engine.llama,
            vocabulary,
            call_syntax,
            template,
            thinking,
            tools=tools,
        )
        named = turns.stops_from_text(self.engine.llama.metadata.get(turns.STOPS_KEY))
        known = [vocabulary.stop_ids, [stop for stop in named if stop < vocabulary.size]]
        ends = turns.stop_ids(self.prompter.turn_ends(), vocabulary.markers, known)
        speaking = vocabulary.speaking(self.prompter.spoken_markers())
        self.vocabulary = replace(speaking, stop_ids=ends)
        self.syntax = self.prompter.syntax
        self.room = room_of(self.path, self.limit, vocabulary, self.prompter)
        self.call_token = self.vocabulary.markers.get(self.syntax.START)

    def __enter__(self) -> LlamaSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; the session is of no use afterwards. May be called twice."""
        self.engine.close()

    def generate(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        constraint: Constraint | None = None,
        on_token: OnToken | None = None,
        *,
        skip_forced: bool = False,
    ) -> Completion:
        """Write a completion of prompt_ids [P].

        on_token   is given the bytes of each token as it is chosen; a character may be split
        skip_forced  do not ask the model where the constraint leaves no choice (see Generation)

        The same prompt, sampling and constraint give the same completion, whatever was written
        before. It ends unfinished where max_completion_length or the context is spent. Raises
        PromptTooLong when the context has no room for the prompt and one token more.
        """
        started = time.perf_counter()
        budget = self.budget(prompt_ids, sampling)
        generation = Generation(
            self, budget, sampling, constraint, on_token, skip_forced=skip_forced
        )
        generation.begin(self.engine.read(prompt_ids))
        first = time.perf_counter() - started
        while not generation.done:
            piece, generation.pending = generation.pending[:CHUNK], generation.pending[CHUNK:]
            (logits,) = self.engine.feed({0: piece})
            if not generation.pending:
                generation.take(logits)
        return generation.completion(time.perf_counter() - started, first)

    def text_ids(self, text: str) -> list[int]:
        """Token ids [P] of a prompt that is text alone; what looks like a control token is text."""
        return text_ids(self.engine.llama, self.prompter, text)

    def budget(self, prompt_ids: Sequence[int], sampling: Sampling) -> int:
        """Tokens a completion of prompt_ids [P] may have. Raises PromptTooLong."""
        self.room.require(prompt_ids)
        return min(sampling.max_completion_length, self.limit - len(prompt_ids))


def text_ids(llama: Any, prompter: Prompter, text: str) -> list[int]:
    """Token ids [P] of a prompt that is text alone, for a model of llama-cpp-python."""
    import llama_cpp

    vocab = llama_cpp.llama_model_get_vocab(llama.model)
    opened = llama_cpp.llama_vocab_get_add_bos(vocab)
    bos = [int(llama_cpp.llama_vocab_bos(vocab))] if opened else []
    return bos + prompter.text_ids(text)


def prompter_of(
    path: Path,
    llama: Any,
    vocabulary: Vocabulary,
    call_syntax: str | None,
    template: str | None = None,
    thinking: bool | None = None,
    *,
    tools: bool = True,
) -> Prompter:
    """Makes prompts as a GGUF file's chat template wants them, or the one that takes its place.

    Raises ModelError, UsageError.
    """
    own, markers = _own_template(llama.metadata), tuple(vocabulary.markers)
    chosen = choose(own, template, where=path, markers=markers, tools=tools)

    def encode(text: str) -> list[int]:
        vocabulary.require_writable(text)
        ids: list[int] = llama.tokenize(text.encode("utf-8"), add_bos=False, special=True)
        return ids

    variables = {"bos_token": vocabulary.bos_token, "eos_token": vocabulary.eos_token}
    named = call_syntax or llama.metadata.get(SYNTAX_KEY)
    syntax = syntaxes.get(named) if named else syntaxes.detect(chosen.text)
    made = Prompter(chosen.text, markers, encode, syntax, variables, choice=chosen)
    trained_to = llama.metadata.get(THINKING_KEY) == "true"
    return made.with_thinking(trained_to if thinking is None else thinking)


def room_of(path: Path, limit: int, vocabulary: Vocabulary, prompter: Prompter) -> Room:
    """What a context of `limit` tokens of a model holds."""
    longest, blank = vocabulary.longest, tuple(vocabulary.blank)
    return Room(path.name, limit, longest, blank, shows_users(prompter))


def chosen_by(prompter: Prompter) -> ChatTemplate:
    """The chat template of a GGUF file's prompter, and whether it is the file's own."""
    assert prompter.choice is not None, "prompter_of chooses"
    return prompter.choice


def _own_template(metadata: Mapping[str, str]) -> str | None:
    """A file may have several, each under its name."""
    named = {
        key.removeprefix(f"{TEMPLATE_KEY}."): text
        for key, text in metadata.items()
        if key.startswith(f"{TEMPLATE_KEY}.")
    }
    if TEMPLATE_KEY in metadata:
        named["default"] = metadata[TEMPLATE_KEY]
    return select(named)
