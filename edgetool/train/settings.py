"""What a training run is told, and the defaults. The only place where a default of training stands.

Names follow TRL's GRPOConfig and SFTConfig, transformers' TrainingArguments and peft's LoraConfig
wherever those have one, with the same meaning. Ours alone: `prompts_per_step` (TRL derives it from
three other numbers), `packed_tokens` (TRL counts sequences, not tokens), `dynamic_sampling`,
`no_call_text`, and `too_long` (TRL cuts rows, and half a call is nothing to learn from).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

ALL_LINEAR = "all-linear"
RESTARTS = "cosine_with_restarts"
SCHEDULERS = ("constant", "linear", "cosine", RESTARTS)
OPTIMIZERS = ("adamw_torch", "adamw_8bit")
LOSS_TYPES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo")
REPORTERS = ("tensorboard",)
TORCH, LLAMA, OPENAI = ENGINES = ("torch", "llama", "openai")
# What grpo.importance_sampling_cap is where another engine than torch writes; TRL's default.
ENGINE_CAP = 3.0
# What a setting of words may be.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "lr_scheduler_type": SCHEDULERS,
    "optim": OPTIMIZERS,
    "too_long": ("skip", "refuse"),
    "report_to": REPORTERS,
    "loss_type": LOSS_TYPES,
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none"),
    "engine": ENGINES,
    "gguf_type": ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"),
}
NO_CALL_TEXT = "No tool fits."


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adaptation (arXiv:2106.09685): W x + (lora_alpha / r) B A x, A and B in float32.

    r               the rank: more learns more and takes more memory
    lora_alpha      the adapter is scaled by lora_alpha / r
    lora_dropout    share of the adapter's inputs that a training pass leaves out
    target_modules  all-linear, or a list of module names

    Raises ValueError naming the key, its value and what is allowed.
    """

    r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: str | tuple[str, ...] = ALL_LINEAR

    def __post_init__(self) -> None:
        _within("r", self.r, 1)
        _within("lora_alpha", self.lora_alpha, 1)
        _within("lora_dropout", self.lora_dropout, 0, 1, open_high=True)
        names = self.target_modules
        if isinstance(names, str) and names != ALL_LINEAR:
            raise ValueError(
                f"target_modules = '{names}': expected '{ALL_LINEAR}' or a list of module names"
            )
        if not isinstance(names, str):
            object.__setattr__(self, "target_modules", tuple(names))
            if not names:
                raise ValueError("target_modules = []: expected at least one module name")


@dataclass(frozen=True)
class RewardSettings:
    """What one reward counts for. A number alone is its weight.

    weight   its scores are multiplied by it
    until    the weight is `then` once its mean over the last `window` steps has reached this, and
             stays so; None: it never changes
    then     the weight from that step on
    window   steps its mean is taken over

    Raises ValueError naming the key, its value and what is allowed.
    """

    weight: float = 1.0
    until: float | None = None
    then: float = 0.0
    window: int = 10

    def __post_init__(self) -> None:
        for name in ("weight", "then"):
            _within(name, getattr(self, name), -math.inf)
        if self.until is not None:
            _within("until", self.until, -math.inf)
        _within("window", self.window, 1)


