"""TensorBoard: event files in the run's folder, `tracking/tensorboard/`, which `tensorboard --logdir` reads.

TensorBoard adds what it finds in all event files of a folder. So the files are written anew, with every step, whenever the run is
opened: a step that was trained again after a kill then stands there once, as it is in metrics.jsonl.
"""

import json
import shutil
import time
from collections.abc import Mapping
from typing import Any

from laconic.tracking.tracker import RunToTrack, Tracker


class TensorBoardFiles:
    """The event files of one run."""

    link = ""

    def __init__(self, run: RunToTrack) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = run.files / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self.run_id, self.shown_by = run.name, f"tensorboard --logdir {folder}"
        self._writer = EventFileWriter(str(folder))
        self._write(0, [_text("recipe", f"```\n{json.dumps(dict(run.settings), indent=1, ensure_ascii=False)}\n```")])

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """One event with a scalar for each number."""
        self._write(step, [{"tag": key, "simple_value": value} for key, value in numbers.items()])
        self._writer.flush()

    def conclude(self, step: int, results: Mapping[str, float]) -> None:
        """The results, as scalars of the last step."""
        self.send(step, results)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, step: int, values: list[dict[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary={"value": values}))


def _text(tag: str, text: str) -> dict[str, Any]:
    """A text as the page TEXT of TensorBoard shows it."""
    tensor = {"dtype": "DT_STRING", "string_val": [text.encode()], "tensor_shape": {"dim": [{"size": 1}]}}
    return {"tag": tag, "metadata": {"plugin_data": {"plugin_name": "text"}}, "tensor": tensor}


def open_tensorboard(run: RunToTrack) -> Tracker:
    """The run's event files, empty but for its settings."""
    return TensorBoardFiles(run)
