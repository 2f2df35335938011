"""Progress: a bar for a person, lines for a log file."""

import logging
import os
import pty
import re
import subprocess
import sys

from pose_splatter.progress import ProgressBar, configure_logging

PROGRAM = """
import logging, sys
from pose_splatter.progress import configure_logging, track
configure_logging(None)
for n in track(range(20), "counting", 20):
    if n == 10:
        logging.info("a message in between")
"""


def test_a_message_stands_above_the_bar():
    """In a terminal: on a line of its own, and the bar is gone at the end."""
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=slave, stdout=slave)
    os.close(slave)
    output = b""
    try:
        while chunk := os.read(master, 65536):
            output += chunk
    except OSError:  # what Linux says at the end of a terminal
        pass
    assert process.wait(timeout=60) == 0
    text = output.decode()
    assert "counting" in text
    # From the last time the cursor went to the line's begin and cleared it, up to the message.
    before = text[: text.index("a message in between")]
    assert "counting" not in re.split(r"\r|\x1b\[2K|\n", before)[-1]


def test_a_log_says_how_much_time_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("pose_splatter.progress.LOG_EVERY", -1.0)
    configure_logging(str(tmp_path / "log"))
    with ProgressBar("training", 1000) as bar:
        bar.started -= 36  # a frame took so many seconds
        bar.advance("loss 0.5")
    logging.getLogger().handlers.clear()
    line = (tmp_path / "log").read_text()
    assert re.search(r"training: 1 of 1000, loss 0\.5  0\.0 frames/s, 9:5\d:\d\d left\n$", line)
    assert "\x1b" not in line
