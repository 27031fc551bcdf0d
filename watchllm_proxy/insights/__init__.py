"""What a run means: why its steps are as they are, where its money went. Pure, by rule.

explain                 a text for each step that is worth one
costs                   a run's total taken apart, and what of it bought nothing
fixtures, sample_calls  three sample runs, made by the same code as real ones
"""
