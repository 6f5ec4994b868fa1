"""Shows a run's metrics in other people's trackers: TensorBoard, Weights & Biases, MLflow, Trackio.

Its modules, in reading order:

- `content`: what a tracker is sent of a run: numbers of each step, settings, results
- `tracked_runs`: the file that says what each tracker calls the run, and which steps it has
- `tracker`: what a tracker must be able to do
- `tensorboard_files`: TensorBoard
- `wandb_runs`: Weights & Biases
- `mlflow_runs`: MLflow
- `trackio_runs`: Trackio
- `trackers`: every tracker as a row of one table
- `sending`: sends what a tracker lacks
- `follower`: the process that follows a run while it trains
- `following`: starts this process, and says what became of it
"""
