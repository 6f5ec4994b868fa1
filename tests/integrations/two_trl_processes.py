"""One of two processes of a run of TRL: it writes what its rewards were called with and what they paid. Not a test module."""

import json
import sys
from pathlib import Path
from typing import Any

from test_inside_trl import ADDRESS, CAP, Recorded
from test_trl_reward import OPTIONS, TERMS
from trl import GRPOConfig, GRPOTrainer

import laconic
from laconic.integrations.trl import callback, dataset, reward

NEEDS_NOTHING = [name for name in TERMS if name not in ("length_harmonizing", "l1_exact", "l1_max")]


def main(folder: Path) -> None:
    lm = laconic.load_model("tiny")
    functions: list[Any] = [Recorded(reward(name, **OPTIONS.get(name, {}))) for name in NEEDS_NOTHING]
    trainer = GRPOTrainer(
        model=str(lm.model.config.name_or_path),
        processing_class=lm.tokenizer,
        train_dataset=dataset(ADDRESS, lm.tokenizer),
        reward_funcs=functions,
        args=GRPOConfig(
            str(folder / "run"),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            per_device_train_batch_size=2,
            num_generations=4,
            max_completion_length=CAP,
            max_steps=3,
            save_strategy="no",
        ),
        callbacks=[callback()],
    )
    trainer.train()
    calls = {function.__name__: function.calls for function in functions}
    (folder / f"{trainer.accelerator.process_index}.json").write_text(json.dumps(calls), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
