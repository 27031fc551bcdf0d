-- Of texts fewer anchors are kept than of ids: each has its own window of numbers.
DROP INDEX run_anchors_window;
CREATE INDEX run_anchors_texts ON run_anchors (seq)
WHERE kind IN ('state', 'said', 'asked', 'observed', 'task');
CREATE INDEX run_anchors_ids ON run_anchors (seq)
WHERE kind NOT IN ('state', 'said', 'asked', 'observed', 'task');
