"""The capture log: the only hand-over between the caller's path and everything behind it.

    payload       Exchange <-> bytes, versioned
    frames        bytes <-> frames inside a segment: marker, checksums, finding the next one after damage
    segments      segment files: names, creation, appending, syncing, listing
    crash_buffer  records that are not on disk yet, in shared memory: a kill of the process loses none
    committer     one group of exchanges to disk, in the writer's thread; decides what is accepted and what is shed
    spill         bodies of exchanges that last, on disk before their end
    held          what a kill leaves of exchanges that are over but for the rest of their request
    counts        how many were accepted and shed, exact over any kill; read_counts adds up all logs
    writer        the event-loop side: a bounded buffer and group commit
    scanner       the frames of one segment, damage stepped over
    reader        batches across segments, exact replays, release of what is done
    merge         the logs of several writers read as one, in order of time

One directory has one writer (locked). Any number of readers read beside it without a lock.
"""

from watchllm_proxy.capture.reader import LogBatch, LogReader, LogRecord
from watchllm_proxy.capture.writer import LogWriter

__all__ = ["LogBatch", "LogReader", "LogRecord", "LogWriter"]