@dataclass(frozen=True)
class StepSettings:
    """What every way of training needs to know of its optimizer steps.

    max_steps       optimizer steps of the whole run
    learning_rate   of AdamW, at its highest
    lr_scheduler_type             how the rate falls over the run
    warmup_steps    steps in which the rate rises to learning_rate
    max_grad_norm   a longer gradient is shortened to this
    weight_decay    of AdamW
    adam_beta1      of AdamW's first moment
    adam_beta2      of AdamW's second moment
    adam_epsilon    of AdamW
    gradient_checkpointing        compute activations twice and hold fewer of them
    save_steps      a checkpoint is written every so many steps; the two newest are kept
    logging_steps   a line of metrics is written every so many steps
    seed            of the adapter, the order of rows, sampling and dropout
    too_long        what happens to rows that are longer than allowed: skip them, or refuse to start
    packed_tokens   tokens in one forward of the training pass, padding included; less takes less
                    memory, and the gradient stays the same. None: 2048 on a CPU, whose caches like
                    it small, 16384 elsewhere
    bf16            compute in bfloat16; None: where the hardware is fast at it
    report_to       further places the metrics go; metrics.jsonl is always written
    optim           adamw_torch, or adamw_8bit with bitsandbytes' 8-bit moments (arXiv:2110.02861)
    lr_scheduler_kwargs           {num_cycles: N} for cosine_with_restarts; 1 restarts never
    gradient_accumulation_steps   the step's batch is so many times as large and is taken in so many
                    parts, which bounds what a rollout holds; the gradient is that of the whole

    Raises ValueError naming the key, its value and what is allowed.
    """

    max_steps: int = 100

    gradient_accumulation_steps: int = 1
    optim: str = "adamw_torch"
    learning_rate: float = 1e-5
    lr_scheduler_type: str = "constant"
    lr_scheduler_kwargs: Mapping[str, int] = field(default_factory=dict)
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8

    too_long: str = "skip"
    packed_tokens: int | None = None
    gradient_checkpointing: bool = True
    bf16: bool | None = None

    save_steps: int = 50
    logging_steps: int = 1
    seed: int = 42
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "report_to", tuple(self.report_to))
        for name in ("max_steps", "save_steps", "logging_steps", "gradient_accumulation_steps"):
            _within(name, getattr(self, name), 1)
        for name in ("warmup_steps", "seed"):
            _within(name, getattr(self, name), 0)
        if self.packed_tokens is not None:
            _within("packed_tokens", self.packed_tokens, 1)
        for name in ("learning_rate", "max_grad_norm", "adam_epsilon"):
            _within(name, getattr(self, name), 0, open_low=True)
        _within("weight_decay", self.weight_decay, 0)
        for name in ("adam_beta1", "adam_beta2"):
            _within(name, getattr(self, name), 0, 1, open_high=True)
        for name, allowed in CHOICES.items():
            if hasattr(self, name) and name != "report_to":
                _one_of(name, getattr(self, name), allowed)
        self._check_scheduler()
        for name in self.report_to:
            _one_of("report_to", name, REPORTERS)

    def _check_scheduler(self) -> None:
        allowed = {"num_cycles"} if self.lr_scheduler_type == RESTARTS else set()
        for name, value in self.lr_scheduler_kwargs.items():
            if name not in allowed:
                raise ValueError(
                    f"lr_scheduler_kwargs.{name} = {value}: expected "
                    f"{'num_cycles' if allowed else 'no keys'} for lr_scheduler_type "
                    f"'{self.lr_scheduler_type}'"
                )
            _within(f"lr_scheduler_kwargs.{name}", value, 1)


@dataclass(frozen=True)
class SFTSettings(StepSettings):
    """One supervised run: cross-entropy of the rows' own completions, given their prompts.

    per_device_train_batch_size   rows per optimizer step in each process
    max_length     tokens of prompt and completion; None: the model's context
    no_call_text   the completion of rows that expect no call and do not bring their own words;
                   None: what the call syntax writes for no call, or where that is nothing at all
                   (hermes) NO_CALL_TEXT, because the judge takes an empty completion for a broken
                   one and GRPO would start from a policy that is never right on such rows

    Raises ValueError naming the key, its value and what is allowed.
    """

    learning_rate: float = 2e-4  # QLoRA's for its smaller models, arXiv:2305.14314
    per_device_train_batch_size: int = 8
    max_length: int | None = None
    no_call_text: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("per_device_train_batch_size", self.per_device_train_batch_size, 1)
        if self.max_length is not None:
            _within("max_length", self.max_length, 1)
        if self.no_call_text is not None and not self.no_call_text.strip():
            raise ValueError(
                f"no_call_text = '{self.no_call_text}': expected some words; an empty completion "
                "is never right"
            )


