"""What the upstream did not say of a call, and what is worth a look in a run. Pure.

tokens    counts where usage is missing, marked as estimated
prices    what a call cost, and who says so
redact    credentials and personal data behind tags, before anything else sees a call
withhold  figures without text, where the client asked for that
flags     findings in whole runs, each a sentence that names its steps
"""
