"""A phase as verl's settings: one tree, which `laconic.yaml` adds to verl's own defaults.

Keys that a machine decides (GPUs, nodes, tensor parallelism) are those of one GPU; the command takes others.
"""

from typing import Any, Literal

from laconic.config.defaults import MICRO_BATCH_TOKENS
from laconic.config.recipe import Recipe
from laconic.integrations.verl.exported_phase import TRAIN_FILE, WATCH_FILE, ExportedPhase
from laconic.training.check.phases import ResolvedPhase

AGGREGATIONS = {
    "response": "seq-mean-token-mean",
    "token": "token-mean",
    "constant": "seq-mean-token-sum-norm",
    "sum": "seq-mean-token-sum",
}
"""How verl calls the ways in which losses of tokens become one number."""
UNBOUNDED = 1e9
"""A clip that never clips: verl bounds the loss of negative advantages once more, and its critic always."""
FLOAT32 = {"mixed_precision": {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}}
"""How verl's engine computes in float32; by default it computes in bfloat16 with weights in float32, as our `bfloat16` does."""
DOORS = "laconic.integrations.verl.doors"

VerlSettings = dict[str, Any]
ComputeDtype = Literal["float32", "bfloat16"]


def verl_settings(
    exported: ExportedPhase,
    phase: ResolvedPhase,
    model: str,
    longest_prompt: int,
    num_rows: int,
    dtype: ComputeDtype,
) -> VerlSettings:
    """The settings of an exported phase. `model` is the folder or hub name of its weights, `longest_prompt` is in tokens,
    `num_rows` is the number of problems that a step takes, and `dtype` is that of the arithmetic on a GPU."""
    recipe, folder = exported.recipe, str(exported.folder)
    return {
        "algorithm": _algorithm(phase, folder),
        "data": _data(exported, phase, longest_prompt, num_rows),
        "actor_rollout_ref": {
            "model": _model(recipe, model),
            "actor": _actor(phase, longest_prompt, num_rows) | {"fsdp_config": _engine(dtype)},
            "rollout": _rollout(phase, recipe, dtype),
        },
        "critic": _critic(phase, model, recipe, dtype),
        "reward": {
            "reward_manager": {"source": "importlib", "name": "LaconicRewards", "module": {"path": f"pkg://{DOORS}"}}
        },
        "trainer": _trainer(phase, recipe),
    }


def _algorithm(phase: ResolvedPhase, folder: str) -> VerlSettings:
    config = phase.config.algorithm
    has_critic, in_reward = phase.critic == "separate", config.kl_coef > 0 and config.kl_in == "reward"
    return {
        "adv_estimator": "gae" if has_critic else "laconic",
        "laconic": folder,
        "gamma": config.gamma,
        "lam": config.gae_lambda,
        "use_kl_in_reward": in_reward,
        **(
            {"kl_penalty": config.kl_estimator, "kl_ctrl": {"type": "fixed", "kl_coef": config.kl_coef}}
            if in_reward
            else {}
        ),
        "rollout_correction": {"bypass_mode": config.old_logprobs == "sampler"},
        "filter_groups": {"enable": config.uniform_groups == "resample", "metric": "reward"},
    }


def _data(exported: ExportedPhase, phase: ResolvedPhase, longest_prompt: int, num_rows: int) -> VerlSettings:
    return {
        "train_files": str(exported.folder / TRAIN_FILE),
        "val_files": str(exported.folder / WATCH_FILE),
        "train_batch_size": num_rows,
        "max_prompt_length": longest_prompt,
        "max_response_length": phase.config.sampler.max_tokens,
        "shuffle": False,
        "seed": exported.recipe.seed,
        "trust_remote_code": exported.recipe.policy.trust_remote_code,
    }


def _model(recipe: Recipe, model: str) -> VerlSettings:
    policy = recipe.policy
    lora = {} if policy.lora is None else {"lora_rank": policy.lora.rank, "lora_alpha": policy.lora.alpha}
    targets = {} if policy.lora is None else {"target_modules": _listed(policy.lora.targets)}
    return {
        "path": model,
        "trust_remote_code": policy.trust_remote_code,
        "enable_gradient_checkpointing": policy.gradient_checkpointing,
        **lora,
        **targets,
    }