@dataclass(frozen=True)
class GRPOSettings(StepSettings):
    """One GRPO run (arXiv:2402.03300).

    num_generations      G, completions of each prompt; a reward counts against their mean
    num_iterations       optimizer steps on one rollout
    beta                 weight of the KL term that holds the policy to its start
    epsilon              the ratio of new to old probability is clipped to 1 - epsilon
    loss_type            how the losses of tokens are averaged
    mask_truncated_completions   leave completions that hit max_completion_length out of the loss
    temperature          of sampling
    top_p                sample from the most probable tokens that hold this share; 1: all
    top_k                sample from so many most probable tokens; 0: all
    max_completion_length   tokens; a longer completion is cut and counts as unfinished
    prompts_per_step     B, prompts per optimizer batch; each gets num_generations completions
    max_prompt_length    tokens; None: what the model's context leaves beside a completion
    dynamic_sampling     rounds in which groups of equal rewards make way for other rows' groups
                         (DAPO, arXiv:2503.14476); 0: they are skipped
    scale_rewards        advantages are divided by the spread of the group, the batch, or nothing
    epsilon_high         upper clip range; None: the same as epsilon. For cispo the ratio's cap
                         itself, and required: 5.0 is usual
    importance_sampling_cap     tokens are weighted by min(old / sampling probability, this), for
                         rollouts whose arithmetic is not the training pass's (TRL's
                         vllm_importance_sampling_cap); None: 3 where rollout.engine is not torch,
                         else not weighted
    max_sampling_kl      the run stops where the policy that another engine samples from is further
                         than this from the trained one, in nats per token: a wrong file, say
    importance_sampling_level   whose probability ratio is clipped, a token's or a whole
                         completion's (sequence: GSPO)
    use_bias_correction_kl   weigh the KL term by the ratio of new to old probability, which makes
                         its gradient unbiased; matters only where beta > 0

    Raises ValueError naming the key, its value and what is allowed.
    """

    num_generations: int = 8
    prompts_per_step: int = 8
    num_iterations: int = 1

    beta: float = 0.0
    epsilon: float = 0.2
    epsilon_high: float | None = None
    loss_type: str = "grpo"
    importance_sampling_level: str = "token"
    importance_sampling_cap: float | None = None
    max_sampling_kl: float = 0.2
    use_bias_correction_kl: bool = True
    scale_rewards: str = "group"
    mask_truncated_completions: bool = False
    dynamic_sampling: int = 0

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_prompt_length: int | None = None
    max_completion_length: int = 256

    @property
    def clip_high(self) -> float:
        """The upper clip range in force."""
        return self.epsilon if self.epsilon_high is None else self.epsilon_high

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts()
        self._check_numbers()
        if self.loss_type == "cispo" and self.epsilon_high is None:
            raise ValueError(
                "epsilon_high = null: loss_type 'cispo' needs it, the cap on the ratio of new to "
                "old probability; 5.0 is usual"
            )

    def _check_counts(self) -> None:
        # One completion has no group to be compared with: its advantage would always be zero.
        _within("num_generations", self.num_generations, 2)
        for name in ("prompts_per_step", "num_iterations", "max_completion_length"):
            _within(name, getattr(self, name), 1)
        for name in ("top_k", "dynamic_sampling"):
            _within(name, getattr(self, name), 0)
        if self.max_prompt_length is not None:
            _within("max_prompt_length", self.max_prompt_length, 1)

    def _check_numbers(self) -> None:
        # Temperature 0 would make a group of G equal completions, which teaches nothing.
        _within("temperature", self.temperature, 0, open_low=True)
        for name in ("beta", "epsilon"):
            _within(name, getattr(self, name), 0)
        _within("epsilon_high", self.clip_high, 0)
        _within("max_sampling_kl", self.max_sampling_kl, 0, open_low=True)
        if self.importance_sampling_cap is not None:
            _within("importance_sampling_cap", self.importance_sampling_cap, 0, open_low=True)
        _within("top_p", self.top_p, 0, 1, open_low=True)


@dataclass(frozen=True)
class RolloutSettings:
    """Who writes the completions that `edgetool train` learns from.

    engine      torch: the policy itself; llama: llama.cpp in this process; openai: servers that
                return token ids and their log-probabilities, such as vLLM
    gguf        for llama: the base as a GGUF file; None: one is made of the base as the policy has
                it, and removed when the run ends
    gguf_type   for llama: the type of the file that is made; None: BF16 where training computes in
                bfloat16, else F16
    threads     for llama; None: as torch has
    url         for openai: where each server is, asked in turn: [http://127.0.0.1:8000/v1]
    model       for openai: the base's name there; None: the first it lists

    Raises ValueError naming the key, its value and what is allowed.
    """

    engine: str = TORCH
    gguf: str | None = None
    gguf_type: str | None = None
    threads: int | None = None
    url: tuple[str, ...] = ()
    model: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", tuple(self.url))
        _one_of("engine", self.engine, ENGINES)
        if self.gguf_type is not None:
            _one_of("gguf_type", self.gguf_type, CHOICES["gguf_type"])
        if self.threads is not None:
            _within("threads", self.threads, 1)
        if self.engine == OPENAI and not self.url:
            raise ValueError(
                "url = []: engine 'openai' needs one, such as http://127.0.0.1:8000/v1"
            )


def _within(
    name: str,
    value: float,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise unless low <= value <= high, an open end excluded. NaN is never within."""
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if math.isfinite(value) and above and below:
        return
    allowed = f"more than {low}" if open_low else f"at least {low}"
    if high < math.inf:
        allowed += f" and less than {high}" if open_high else f" and at most {high}"
    raise ValueError(f"{name} = {value}: expected {allowed}")


def _one_of(name: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} = '{value}': expected one of {', '.join(allowed)}")
