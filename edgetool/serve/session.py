"""A GGUF file ready to write completions: prompt, decoding loop and text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from edgetool.calls import formats
from edgetool.calls.formats import SYNTAX_KEY
from edgetool.calls.prompt import Prompter
from edgetool.calls.runtime import Completion, Constraint, Sampling
from edgetool.errors import ModelError, PromptTooLong
from edgetool.serve.engine import Engine
from edgetool.serve.sampling import choose
from edgetool.serve.vocabulary import read_vocabulary

# Room for a dozen tools and a long conversation; the KV cache of a 4 B model takes 0.6 GB of it.
CONTEXT = 4096

OnToken = Callable[[bytes], None]


class LlamaSession:
    """One model in llama.cpp, one completion at a time.

    prompter   makes prompt ids with the model's own chat template
    syntax     call_syntax, or the one the file names, or the one that template teaches
    limit      tokens a prompt and its completion may have together

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
    ) -> None:
        import llama_cpp

        self.path = Path(model_path)
        self.engine = Engine(self.path, CONTEXT if context is None else context, threads)
        self.limit = self.engine.context
        self.vocabulary = read_vocabulary(llama_cpp.llama_model_get_vocab(self.engine.llama.model))
        self.prompter = self._prompter(call_syntax)
        self.syntax = self.prompter.syntax

    def __enter__(self) -> LlamaSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
    ) -> Completion:
        """Write a completion of prompt_ids [P].

        on_token   is given the bytes of each token as it is chosen; a character may be split

        The same prompt, sampling and constraint give the same completion, whatever was written
        before. It ends unfinished where max_completion_length or the context is spent. Raises
        PromptTooLong when the context has no room for the prompt and one token more.
        """
        started = time.perf_counter()
        self._require_room(prompt_ids)
        written, finished = self._write(prompt_ids, sampling, constraint, on_token)
        text = self.vocabulary.text(written[:-1] if finished else written)
        shortened = constraint is not None and constraint.shortened
        seconds = time.perf_counter() - started
        return Completion(text, tuple(written), finished, seconds, shortened)

    def _write(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        constraint: Constraint | None,
        on_token: OnToken | None,
    ) -> tuple[list[int], bool]:
        """The token ids [C] and whether a stop token is the last of them."""
        generator = np.random.default_rng(sampling.seed)
        stop_ids, pieces = self.vocabulary.stop_ids, self.vocabulary.pieces
        budget = min(sampling.max_completion_length, self.limit - len(prompt_ids))
        written: list[int] = []
        logits = self.engine.read(prompt_ids)
        while True:
            allowed = logits if constraint is None else constraint.mask(logits)
            token = choose(allowed, sampling, generator)
            if constraint is not None:
                token = constraint.advance(token, budget - len(written) - 1)
            written.append(token)
            if token in stop_ids:
                return written, True
            if on_token is not None:
                on_token(pieces[token])
            if len(written) >= budget:
                return written, False
            logits = self.engine.step(token)

    def _require_room(self, prompt_ids: Sequence[int]) -> None:
        if not prompt_ids:
            raise ValueError("a prompt needs at least one token")
        if len(prompt_ids) >= self.limit:
            raise PromptTooLong(
                f"{self.path.name}: the prompt has {len(prompt_ids)} tokens, but the context holds "
                f"{self.limit} with the completion; offer fewer tools, shorten the conversation or "
                f"open the model with a larger --context (if it was trained for one)"
            )

    def _prompter(self, call_syntax: str | None) -> Prompter:
        llama, vocabulary = self.engine.llama, self.vocabulary
        template = llama.metadata.get("tokenizer.chat_template")
        if not template:
            raise ModelError(
                f"{self.path}: no chat template in the file (tokenizer.chat_template), so nobody "
                f"can say how its prompts look; export the model again from a folder that has one"
            )

        def encode(text: str) -> list[int]:
            ids: list[int] = llama.tokenize(text.encode("utf-8"), add_bos=False, special=True)
            return ids

        variables = {"bos_token": vocabulary.bos_token, "eos_token": vocabulary.eos_token}
        named = call_syntax or llama.metadata.get(SYNTAX_KEY)
        syntax = formats.get(named) if named else formats.detect(template)
        return Prompter(template, tuple(vocabulary.markers), encode, syntax, variables)