def _listed(targets: str | tuple[str, ...]) -> str | list[str]:
    return targets if isinstance(targets, str) else list(targets)


def _actor(phase: ResolvedPhase, longest_prompt: int, num_rows: int) -> VerlSettings:
    config, update = phase.config.algorithm, phase.config.optimizer
    likelihood, sequence = config.old_logprobs == "current", config.ratio == "sequence"
    in_loss = config.kl_coef > 0 and config.kl_in == "loss"
    longest = longest_prompt + phase.config.sampler.max_tokens
    return {
        "policy_loss": {"loss_mode": "gpg" if likelihood else "gspo" if sequence else "vanilla"},
        "clip_ratio_low": config.clip_low,
        "clip_ratio_high": config.clip_high,
        "clip_ratio_c": UNBOUNDED,
        "loss_agg_mode": AGGREGATIONS[config.aggregation],
        "loss_scale_factor": phase.config.sampler.max_tokens if config.aggregation == "constant" else None,
        "entropy_coeff": config.entropy_coef,
        "use_kl_loss": in_loss,
        **({"kl_loss_coef": config.kl_coef, "kl_loss_type": config.kl_estimator} if in_loss else {}),
        "ppo_epochs": update.epochs,
        "ppo_mini_batch_size": num_rows // update.minibatches,
        "shuffle": update.minibatches > 1,
        "use_dynamic_bsz": True,
        "ppo_max_token_len_per_gpu": max(update.micro_batch_tokens or MICRO_BATCH_TOKENS, longest),
        "grad_clip": update.max_grad_norm,
        "optim": _optimizer(phase, update.lr),
    }


def _engine(dtype: ComputeDtype) -> VerlSettings:
    return FLOAT32 if dtype == "float32" else {}


def _optimizer(phase: ResolvedPhase, lr: float) -> VerlSettings:
    update = phase.config.optimizer
    return {
        "lr": lr,
        "betas": list(update.betas),
        "weight_decay": update.weight_decay,
        "clip_grad": update.max_grad_norm,
        "lr_warmup_steps": update.warmup_steps,
        "lr_scheduler_type": update.schedule,
        "min_lr_ratio": update.min_lr_frac,
        "override_optimizer_config": {"eps": update.eps},
    }


def _rollout(phase: ResolvedPhase, recipe: Recipe, dtype: ComputeDtype) -> VerlSettings:
    sampler = phase.config.sampler
    return {
        "name": "vllm",
        "n": phase.config.group_size,
        "temperature": sampler.temperature,
        "top_p": sampler.top_p,
        "dtype": dtype,
        "seed": recipe.seed,
        "tensor_model_parallel_size": 1,
        "val_kwargs": {
            "temperature": sampler.temperature,
            "top_p": sampler.top_p,
            "n": recipe.watch.samples,
            "do_sample": True,
        },
    }


def _critic(phase: ResolvedPhase, model: str, recipe: Recipe, dtype: ComputeDtype) -> VerlSettings:
    if phase.critic != "separate":
        return {"enable": False}
    config, update = phase.config.algorithm, phase.config.optimizer
    return {
        "enable": True,
        "model": {"path": model, "trust_remote_code": recipe.policy.trust_remote_code},
        "fsdp": _engine(dtype),
        "optim": _optimizer(phase, update.critic_lr),
        "grad_clip": update.max_grad_norm,
        "cliprange_value": UNBOUNDED if config.value_clip is None else config.value_clip,
        "loss_agg_mode": "token-mean",
    }


def _trainer(phase: ResolvedPhase, recipe: Recipe) -> VerlSettings:
    warmup = phase.config.optimizer.critic_warmup_steps
    return {
        "project_name": "laconic",
        "experiment_name": f"{recipe.name}-{phase.name}",
        "logger": ["console"],
        "total_epochs": 1,
        "total_training_steps": phase.config.steps,
        "test_freq": recipe.watch.every,
        "save_freq": recipe.checkpoints.every,
        "critic_warmup": warmup + 1
        if warmup
        else 0,  # verl counts steps from 1, and lets the actor learn from this one on
        "checkpoint_callback_class": f"{DOORS}.MemoryKeeper",
        "nnodes": 1,
        "n_gpus_per_node": 1,
        "v1": {"trainer_mode": "sync"},
    }
