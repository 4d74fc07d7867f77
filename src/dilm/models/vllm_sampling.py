"""The final pool written by vLLM, where it is installed and there is a GPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

import torch

from .compute import derived_seed
from .sampling import SamplingRules


def vllm_is_there(model: Any) -> bool:
    """Whether vLLM is installed, there is a GPU for it, and it can sample from the model (not from BERT: `offline`)."""
    return model.config.model_type != "bert" and util.find_spec("vllm") is not None and torch.cuda.is_available()


class VLLMSampler:
    """A `TokenSampler` (generator.py) on vLLM's engine.

    The engine bans tokens, and ends no text before its first one; where <sep> may stand in a pair it does not know, so
    that more tries are malformed and written again. Every text has a seed of its own: it does not depend on how the
    engine batches the texts.
    """

    def __init__(self, folder: str | Path, max_length: int, gpu_memory_utilization: float = 0.5):
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # read when vllm is imported
        from vllm import LLM  # type: ignore[import-not-found]

        self.engine: Any = LLM(
            model=str(folder),
            skip_tokenizer_init=True,
            max_model_len=max_length,
            gpu_memory_utilization=gpu_memory_utilization,  # the learner needs room too
            trust_remote_code=False,
            disable_log_stats=True,
        )

    def __call__(self, prompts: Sequence[int], rules: SamplingRules, seed: int) -> list[tuple[list[int], bool]]:
        """Continue one-token prompts: each row's tokens without prompt and end, and whether it ended itself."""
        from vllm import SamplingParams  # type: ignore[import-not-found]

        parameters = [
            SamplingParams(
                temperature=1.0,
                top_p=rules.top_p,
                min_tokens=1,
                max_tokens=rules.max_tokens,
                stop_token_ids=[rules.end],
                logit_bias={token: -100.0 for token in rules.banned},
                detokenize=False,
                seed=derived_seed(seed, row) % 2**31,
            )
            for row in range(len(prompts))
        ]
        requests = [{"prompt_token_ids": [int(prompt)]} for prompt in prompts]
        written = []
        for answer in self.engine.generate(requests, parameters, use_tqdm=False):
            tokens = list(answer.outputs[0].token_ids)
            ended = rules.end in tokens or answer.outputs[0].finish_reason == "stop"
            written.append((tokens[: tokens.index(rules.end)] if rules.end in tokens else tokens, ended))
        return written
