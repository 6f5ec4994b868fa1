"""Defaults that more than one place uses: a table of a recipe, an option of a command, an argument of a function.

Each is written here and imported there, so that a notebook, a command and a recipe agree. A default that is used in one table of
a recipe only is written in that table. Importing this module is quick, since commands import it before they load anything else.
"""

from typing import Final

SEED = 0
DTYPE: Final = "float32"

# Sampling: the instruction that follows a question, and how responses are drawn.
INSTRUCTION = "boxed"
TEMPERATURE = 1.0
TOP_P, MIN_P = 1.0, 0.0
MAX_TOKENS = 1024
BATCH_SIZE = 256

# Batches: responses per prompt, which is asked as it is.
BATCH_SAMPLES, BATCH_INSTRUCTION = 1, "none"

# Words whose tokens a penalty on hesitation lowers.
HESITATIONS = ("wait", "alternatively")

# Endpoints: how long one reply may take in all, how long once it has begun to arrive, and how large it may be.
REPLY_SECONDS, ARRIVAL_SECONDS = 3600.0, 60.0
REPLY_BYTES = 16 << 20

# vLLM as the engine of rollouts: the program that starts a server, and how long a server may be away.
VLLM_SERVER, SERVER_SECONDS = "vllm", 600.0

# The local server: responses drawn at once, and tokens of prompt and response together.
SERVED_ROWS, SERVED_POSITIONS = 64, 4096

# Grading: the number of worker processes, and how long one answer may take; a second grader gets more time, and the file of a
# grader of one's own at its start. A judge writes up to so many tokens, for so many responses at once.
GRADER_WORKERS, GRADER_TIMEOUT_SECONDS = 1, 3.0
GRADER_START_SECONDS = 60.0
JUDGE_TOKENS, JUDGE_IN_FLIGHT = 512, 16
AUDIT_TIMEOUT_SECONDS = 5.0
SECOND_GRADER = "math_verify"

# Other people's code: how long a reward of one's own may take over a group, and a chat template over a prompt.
REWARD_TIMEOUT_SECONDS, TEMPLATE_TIMEOUT_SECONDS = 20.0, 5.0

# Measuring: attempts at each problem of a probe and of an evaluation. A probe with a band stops sampling a problem as soon as it
# is sure enough whether the solve rate lies in the band.
PROBE_SAMPLES, EVALUATION_SAMPLES = 16, 4
BAND_CONFIDENCE, BAND_ROUND_SIZE = 0.9, 8

# Quantizing: the scheme and the library, and the responses on which the rounding is calibrated.
QUANTIZATION_SCHEME, QUANTIZER = "w8a8", "llm-compressor"
CALIBRATION_PROBLEMS, CALIBRATION_SAMPLES = 512, 1

# Comparing: the loss of accuracy and the growth of length that still count as no loss; the number of bootstrap resamples.
MARGIN, TOKENS_MARGIN = 0.01, 0.0
RESAMPLES = 10_000

# Training: the levels of Fatemi et al. 2025 (truncated counts as "no box"), and PPO's usual numbers.
CORRECT, WRONG, NO_ANSWER, TRUNCATED = 1.0, -0.5, -1.0, -1.0
GAE_LAMBDA = 0.95
CLIP_LOW, CLIP_HIGH, VALUE_CLIP = 0.2, 0.2, 0.2
CPU_MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS = 4096, 16_384  # on a CPU and elsewhere, where a recipe does not say


# What serving leaves behind: where it is stored, and for how many days texts and figures are kept.
TRAFFIC_FOLDER = "traffic"
TEXT_DAYS, FIGURE_DAYS = 30, 365
HOOK_TIMEOUT_SECONDS = 2.0

# Labelling: so many tasks must two labellers have in common before their agreement is stated.
LEAST_COMMON_LABELS = 30
STORE_ADDRESS, SALT_FILE = f"sqlite:///{TRAFFIC_FOLDER}/traffic.db", f"{TRAFFIC_FOLDER}/salt"
TEXT_POLICY: Final = "never"

# Serving: where a gateway listens, and the share of users that a candidate answers.
SERVE_HOST, SERVE_PORT = "127.0.0.1", 8080
LABEL_PORT = 0  # a free one
CANDIDATE_SHARE = 0.05
KEEP_ACCURACY = 0.99

# A page of traffic covers so many days, and drift is seen between two windows of so many.
REPORT_DAYS, DRIFT_DAYS = 30, 7

# Problems out of stored traffic: by how many users a correction must be made; which share of how many responses must agree; how
# many responses are drawn to a question; how much longer than another right response one is that loses to it.
AGREEING_USERS = 1
AGREEMENT_SHARE, AGREEMENT_VOTES, AGREEMENT_SAMPLES = 0.75, 4, 8
PAIR_RATIO, PAIRS_PER_QUESTION = 1.25, 4

# Labels of stored responses: how many times as likely as any other answer a response gives the right one; how often a labeller
# errs; and how many are asked for at once.
VOTE_ODDS, LABEL_ERROR, LABELS_LISTED = 3.0, 0.0, 20
