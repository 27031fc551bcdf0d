"""What a run means: why its steps are as they are, where its money went. Pure, by rule.

explain                 a text for each step that is worth one
costs                   a run's total taken apart, and what of it bought nothing
differences, edits      what changed between two requests, and where the cached prefix broke
fixtures, sample_calls  three sample runs, made by the same code as real ones
"""
